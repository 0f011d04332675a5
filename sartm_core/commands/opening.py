"""Models as they are given on a command line: a bundle, or a checkpoint that becomes one."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sartm_core.deploy import Segmenter, load_segmenter


@contextmanager
def open_model(model: Path | str, backend: str = "auto", device: str = "auto") -> Iterator[Segmenter]:
    """A bundle, or a checkpoint of `sartm train`, as a segmenter.

    Raises:
        SartmError: as `load_segmenter` and `learning.export.export`.
    """
    if Path(model).suffix != ".ckpt":
        yield load_segmenter(model, backend, device)
        return
    from sartm_core.learning.export import export  # a robot with a bundle needs no training code

    with tempfile.TemporaryDirectory() as folder:
        export(Path(model), Path(folder) / "bundle")
        yield load_segmenter(Path(folder) / "bundle", backend, device)
