"""Which code of others may run: `module:factory`, where a command line names it; see `peer`."""

import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from sartm_core.errors import SartmError

if TYPE_CHECKING:
    from sartm_core.model.contract import Network

_trusted: set[str] = set()


def trust(factory: str) -> list[str]:
    """Lets networks of this `module:factory` be built: it was named on the command line, not by a file.

    Returns:
        What it changes in any recipe, as `--set` takes it. RGB is normalised by ImageNet's statistics, which backbones
        of others expect.
    """
    _trusted.add(factory)
    return [
        "preset=peer", f"network={{factory: '{factory}'}}", "train_backbone=true", "initial_weights=null",
        "statistics=pretrained", "texts=null", "losses.language=0", "losses.consistency=0", "losses.per_modality=0",
    ]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class PeerConfig:
    """Attributes: factory, `module:function`; modalities, names in rig order; classes, their number."""

    changeable: ClassVar[frozenset[str]] = frozenset({"factory"})

    modalities: tuple[str, ...]
    classes: int
    factory: str = ""

    def build(self, form: str = "training") -> "Network":
        """The network as its factory makes it, whatever the form.

        Raises:
            SartmError: its code is not trusted, cannot be imported, or gives something else.
        """
        if self.factory not in _trusted:
            raise SartmError(
                f"network.factory: '{self.factory}' is code from outside of sartm, which runs only where the command "
                f"line names it. If you trust it, add --peer {self.factory or 'module:factory'} to sartm train or "
                "sartm evaluate."
            )
        from sartm_core.model.peer import PeerNetwork

        return PeerNetwork(self)


def factory_of(named: str) -> Callable[..., Any]:
    """The function; it takes modalities and number of classes.

    Raises:
        SartmError: no such module or function.
    """
    function = getattr(_module(named), named.partition(":")[2], None)
    if not callable(function):
        raise SartmError(f"--peer {named}: expected module:function, got a module without such a function.")
    return function


def source_of(factory: str) -> str:
    """What a table calls the peer: its module's `SOURCE`, such as `jamycheung/DELIVER @4981c16`, or its name."""
    return str(getattr(_module(factory), "SOURCE", factory))


def _module(named: str) -> Any:
    here = str(Path.cwd())
    if here not in sys.path:  # an installed command does not look there
        sys.path.append(here)
    name = named.partition(":")[0]
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise SartmError(
            f"--peer {named}: cannot be imported ({error}). Run from the folder that holds {name}, or add it to "
            "PYTHONPATH."
        ) from error
