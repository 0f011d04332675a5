"""Threads: a worker with one slot, where the newest job wins and what it replaces is counted; and a ticker."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

JobT = TypeVar("JobT")


class NewestWins(Generic[JobT]):
    """Runs jobs one after the other, never queueing more than one, so latency stays that of one job under any load.

    Args:
        run: called in the worker's thread; must not raise.
    """

    def __init__(self, run: Callable[[JobT], None]) -> None:
        self._run = run
        self._slot: list[JobT] = []
        self._condition = threading.Condition()
        self._stopping = False
        self.dropped = 0
        self._thread = threading.Thread(target=self._loop, name="sartm-worker", daemon=True)
        self._thread.start()

    def submit(self, job: JobT) -> None:
        """Replaces the waiting job, if there is one."""
        with self._condition:
            self.dropped += len(self._slot)
            self._slot = [job]
            self._condition.notify()

    def stop(self) -> None:
        """Ends the thread after the running job; a waiting one is dropped."""
        with self._condition:
            self._stopping = True
            self._condition.notify()
        self._thread.join()

    def _loop(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._slot or self._stopping)
                if self._stopping:
                    return
                job = self._slot.pop()
            self._run(job)


class Ticker:
    """Calls a function periodically. A timer would wake the executor, which costs it a hundred times as much.

    Args:
        period_s: between two calls.
        call: called in the ticker's thread; must not raise.
    """

    def __init__(self, period_s: float, call: Callable[[], None]) -> None:
        self._period_s, self._call = period_s, call
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="sartm-ticker", daemon=True)

    def start(self) -> None:
        """Starts the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread, if it was started."""
        self._stopping.set()
        if self._thread.is_alive():
            self._thread.join()

    def _loop(self) -> None:
        while not self._stopping.wait(self._period_s):
            self._call()
