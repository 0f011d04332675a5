"""Which model made a mask: what `~/labels`, `/diagnostics` and replays say of it."""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

from sartm_core.deploy import Segmenter


@dataclass(frozen=True, slots=True)
class Provenance:
    """Where masks come from.

    Attributes:
        bundle: its name.
        sha256: of the bundle's description, which holds the SHA-256 of each of its files: equal for equal bundles,
            wherever they lie.
        backend: what really runs: `onnx on CPU`.
    """

    bundle: str
    sha256: str
    backend: str

    def as_dict(self) -> dict[str, str]:
        """For JSON."""
        return asdict(self)


def provenance_of(segmenter: Segmenter) -> Provenance:
    """Of a loaded bundle."""
    bundle = segmenter.bundle
    return Provenance(bundle.name, content_hash(bundle.model_dump(mode="json")), segmenter.backend)


def content_hash(content: dict[str, Any]) -> str:
    """SHA-256 of plain values as JSON with sorted keys: the order in a file does not matter."""
    return hashlib.sha256(json.dumps(content, sort_keys=True, default=str).encode()).hexdigest()
