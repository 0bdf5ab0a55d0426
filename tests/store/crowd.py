"""Several threads on one store on a simulated disk, in an order that the seed gives."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator
from random import Random
from unittest.mock import patch

from tests.store.model import Tables, applied, changes, perform, same
from tests.store.outage import Lost, difference
from tests.store.schedule import Scheduler
from tests.store.simulated import FOLDER, PowerCut, SimulatedSystem
from voicelab.errors import StorageError
from voicelab.store import Query, TinyStore

__all__ = ["Crowd", "Queue"]


class Member:
    """One thread with tables of its own: what it was told is saved, and what it tried last."""

    def __init__(self, number: int, draw: Random):
        self.names = {table: f"{table}{number}" for table in ("takes", "voices", "stories")}
        self.draw = draw
        self.states: list[Tables] = [{}]

    def commit(self, store: TinyStore) -> None:
        drawn = changes(self.draw, self.states[-1])
        self.states.append(applied(self.states[-1], drawn))
        perform(store, [(kind, self.names[table], *rest) for kind, table, *rest in drawn])
        del self.states[:-1]
        self.look(store)

    def look(self, store: TinyStore) -> None:
        """What this thread wrote it reads, whatever the others do."""
        found = {name: self._rows(store, name) for name in self.names}
        fitting = [state for state in self.states if self._whole(state) == found]
        if not fitting:
            raise Lost(difference(found, self.states))
        self.states = fitting[-1:]

    def _whole(self, state: Tables) -> Tables:
        return {name: state.get(name, {}) for name in self.names}

    def _rows(self, store: TinyStore, name: str) -> dict[str, dict[str, object]]:
        return {row["id"]: row for row in store.page(self.names[name], Query())[0]}


class Crowd:
    """A disk and the threads that write to the store on it.

    Args:
        seed: of what they do, in which order, and when the power goes.
        members: how many threads.
        background: the store folds its journal in a thread of its own, else one of the crowd does.
        closing: one closes the store in the middle of it.
    """

    def __init__(
        self, seed: int, members: int = 3, *, background: bool = False, closing: bool = False
    ):
        self.seed = seed
        self.draw = Random(seed)
        self.disk = SimulatedSystem(self.draw)
        self.members = [Member(number, Random(f"{seed} {number}")) for number in range(members)]
        self.background, self.closing = background, closing
        self.durability = "full"

    def run(self, cuts: int) -> None:
        """Raises Lost, naming the seed."""
        for cut in range(cuts):
            try:
                self.life(int(2 ** self.draw.uniform(0, 8)))
            except PowerCut:
                pass
            except Exception as error:
                calls = ", ".join(f"{call} {name}".strip() for call, name in self.disk.log[-12:])
                raise Lost(
                    f"seed {self.seed}, after {cut} cuts: {type(error).__name__}: {error}\n"
                    f"last calls: {calls}"
                ) from error
            if self.draw.random() < 0.2:
                self.disk = self.disk.kill()
            else:
                self.disk = self.disk.cut()
                self.lost_power()

    def work(self, store: TinyStore, member: Member) -> None:
        """One commit of one thread."""
        member.commit(store)

    def fold(self, store: TinyStore) -> None:
        """One compaction."""
        store.compact()

    def compare(self, store: TinyStore) -> None:
        """What was opened with what may be found."""
        for member in self.members:
            member.look(store)

    def lost_power(self) -> None:
        """Not only the process is gone."""

    def life(self, cut_after: int) -> None:
        """From opening to the cut, or to a clean end."""
        scheduler = Scheduler(self.draw, lambda: PowerCut() if self.disk.dead else None)
        self.disk.cut_after = cut_after
        with in_place_of_threading(scheduler):
            try:
                self._work(scheduler)
            finally:
                self.disk.dead = True
                with contextlib.suppress(BaseException):
                    scheduler.finish()

    def _work(self, scheduler: Scheduler) -> None:
        store = TinyStore(
            FOLDER,
            system=self.disk,
            background=self.background,
            compact_after_bytes=self.draw.choice((2_000, 10**9)),
            durability=self.durability,
            locked=False,
        )
        self.compare(store)
        self.disk.hook = lambda call, name: scheduler.step()
        works = [lambda member=member: self.work(store, member) for member in self.members]
        tasks = [scheduler.spawn(lambda work=work: until_closed(work, 8)) for work in works]
        if not self.background:
            tasks.append(scheduler.spawn(lambda: until_closed(lambda: self.fold(store), 2)))
        if self.closing:
            tasks.append(scheduler.spawn(store.close))
        scheduler.finish(tasks)
        store.close()
        scheduler.finish()


class Queue(Crowd):
    """A crowd whose commits are noted in their order, which a cut must keep.

    Args:
        durability: at "full" what was told to be saved survives, at "normal" a beginning of it all.
    """

    def __init__(self, seed: int, durability: str):
        super().__init__(seed)
        self.durability = durability
        self.states: list[Tables] = [{}]
        self.acknowledged = self.sure = 0  # of `states`: what a kill, what a cut must leave

    def work(self, store: TinyStore, member: Member) -> None:
        with store.batch():
            own = {table: self.states[-1].get(name, {}) for table, name in member.names.items()}
            drawn = [
                (kind, member.names[table], *rest)
                for kind, table, *rest in changes(member.draw, own)
            ]
            perform(store, drawn)
            self.states.append(applied(self.states[-1], drawn))
            number = len(self.states) - 1
        self.acknowledged = max(self.acknowledged, number)
        if self.durability == "full":
            self.sure = self.acknowledged

    def fold(self, store: TinyStore) -> None:
        number = self.acknowledged
        store.compact()
        self.sure = max(self.sure, number)

    def compare(self, store: TinyStore) -> None:
        names = [name for member in self.members for name in member.names.values()]
        found = {name: {row["id"]: row for row in store.page(name, Query())[0]} for name in names}
        found = {name: rows for name, rows in found.items() if rows}
        possible = range(self.acknowledged, len(self.states))
        fitting = [n for n in possible if same(found, self.states[n])]
        if not fitting:
            raise Lost(difference(found, self.states[self.acknowledged :]))
        del self.states[fitting[-1] + 1 :]
        self.acknowledged = fitting[-1]

    def lost_power(self) -> None:
        self.acknowledged = self.sure


def until_closed(action: Callable[[], object], times: int) -> None:
    """So many times, or until the store says that it is closed."""
    try:
        for _ in range(times):
            action()
    except StorageError as error:
        if "closed" not in error.message:
            raise


@contextlib.contextmanager
def in_place_of_threading(scheduler: Scheduler) -> Iterator[None]:
    """For all modules of the store, those that TinyDB brings aside."""
    with contextlib.ExitStack() as stack:
        for name, module in list(sys.modules.items()):
            if name.startswith("voicelab.store") and hasattr(module, "threading"):
                stack.enter_context(patch.object(module, "threading", scheduler))
        yield
