"""A Ray cluster. Ray places tasks, moves the bundle, and does again what was on a machine that is lost."""

import hashlib
import os
import shutil
import socket
import tempfile
from pathlib import Path
from typing import Any

from sartm_core.deploy.bundle import DESCRIPTION_FILE, read_bundle
from sartm_core.errors import SartmError
from sartm_ros.fleet.order import Order
from sartm_ros.fleet.tasks import ATTEMPTS, Outcome, Task

ANSWER_S = 10.0
"""How long a cluster may take to answer."""
SEEN_FILE = ".fleet-run"
"""Holds the run's number: a machine that does not find it in --out has another folder mounted there."""


class RayWorkers:
    """An existing cluster, one task for each recording or slice; see `Workers`.

    Args:
        order: of the run; its device decides whether tasks ask for GPUs.
        out: where results go; every machine of the cluster must have it mounted.
        address: of the cluster: `auto`, `host:6379`, or `ray://host:10001`.
        gpus: share of a GPU that one task takes, where the device is cuda.

    Raises:
        SartmError: Ray is not installed, there is no cluster, or it has no GPU for device cuda.
    """

    def __init__(self, order: Order, out: Path, address: str, gpus: float = 1.0) -> None:
        self._ray = ray = connect(address)
        if order.device == "cuda" and not ray.cluster_resources().get("GPU"):
            raise SartmError(
                f"--ray {address}: the cluster has no GPU now. Use --device cpu, or add machines with GPUs."
            )
        self._run = os.urandom(8).hex()
        (out / SEEN_FILE).write_text(self._run)
        self._order, self._out = ray.put(order), out
        self._bundle = None if order.bundle is None else ray.put(_content(Path(order.bundle)))
        self._perform = ray.remote(
            num_cpus=order.threads, num_gpus=gpus if order.device == "cuda" else 0, max_retries=ATTEMPTS - 1
        )(_perform)
        self._running: dict[Any, Task] = {}

    def submit(self, task: Task) -> None:
        answer = self._perform.remote(task, self._order, self._bundle, str(self._out), self._run)
        self._running[answer] = task

    def next(self) -> Outcome:
        (ready,), _ = self._ray.wait(list(self._running), num_returns=1)
        task = self._running.pop(ready)
        try:
            outcome = self._ray.get(ready)
        except self._ray.exceptions.RayError as error:
            return Outcome(task, f"its worker was lost {ATTEMPTS} times ({type(error).__name__}).", 0.0)
        assert isinstance(outcome, Outcome)
        return outcome

    def close(self) -> None:
        for answer in self._running:
            self._ray.cancel(answer, force=True)
        self._ray.shutdown()
        (self._out / SEEN_FILE).unlink(missing_ok=True)


def connect(address: str) -> Any:
    """Joins a cluster; returns the module `ray`.

    Raises:
        SartmError: Ray is not installed, or nothing answers there.
    """
    try:
        import ray
    except ModuleNotFoundError as error:
        raise SartmError("--ray: Ray is not installed: pip install 'sartm_ros[fleet]'.") from error
    if ray.is_initialized():
        return ray
    _check_answers(address)
    try:
        ray.init(address=address, log_to_driver=False, logging_level="WARNING")
    except Exception as error:  # it raises whatever its connection meets
        raise SartmError(
            f"--ray {address}: no cluster answers ({str(error).splitlines()[0]}). Start one with `ray start --head`."
        ) from error
    return ray


def _check_answers(address: str) -> None:
    """Ray itself waits for minutes where nothing answers."""
    host, separator, port = address.removeprefix("ray://").rpartition(":")
    if not separator or not port.isdecimal():
        return  # auto, or what Ray itself complains of
    try:
        socket.create_connection((host, int(port)), ANSWER_S).close()
    except OSError as error:
        raise SartmError(
            f"--ray {address}: nothing answers there ({error}). Start a cluster with `ray start --head`."
        ) from error


def _content(bundle: Path) -> dict[str, bytes]:
    """The bundle's files, to be held once by each machine."""
    return {name: (bundle / name).read_bytes() for name in (DESCRIPTION_FILE, *read_bundle(bundle).files)}


def _perform(task: Task, order: Order, bundle: dict[str, bytes] | None, out: str, run: str) -> Outcome:
    """Runs on a machine of the cluster."""
    import cv2
    import ray

    from sartm_ros.fleet.perform import perform

    cv2.setNumThreads(order.threads)
    seen = Path(out) / SEEN_FILE
    if not seen.is_file() or seen.read_text() != run:
        here = ray.util.get_node_ip_address()
        return Outcome(task, f"{out}: machine {here} does not see this folder. Mount it on all machines.", 0.0)
    if bundle is not None:
        order = order.model_copy(update={"bundle": str(_unpacked(bundle))})
    return perform(task, order, Path(out))


def _unpacked(bundle: dict[str, bytes]) -> Path:
    """The bundle as a folder of this machine's scratch; written once by whichever task is first."""
    digest = hashlib.sha256(bundle[DESCRIPTION_FILE]).hexdigest()
    place = Path(tempfile.gettempdir()) / f"sartm-bundle-{os.getuid()}-{digest}"
    if not place.is_dir():
        part = Path(tempfile.mkdtemp(prefix=f"{place.name}."))
        for name, content in bundle.items():
            (part / name).write_bytes(content)
        try:
            part.rename(place)
        except OSError:  # another task was first
            shutil.rmtree(part)
    return place
