"""Half an hour of accidents over everything that writes or listens, at once: `make soak`.

Commands are killed, interrupted, and left without space at random moments, again and again, on the same outputs,
beside a live node that is fed broken messages and stamps that leap. Afterwards every artefact is whole or absent,
figures can be computed again, and the node's memory and files are where they were.
"""

import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from sartm_core.deploy import load_segmenter
from sartm_core.rig import Rig
from sartm_ros.bag.reader import open_bag

SECONDS = 1800
DISK_BYTES = 400 * 2**20
SHARE_OF_DISASTERS = {"kill": 4, "terminate": 2, "interrupt": 1, "file size": 2, "nothing": 3}
RECIPE = {
    "name": "tiny",
    "preset": "any_sensor",
    "backbone": "nano",
    "train_backbone": True,
    "lora_rank": 2,
    "data": {"simulated": "sim", "modalities": ["rgb"]},
    "stages": [{"size": [32, 64], "samples": 160, "batch": 4, "learning_rate": 1.0e-3}],
    "validate_every": 5,
    "validation_frames": 2,
    "workers": 0,
    "statistics_frames": 2,
}


@dataclass(slots=True)
class Chore:
    """A command that is run over and over on one output.

    Attributes:
        arguments: after `sartm`.
        check: of its output, whenever one is there; raises AssertionError.
        typical_s: how long it took undisturbed, a measure for the moments of accidents.
        ends: what happened to it -> how often.
    """

    name: str
    arguments: list[str]
    check: Callable[[], None]
    typical_s: float = 0.0
    ends: Counter[str] = field(default_factory=Counter)
    log: str = ""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[tuple[Path, bool]]:
    """A folder, and whether it is a small file system of its own, which can be filled (only root may mount one)."""
    place = tmp_path / "disk"
    place.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(place)]
    mounted = os.geteuid() == 0 and subprocess.run(mount, capture_output=True).returncode == 0
    yield place, mounted
    if mounted:
        subprocess.run(["umount", "--lazy", str(place)], check=True)


def launch(chore: Chore, place: Path, log: Path) -> subprocess.Popen[bytes]:
    (place / "tmp").mkdir(exist_ok=True)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TMPDIR": str(place / "tmp")}
    with log.open("wb") as stream:
        return subprocess.Popen(
            [sys.executable, "-m", "sartm_ros.cli", *chore.arguments],
            env=environment,
            stdout=stream,
            stderr=subprocess.STDOUT,
        )


def run_once(chore: Chore, place: Path, log: Path, disaster: str, rng: random.Random) -> None:
    """Runs the command, has the accident, and looks at what is there then."""
    started = time.monotonic()
    process = launch(chore, place, log)
    if disaster == "file size":
        limit = rng.choice((2_000, 20_000, 200_000, 2_000_000))
        resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (limit, limit))
    elif disaster != "nothing":
        number = {"kill": signal.SIGKILL, "terminate": signal.SIGTERM, "interrupt": signal.SIGINT}[disaster]
        try:
            process.wait(rng.uniform(0.0, 1.2 * chore.typical_s))
        except subprocess.TimeoutExpired:
            process.send_signal(number)
    code = process.wait(600)
    chore.log = log.read_text(errors="replace")
    if disaster == "nothing" and code == 0:
        chore.typical_s = time.monotonic() - started
    chore.ends[f"{disaster}: {code}"] += 1
    while_importing = disaster == "interrupt" and chore.log.rstrip().endswith("KeyboardInterrupt")
    assert "Traceback" not in chore.log or while_importing, f"{chore.name}, {disaster}:\n{chore.log}"
    chore.check()


def whole_checkpoints(out: Path) -> None:
    """Each is one that can be read, and figures.json speaks of the best of them."""
    for path in out.glob("*.ckpt"):
        assert torch.load(path, map_location="cpu", weights_only=True)["state_dict"], path
    figures = out / "figures.json"
    if figures.exists():
        content = json.loads(figures.read_text())
        assert content["steps"] == 40
        best = torch.load(out / "best.ckpt", map_location="cpu", weights_only=True)
        assert best["state_dict"]


def whole_bundle(out: Path) -> None:
    """It has the sums that it names, and loads."""
    if out.exists():
        load_segmenter(out, "torch", "cpu")


def masks(recording: Path) -> list[tuple[int, bytes]]:
    with open_bag(recording) as bag:
        return [(one.time_ns, bytes(one.data)) for one in bag.messages({"/perception/mask"})]


def scores(out: Path) -> Any:
    return json.loads((out / "metrics.json").read_text())["clean"]


@pytest.mark.soak
def test_half_an_hour_of_accidents(
    drive: Path, host: Any, node: Any, feed: Any, sim_rig: Rig, disk: tuple[Path, bool], tmp_path: Path
) -> None:
    place, can_be_filled = disk
    recipe = tmp_path / "tiny.yaml"
    recipe.write_text(yaml.safe_dump(RECIPE))
    chores = make_chores(drive, recipe, place, tmp_path)
    rng = random.Random(0)
    for chore in chores:  # undisturbed, once: how long it takes, and the truth for later
        run_once(chore, place, tmp_path / f"{chore.name}.log", "nothing", rng)
        assert chore.ends == {"nothing: 0": 1}, chore.log
    wanted = {"masks": masks(place / "masks"), "scores": scores(place / "scores")}
    deadline, failures = time.monotonic() + SECONDS, list[str]()
    threads = [threading.Thread(target=disturb, args=(c, place, tmp_path, deadline, failures, wanted)) for c in chores]
    if can_be_filled:
        threads.append(threading.Thread(target=fill_now_and_then, args=(place, deadline)))
    for thread in threads:
        thread.start()
    storm(host, node, feed, sim_rig, deadline)
    for thread in threads:
        thread.join()
    print(json.dumps({c.name: c.ends for c in chores} | {"disk filled": can_be_filled}, indent=2))
    assert not failures, "\n\n".join(failures)
    at_peace(chores, place, tmp_path, wanted)


def make_chores(drive: Path, recipe: Path, place: Path, work: Path) -> list[Chore]:
    bundle = "any_sensor_simrig5"
    run, exported, segmented, evaluated = (place / name for name in ("run", "bundle", "masks", "scores"))
    kept = work / "kept.ckpt"

    def keep() -> None:
        whole_checkpoints(run)
        if not kept.exists() and (run / "best.ckpt").exists():
            shutil.copy(run / "best.ckpt", kept)

    return [
        Chore("train", ["train", str(recipe), "--out", str(run), "--resume", "auto", "--accelerator", "cpu"], keep),
        Chore("export", ["export", str(kept), "--out", str(exported)], lambda: whole_bundle(exported)),
        Chore("segment", ["bag", "segment", str(drive), "--bundle", bundle, "--out", str(segmented)], lambda: None),
        Chore(
            "evaluate",
            ["bag", "evaluate", str(drive), "--bundle", bundle, "--truth-topic", "/sim/truth", "--out", str(evaluated)],
            lambda: None,
        ),
    ]


def disturb(
    chore: Chore, place: Path, work: Path, deadline: float, failures: list[str], wanted: dict[str, Any]
) -> None:
    rng = random.Random(chore.name)
    disasters = list(SHARE_OF_DISASTERS)
    while time.monotonic() < deadline and not failures:
        disaster = rng.choices(disasters, [SHARE_OF_DISASTERS[name] for name in disasters])[0]
        try:
            run_once(chore, place, work / f"{chore.name}.log", disaster, rng)
            same_as_undisturbed(chore, place, wanted)
            clear_what_is_complete(chore, place, rng)
        except Exception as error:
            failures.append(f"{chore.name}, {disaster}: {error!r}\n{chore.log}")


def same_as_undisturbed(chore: Chore, place: Path, wanted: dict[str, Any]) -> None:
    """A result that is there is the result."""
    if chore.name == "segment" and (place / "masks").exists():
        assert masks(place / "masks") == wanted["masks"]
    if chore.name == "evaluate" and (place / "scores" / "metrics.json").exists():
        assert scores(place / "scores") == wanted["scores"]


def clear_what_is_complete(chore: Chore, place: Path, rng: random.Random) -> None:
    """As a user does before the next run; a bundle is replaced in place."""
    if chore.name == "segment":
        shutil.rmtree(place / "masks", ignore_errors=True)
    elif chore.name == "train" and (place / "run" / "figures.json").exists():
        shutil.rmtree(place / "run")
    elif chore.name == "evaluate" and rng.random() < 0.5:
        shutil.rmtree(place / "scores", ignore_errors=True)


def fill_now_and_then(place: Path, deadline: float) -> None:
    rng, ballast = random.Random(1), place / "ballast"
    while time.monotonic() < deadline:
        time.sleep(rng.uniform(5, 40))
        with ballast.open("wb") as stream:
            try:
                while True:
                    stream.write(bytes(2**20))
                    stream.flush()
            except OSError:
                pass
        time.sleep(rng.uniform(0.5, 10))
        ballast.unlink()


def storm(host: Any, node: Any, feed: Any, rig: Rig, deadline: float) -> None:
    """Good messages, broken ones, and stamps that leap, until the deadline; then memory and files of the node."""
    rng = random.Random(2)
    names = ("rgb", "thermal", "depth")
    feed(30, *names)
    settled = None
    while time.monotonic() < deadline:
        present = [name for name in names if rng.random() < 0.8]
        leaps = {name: rng.choice((-(10**10), 10**9, 10**10, -(10**18))) for name in names if rng.random() < 0.1}
        broken = {name: {"encoding": "nonsense"} for name in names if rng.random() < 0.1}
        feed(rng.randrange(1, 10), *present, shift_ns=leaps, **broken)
        assert node.popen.poll() is None, node.log()
        for heard in host.heard.values():
            heard.clear()
        if settled is None and time.monotonic() > deadline - 0.8 * SECONDS:
            settled = usage(node.popen.pid)
    feed(20, *names)
    host.spin(3.0)
    assert host.heard["/perception/mask"], "no mask after the storm"
    assert settled is not None
    memory, files = usage(node.popen.pid)
    assert memory - settled[0] < 30, f"{settled[0]:.0f} MB before, {memory:.0f} MB after"
    assert files <= settled[1] + 2


def usage(pid: int) -> tuple[float, int]:
    """Resident memory in MB, and the number of open files."""
    status = Path(f"/proc/{pid}/status").read_text()
    resident = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))
    return resident / 1024, len(list(Path(f"/proc/{pid}/fd").iterdir()))


def at_peace(chores: list[Chore], place: Path, work: Path, wanted: dict[str, Any]) -> None:
    """Each command succeeds once more, and nothing but its output is left, not even of those that were killed."""
    shutil.rmtree(place / "masks", ignore_errors=True)
    for chore in chores:
        run_once(chore, place, work / f"{chore.name}.log", "nothing", random.Random(3))
        assert chore.log, chore.name
        same_as_undisturbed(chore, place, wanted)
    assert {path.name for path in place.iterdir()} == {"run", "bundle", "masks", "scores", "tmp"}
    left = [path.name for path in (place / "tmp").iterdir() if not path.name.startswith("torchinductor_")]
    assert left == []  # but torch's own cache
    for out in ("run", "bundle", "masks", "scores"):
        assert not [path for path in (place / out).rglob("*") if path.name.startswith(".") or path.suffix == ".part"]
