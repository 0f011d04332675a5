"""What an MCAP holds beside its messages: attachments, and metadata records such as the driver's name."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path
from typing import BinaryIO

from mcap.data_stream import RecordBuilder
from mcap.opcode import Opcode
from mcap.reader import make_reader
from mcap.records import (
    Attachment,
    AttachmentIndex,
    DataEnd,
    Footer,
    McapRecord,
    Metadata,
    MetadataIndex,
    Statistics,
    SummaryOffset,
)
from mcap.summary import Summary

from sartm_core.errors import SartmError
from sartm_ros.bag.salvage import mcap_records

Extra = Attachment | Metadata

_MAGIC = b"\x89MCAP0\r\n"
_DATA_END_BYTES = 13
_FOOTER_BYTES = 29
_OWN_METADATA = "rosbag2"
"""metadata.yaml once more, by the recorder: every file has its own."""


def extras_of(path: Path) -> Iterator[Extra]:
    """The attachments and metadata records of a file, but for the recorder's own; none of other storages."""
    if path.suffix != ".mcap":
        return
    for record in mcap_records(path, [], chunks=False):
        if isinstance(record, Attachment) or (isinstance(record, Metadata) and record.name != _OWN_METADATA):
            yield record


def add_extras(path: Path, extras: Iterable[Extra]) -> None:
    """Adds records to a complete MCAP, behind its messages, and writes its index anew; none leave it as it is.

    Raises:
        SartmError: the file has no index.
    """
    extras = iter(extras)
    first = next(extras, None)
    if first is None:
        return
    with path.open("r+b") as stream:
        summary, data_end = _summary_of(stream)
        stream.seek(data_end)
        stream.truncate()
        for extra in chain([first], extras):
            _append(stream, summary, extra)
        _write(stream, DataEnd(0))
        _write_summary(stream, summary)


def _summary_of(stream: BinaryIO) -> tuple[Summary, int]:
    """The index, and where the record that ends the data begins."""
    summary = make_reader(stream).get_summary()
    stream.seek(-len(_MAGIC) - _FOOTER_BYTES, 2)
    summary_start = int.from_bytes(stream.read(_FOOTER_BYTES)[9:17], "little")
    if summary is None or summary.statistics is None:
        raise SartmError("the MCAP has no index to which attachments could be added.")
    return summary, summary_start - _DATA_END_BYTES


def _append(stream: BinaryIO, summary: Summary, extra: Extra) -> None:
    offset = stream.tell()
    length = _write(stream, extra)
    statistics = summary.statistics
    assert statistics is not None
    if isinstance(extra, Attachment):
        index = AttachmentIndex(
            offset, length, extra.log_time, extra.create_time, len(extra.data), extra.name, extra.media_type
        )
        summary.attachment_indexes.append(index)
        summary.statistics = replace(statistics, attachment_count=statistics.attachment_count + 1)
    else:
        summary.metadata_indexes.append(MetadataIndex(offset, length, extra.name))
        summary.statistics = replace(statistics, metadata_count=statistics.metadata_count + 1)


def _write_summary(stream: BinaryIO, summary: Summary) -> None:
    start = stream.tell()
    statistics: list[Statistics] = [] if summary.statistics is None else [summary.statistics]
    groups: list[tuple[Opcode, Iterable[McapRecord]]] = [
        (Opcode.SCHEMA, summary.schemas.values()),
        (Opcode.CHANNEL, summary.channels.values()),
        (Opcode.STATISTICS, statistics),
        (Opcode.CHUNK_INDEX, summary.chunk_indexes),
        (Opcode.ATTACHMENT_INDEX, summary.attachment_indexes),
        (Opcode.METADATA_INDEX, summary.metadata_indexes),
    ]
    offsets = []
    for opcode, records in groups:
        begin = stream.tell()
        length = sum(_write(stream, record) for record in records)
        if length:
            offsets.append(SummaryOffset(group_opcode=opcode, group_start=begin, group_length=length))
    offsets_start = stream.tell()
    for offset in offsets:
        _write(stream, offset)
    _write(stream, Footer(summary_start=start, summary_offset_start=offsets_start, summary_crc=0))
    stream.write(_MAGIC)


def _write(stream: BinaryIO, record: McapRecord) -> int:
    """Returns the record's length in bytes."""
    builder = RecordBuilder()
    record.write(builder)
    return stream.write(builder.end())  # type: ignore[no-untyped-call]
