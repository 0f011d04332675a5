"""Where the network runs, decided once for all recordings of a run."""

import importlib.util
from pathlib import Path
from typing import Literal

from sartm_core.deploy import choose_backend, cuda
from sartm_core.deploy.bundle import DESCRIPTION_FILE, Bundle
from sartm_core.errors import SartmError
from sartm_core.files import sha256
from sartm_ros.fleet.cluster import connect


def bundle_hash(folder: Path) -> str:
    """SHA-256 of its description, which holds those of its other files."""
    return sha256(folder / DESCRIPTION_FILE)


def choose_device(asked: str, bundle: Bundle | None, ray: str | None) -> Literal["cpu", "cuda"]:
    """What `auto` stands for: a GPU where there is one that the bundle's backend, or torch, can use.

    Args:
        asked: auto, cpu or cuda.
        bundle: what runs; None for a teacher, which torch runs.
        ray: address of the cluster, whose GPUs count; None: those of this machine.

    Raises:
        SartmError: another device, or no such cluster.
    """
    if asked == "cpu":
        return "cpu"
    if asked == "cuda":
        return "cuda"
    if asked != "auto":
        raise SartmError(f"--device {asked}: expected auto, cpu or cuda.")
    if ray is not None:
        return "cuda" if connect(ray).cluster_resources().get("GPU") else "cpu"
    if cuda.why_unusable() is not None:
        return "cpu"
    backend = "torch" if bundle is None else choose_backend(bundle, "auto")[0]
    return "cuda" if backend == "tensorrt" or _supports_cuda(backend) else "cpu"


def _supports_cuda(backend: str) -> bool:
    if backend == "onnx":
        from sartm_core.deploy.onnx_segmenter import available_devices

        return "cuda" in available_devices()
    if importlib.util.find_spec("torch") is None:
        return False
    import torch

    return torch.cuda.is_available()
