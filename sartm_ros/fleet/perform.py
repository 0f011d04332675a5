"""Performs a task. Its result is a folder that appears when complete."""

import errno
import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any

from sartm_core.deploy import Segmenter, load_segmenter
from sartm_core.errors import SartmError
from sartm_core.files import write_text
from sartm_core.outputs import Draft
from sartm_ros.bag.reader import open_bag
from sartm_ros.bag.replay import ReplayOptions
from sartm_ros.fleet import slices
from sartm_ros.fleet.layout import OWN, RESULT_FILE, SLICES_FOLDER
from sartm_ros.fleet.order import FORMAT, Evaluating, Extracting, Order, Segmenting, key_of
from sartm_ros.fleet.page import write_page
from sartm_ros.fleet.plan import Recording, read_key
from sartm_ros.fleet.remote import local_copy
from sartm_ros.fleet.segmenting import in_span, segment, write_summary
from sartm_ros.fleet.tasks import Outcome, Task


def perform(task: Task, order: Order, out: Path) -> Outcome:
    """Makes the result; whatever is wrong with one recording is its outcome and never raises."""
    started = time.perf_counter()
    failure = None
    try:
        if task.step == "slice":
            _slice(task, order, out)
        else:
            _recording(task, order, out)
    except SartmError as error:
        failure = str(error)
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        failure = f"{out}: the disk is full. Make room and run again." if full else str(error)
    except Exception as error:  # a recording may hold anything; it must not stop the others
        failure = f"{type(error).__name__}: {error}"
    return Outcome(task, failure, time.perf_counter() - started)


def _recording(task: Task, order: Order, out: Path) -> None:
    recording = task.recording
    key = key_of(order, recording.source, recording.size)
    with _result(out / recording.name) as folder:
        figures = _joined(task, order, out, folder) if task.step == "join" else None
        if figures is None:
            figures = _figures(recording, order, folder)
        write_page(folder, recording, order, figures)
        content = {"format": FORMAT, "key": key, "figures": figures}
        write_text(folder / RESULT_FILE, json.dumps(content, indent=1) + "\n")
    if task.step == "join":
        shutil.rmtree(out / SLICES_FOLDER / recording.name, ignore_errors=True)
        with suppress(OSError):  # others are under way
            (out / SLICES_FOLDER).rmdir()


def _figures(recording: Recording, order: Order, folder: Path) -> dict[str, Any]:
    with local_copy(recording.source) as path:
        if isinstance(order.what, Evaluating):
            from sartm_ros.fleet.scoring import evaluate  # matplotlib, which masks do not need

            figures = evaluate(path, order, order.what, _segmenter_of(order), folder)
        else:
            with open_bag(path, _definitions(order)) as bag:
                if isinstance(order.what, Extracting):
                    from sartm_ros.fleet.framing import extract

                    figures = extract(bag, order, order.what, folder)
                else:
                    options = ReplayOptions(order.stamps)
                    notes = segment(bag, order.rig, _segmenter_of(order), order.what, options, folder)
                    figures = write_summary(notes, order.rig, folder)
        # A copy in scratch has another name every time.
        figures["remarks"] = [line.replace(str(path), recording.source) for line in figures["remarks"]]
    return figures


def _slice(task: Task, order: Order, out: Path) -> None:
    assert isinstance(order.what, Segmenting)
    recording = task.recording
    place = slices.slice_folder(out, recording.name, task.index, task.count)
    key = key_of(order, recording.source, recording.size)
    if read_key(place) == key:
        return
    with _result(place) as folder, local_copy(recording.source) as path, open_bag(path, _definitions(order)) as bag:
        options = in_span(ReplayOptions(order.stamps), bag, task.index, task.count)
        notes = segment(bag, order.rig, _segmenter_of(order), order.what, options, folder)
        notes.remarks = [line.replace(str(path), recording.source) for line in notes.remarks]
        slices.write_notes(notes, folder)
        write_text(folder / RESULT_FILE, json.dumps({"format": FORMAT, "key": key}) + "\n")


def _joined(task: Task, order: Order, out: Path, folder: Path) -> dict[str, Any] | None:
    assert isinstance(order.what, Segmenting)
    places = [slices.slice_folder(out, task.recording.name, index, task.count) for index in range(task.count)]
    notes = slices.join(places, order.rig, _segmenter_of(order), order.what, folder)
    return None if notes is None else write_summary(notes, order.rig, folder)


@contextmanager
def _result(place: Path) -> Iterator[Path]:
    """A folder that takes its place, or that of an earlier result, at the end; removed if anything goes wrong."""
    draft = Draft(place)
    try:
        draft.content.mkdir()
        yield draft.content
        draft.publish(OWN)
    finally:
        draft.discard()


def _segmenter_of(order: Order) -> Segmenter:
    assert order.bundle is not None
    return _loaded(order.bundle, order.device, order.threads)


@lru_cache(maxsize=1)
def _loaded(bundle: str, device: str, threads: int) -> Segmenter:
    """One for all tasks of a process."""
    return load_segmenter(bundle, device=device, threads=threads)


def _definitions(order: Order) -> Path | None:
    return None if order.definitions is None else Path(order.definitions)
