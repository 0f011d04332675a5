"""Models as they are given on a command line: a bundle, or a checkpoint or a recipe that becomes one."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sartm_core.deploy import Segmenter, load_segmenter
from sartm_core.errors import SartmError


@contextmanager
def open_model(
    model: Path | str,
    backend: str = "auto",
    device: str = "auto",
    float_planes: bool = False,
    peer: str | None = None,
    data: Path | None = None,
) -> Iterator[Segmenter]:
    """A bundle, a checkpoint of `sartm train`, or a recipe for a peer, as a segmenter.

    Args:
        model: which.
        backend, device, float_planes: see `load_segmenter`.
        peer: `module:factory` that may run, see `model.peer`; with a recipe it brings its own weights.
        data: root of the data set whose training split a recipe's statistics are of.

    Raises:
        SartmError: as `load_segmenter` and `learning.export.export`.
    """
    if Path(model).suffix not in (".ckpt", ".yaml"):
        yield load_segmenter(model, backend, device, float_planes=float_planes)
        return
    from sartm_core.learning.export import export  # a robot with a bundle needs no training code
    from sartm_core.model.peer_config import trust

    changes = [] if peer is None else trust(peer)
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = Path(model)
        if checkpoint.suffix == ".yaml":
            checkpoint = Path(folder) / "untrained.ckpt"
            _untrained(Path(model), changes, data, checkpoint)
        export(checkpoint, Path(folder) / "bundle")
        yield load_segmenter(Path(folder) / "bundle", backend, device, float_planes=float_planes)


def _untrained(recipe: Path, changes: list[str], data: Path | None, out: Path) -> None:
    from sartm_core.learning.overrides import read_recipe
    from sartm_core.learning.run import write_untrained

    if not changes:
        raise SartmError(
            f"{recipe}: is a recipe, not a trained model. Give a bundle or a .ckpt; a recipe is evaluated with --peer, "
            "whose network brings its own weights."
        )
    write_untrained(read_recipe(recipe, [*changes, *([] if data is None else [f"data.root={data}"])]), out)
