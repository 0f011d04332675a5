"""Threads: a worker with one slot, where the newest job wins and what it replaces is counted; and a ticker."""

import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

STOP_S = 5.0
"""How long a thread may take to finish what it is doing: longer than any network that works."""

JobT = TypeVar("JobT")


class NewestWins(Generic[JobT]):
    """Runs jobs one after the other, never queueing more than one, so latency stays that of one job under any load.

    Args:
        run: called in the worker's thread; must not raise.

    Attributes:
        dropped: how many jobs were replaced before they ran.
        is_left_behind: `stop` did not see the running job end; nothing may be done with its result any more.
    """

    def __init__(self, run: Callable[[JobT], None]) -> None:
        self._run = run
        self._slot: list[JobT] = []
        self._condition = threading.Condition()
        self._stopping = False
        self._begun_s: float | None = None
        self.dropped = 0
        self.is_left_behind = False
        self._thread = threading.Thread(target=self._loop, name="sartm-worker", daemon=True)
        self._thread.start()

    def submit(self, job: JobT) -> None:
        """Replaces the waiting job, if there is one."""
        with self._condition:
            self.dropped += len(self._slot)
            self._slot = [job]
            self._condition.notify()

    def busy_s(self) -> float:
        """For how many seconds the running job has been running; 0 between jobs."""
        begun_s = self._begun_s
        return 0.0 if begun_s is None else time.monotonic() - begun_s

    def stop(self) -> bool:
        """Ends the thread after the running job; a waiting one is dropped.

        Returns:
            False where the job has not ended after `STOP_S`: the thread is left behind.
        """
        with self._condition:
            self._stopping = True
            self._slot.clear()
            self._condition.notify()
        self._thread.join(STOP_S)
        self.is_left_behind = self._thread.is_alive()
        return not self.is_left_behind

    def hangs(self) -> bool:
        """Whether the thread that `stop` left behind is still at work."""
        return self.is_left_behind and self._thread.is_alive()

    def _loop(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._slot or self._stopping)
                if self._stopping:
                    return
                job = self._slot.pop()
            self._begun_s = time.monotonic()
            self._run(job)
            self._begun_s = None


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
            self._thread.join(STOP_S)

    def _loop(self) -> None:
        while not self._stopping.wait(self._period_s):
            self._call()
