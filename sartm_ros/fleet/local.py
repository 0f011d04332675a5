"""Processes of this machine. One that dies takes only its own task with it."""

import multiprocessing
import os
import signal
import sys
from collections import Counter, deque
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import NamedTuple

from sartm_ros.fleet.order import Order
from sartm_ros.fleet.tasks import ATTEMPTS, Outcome, Task

ENDING_S = 10.0
"""How long a process may take to tidy up before it is killed."""


class _Worker(NamedTuple):
    process: multiprocessing.process.BaseProcess
    pipe: Connection


class LocalWorkers:
    """Processes that perform tasks, one each at a time; see `Workers`.

    Args:
        order: of the run.
        out: where results go.
        count: of processes.
    """

    def __init__(self, order: Order, out: Path, count: int) -> None:
        self._order, self._out = order, out
        self._context = multiprocessing.get_context("spawn")  # ONNX Runtime and torch do not survive a fork
        self._queue: deque[Task] = deque()
        self._idle: list[_Worker] = []
        self._busy: dict[_Worker, Task] = {}
        self._lost: Counter[Task] = Counter()
        self._count = count

    def submit(self, task: Task) -> None:
        self._queue.append(task)

    def next(self) -> Outcome:
        while True:
            self._hand_out()
            ready = wait([worker.pipe for worker in self._busy])
            for worker in [worker for worker in self._busy if worker.pipe in ready]:
                task = self._busy.pop(worker)
                try:
                    outcome = worker.pipe.recv()
                except (EOFError, OSError):
                    lost = self._lose(worker, task)
                    if lost is not None:
                        return lost
                    continue
                self._idle.append(worker)
                assert isinstance(outcome, Outcome)
                return outcome

    def close(self) -> None:
        for worker in (*self._idle, *self._busy):
            worker.process.terminate()
        for worker in (*self._idle, *self._busy):
            worker.process.join(ENDING_S)
            worker.process.kill()
            worker.process.join()
            worker.pipe.close()

    def _hand_out(self) -> None:
        while self._queue and (self._idle or len(self._busy) < self._count):
            worker = self._idle.pop() if self._idle else self._start()
            task = self._queue.popleft()
            self._busy[worker] = task
            with suppress(OSError):  # it died meanwhile, as its end of the pipe will tell
                worker.pipe.send(task)

    def _start(self) -> _Worker:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_serve, args=(theirs, self._order, self._out), daemon=True)
        process.start()
        theirs.close()
        return _Worker(process, ours)

    def _lose(self, worker: _Worker, task: Task) -> Outcome | None:
        """The task is done again by another process; or it is its fault."""
        worker.process.join()
        worker.pipe.close()
        self._lost[task] += 1
        if self._lost[task] < ATTEMPTS:
            self._queue.appendleft(task)
            return None
        code = worker.process.exitcode or 0
        how = f"signal {-code} ({signal.Signals(-code).name})" if code < 0 else f"exit status {code}"
        return Outcome(
            task, f"its process was lost {ATTEMPTS} times, last by {how}. Is memory short? Try fewer --workers.", 0.0
        )


def _serve(pipe: Connection, order: Order, out: Path) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent decides
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))  # so that drafts are removed
    os.environ["OMP_NUM_THREADS"] = str(order.threads)  # read when these are first imported
    import cv2

    from sartm_ros.fleet.perform import perform

    cv2.setNumThreads(order.threads)
    while True:
        try:
            task = pipe.recv()
        except (EOFError, OSError):  # the parent is gone
            return
        pipe.send(perform(task, order, out))
