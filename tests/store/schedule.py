"""Threads that run one at a time in an order drawn from a seed, so that a race can be repeated.

`Scheduler` stands in for the module `threading` in the code under test: at each lock and each
system call another thread may go on. Real threads carry the work, and hand each other the turn.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from random import Random
from types import TracebackType
from typing import Any

__all__ = ["Deadlock", "Scheduler"]


class Deadlock(AssertionError):
    """Every thread waits for another."""


class Task:
    """A thread, and what it waits for."""

    def __init__(self, scheduler: Scheduler, work: Callable[[], object] | None = None):
        self.turn = threading.Semaphore(0)
        self.ready: Callable[[], bool] | None = None
        self.patient = True
        self.done = False
        self.error: BaseException | None = None
        self._scheduler = scheduler
        self._work = work
        self._thread = threading.Thread(target=self._run, daemon=True) if work else None

    def start(self) -> None:
        assert self._thread is not None
        self._thread.start()

    def _run(self) -> None:
        assert self._work is not None
        self.turn.acquire()
        try:
            self._work()
        except BaseException as error:
            self.error = error
        self.done = True
        self._scheduler.leave()


class Scheduler:
    """Who goes on, drawn at each step.

    Args:
        draw: where the order comes from.
        stopped: raised in every thread once it returns an error to raise.
    """

    def __init__(self, draw: Random, stopped: Callable[[], BaseException | None]):
        self.draw = draw
        self._stopped = stopped
        self._deadlock: Deadlock | None = None
        self.tasks = [Task(self)]
        self.current = self.tasks[0]

    def stopped(self) -> BaseException | None:
        """What every thread that waits is told."""
        return self._deadlock or self._stopped()

    def step(self) -> None:
        """Perhaps another thread goes on first."""
        if self.draw.random() < 0.5:
            self._hand_over()

    def wait(self, ready: Callable[[], bool], *, patient: bool = True) -> bool:
        """Until `ready`; one that is not patient gives up when nobody else can go on."""
        task = self.current
        while not ready():
            if (error := self.stopped()) is not None:
                raise error
            task.ready, task.patient = ready, patient
            self._hand_over()
            task.ready = None
            if not patient and not ready():
                return False
        return True

    def spawn(self, work: Callable[[], object]) -> Task:
        """A new thread; it begins when it is drawn."""
        task = Task(self, work)
        self.tasks.append(task)
        task.start()
        return task

    def finish(self, tasks: Sequence[Task] | None = None) -> None:
        """Until these have ended, or all; raises what one of them raised."""
        tasks = self.tasks[1:] if tasks is None else tasks
        for task in tasks:
            while not task.done:
                self.current.ready = lambda task=task: task.done
                self._hand_over()
        self.current.ready = None
        for task in tasks:
            if task.error is not None:
                raise task.error

    def leave(self) -> None:
        """A thread ends: another goes on."""
        self.current = self._next()
        self.current.turn.release()

    def _hand_over(self) -> None:
        task = self.current
        self.current = self._next()
        if self.current is not task:
            self.current.turn.release()
            task.turn.acquire()

    def _next(self) -> Task:
        waiting = [task for task in self.tasks if not task.done]
        if self.stopped() is not None:  # those that wait are woken to be told
            ready = [task for task in waiting if task.ready is None or task is not waiting[0]]
        else:
            ready = [task for task in waiting if task.ready is None or task.ready()]
        ready = ready or [task for task in waiting if not task.patient]
        if not ready and self.stopped() is None:
            self._deadlock = Deadlock(f"{len(waiting)} threads wait for each other")
        return self.draw.choice(ready or waiting[-1:])

    # In the place of the module `threading`

    def Lock(self) -> Mutex:  # noqa: N802
        return Mutex(self)

    def RLock(self) -> Mutex:  # noqa: N802
        return Mutex(self, again=True)

    def Condition(self, lock: Mutex | None = None) -> Signal:  # noqa: N802
        return Signal(self, lock or Mutex(self, again=True))

    def Event(self) -> Flag:  # noqa: N802
        return Flag(self)

    def Thread(self, target: Callable[..., object], args: tuple[Any, ...] = (), **_: Any) -> Worker:  # noqa: N802
        return Worker(self, lambda: target(*args))

    def __getattr__(self, name: str) -> Any:
        return getattr(threading, name)


class Mutex:
    """A lock, by turns."""

    def __init__(self, scheduler: Scheduler, *, again: bool = False):
        self._scheduler = scheduler
        self._again = again
        self.owner: Task | None = None
        self.depth = 0

    def acquire(self) -> None:
        task = self._scheduler.current
        if self._again and self.owner is task:
            self.depth += 1
            return
        self._scheduler.step()
        self._scheduler.wait(lambda: self.owner is None)
        self.owner, self.depth = task, 1

    def release(self) -> None:
        self.depth -= 1
        if self.depth == 0:
            self.owner = None

    def __enter__(self) -> None:
        self.acquire()

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.release()


class Signal:
    """A condition, by turns."""

    def __init__(self, scheduler: Scheduler, lock: Mutex):
        self._scheduler = scheduler
        self._lock = lock
        self._waiting: list[list[bool]] = []

    def wait(self, timeout: float | None = None) -> bool:
        mine = [False]
        self._waiting.append(mine)
        depth, self._lock.depth, self._lock.owner = self._lock.depth, 0, None
        try:
            return self._scheduler.wait(lambda: mine[0], patient=timeout is None)
        finally:
            if mine in self._waiting:
                self._waiting.remove(mine)
            self._take_back(depth)

    def notify(self, n: int = 1) -> None:
        for mine in self._waiting[:n]:
            mine[0] = True
        del self._waiting[:n]

    def notify_all(self) -> None:
        self.notify(len(self._waiting))

    def _take_back(self, depth: int) -> None:
        if self._scheduler.stopped() is None:
            self._scheduler.wait(lambda: self._lock.owner is None)
        self._lock.owner, self._lock.depth = self._scheduler.current, depth

    def __enter__(self) -> None:
        self._lock.acquire()

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self._lock.release()


class Flag:
    """An event, by turns."""

    def __init__(self, scheduler: Scheduler):
        self._scheduler = scheduler
        self._set = False

    def set(self) -> None:
        self._set = True

    def clear(self) -> None:
        self._set = False

    def is_set(self) -> bool:
        return self._set

    def wait(self, timeout: float | None = None) -> bool:
        return self._scheduler.wait(self.is_set, patient=timeout is None)


class Worker:
    """A thread, by turns."""

    def __init__(self, scheduler: Scheduler, work: Callable[[], object]):
        self._scheduler = scheduler
        self._work = work
        self._task: Task | None = None

    def start(self) -> None:
        self._task = self._scheduler.spawn(self._work)

    def join(self, timeout: float | None = None) -> None:
        task = self._task
        if task is not None:
            self._scheduler.wait(lambda: task.done, patient=timeout is None)
