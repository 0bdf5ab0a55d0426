"""One store on a simulated disk, through many cuts of its power, compared with a dictionary."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from tests.store.model import Change, Tables, applied, changes, contents, perform, same
from tests.store.simulated import FOLDER, PowerCut, SimulatedSystem
from voicelab.errors import StoreCorrupt
from voicelab.store import TinyStore

__all__ = ["Lost", "Outages", "difference"]


class Lost(AssertionError):
    """The store came back with something that it must not hold."""


class Outages:
    """A disk, the store on it, and the states that a cut may leave.

    Args:
        seed: of everything that is drawn: changes, cuts, and what a cut leaves.
        durability: "full" or "normal".
        make_system: the disk; a faulty one where the harness itself is tested.

    Attributes:
        states: what the store went through, from the last state that is sure to survive to the
            last change, which may never have been acknowledged.
    """

    def __init__(
        self,
        seed: int,
        durability: str = "full",
        make_system: Callable[[Random], SimulatedSystem] = SimulatedSystem,
    ):
        self.seed = seed
        self.draw = Random(seed)
        self.full = durability == "full"
        self.durability = durability
        self.disk = make_system(self.draw)
        self.states: list[Tables] = [{}]
        self.cuts = 0
        self._acknowledged = 0  # of `states`: what a kill must leave
        self._sure = 0  # of `states`: what a cut must leave

    @property
    def possible(self) -> list[Tables]:
        """What may be found now."""
        return self.states[self._acknowledged :]

    def run(self, cuts: int) -> None:
        """Fail so many times; raises Lost, naming the seed."""
        for _ in range(cuts):
            self.life(int(2 ** self.draw.uniform(0, 7.5)), None)
            self.fail(killed=self.draw.random() < 0.2)
        self.life(None, None)

    def life(self, cut_after: int | None, script: str | None) -> bool:
        """From opening to so many calls, or to a clean end; whether it came to that.

        Args:
            script: "c" for a commit, "f" for folding the journal; when None 40 are drawn.
        """
        self.disk.cut_after = cut_after
        script = script or "".join(self.draw.choices("cf", (16, 1), k=40))
        try:
            store = self._opened()
            self._compare(store)
            for act in script:
                (self._commit if act == "c" else self._fold)(store)
            store.close()
            self._acknowledge(sure=True)
        except PowerCut:
            return False
        except Lost:
            raise
        except Exception as error:
            raise self._lost(f"{type(error).__name__}: {error}") from error
        return True

    def fail(self, *, killed: bool) -> None:
        """The process is killed, or the power goes as well."""
        self.cuts += 1
        if killed:
            self.disk = self.disk.kill()
        else:
            self.disk = self.disk.cut()
            self._acknowledged = self._sure

    def _opened(self) -> TinyStore:
        try:
            return TinyStore(
                FOLDER,
                system=self.disk,
                durability=self.durability,
                background=False,
                compact_after_bytes=self.draw.choice((3_000, 20_000, 10**9)),
                locked=False,
            )
        except StoreCorrupt as error:
            raise self._lost(f"refused to open: {error}") from error

    def _compare(self, store: TinyStore) -> None:
        found = contents(store)
        fitting = [
            n for n, state in enumerate(self.possible, self._acknowledged) if same(found, state)
        ]
        if not fitting:
            raise self._lost(difference(found, self.possible))
        del self.states[fitting[-1] + 1 :]
        self._acknowledge(sure=True)  # opening writes a base of what it found

    def _fold(self, store: TinyStore) -> None:
        store.compact()
        self._acknowledge(sure=True)

    def _commit(self, store: TinyStore) -> None:
        drawn: list[Change] = changes(self.draw, self.states[-1])
        self.states.append(applied(self.states[-1], drawn))
        perform(store, drawn)
        self._acknowledge(sure=self.full)

    def _acknowledge(self, *, sure: bool) -> None:
        if sure:
            del self.states[:-1]
            self._sure = 0
        self._acknowledged = len(self.states) - 1

    def _lost(self, what: str) -> Lost:
        calls = ", ".join(f"{call} {name}".strip() for call, name in self.disk.log[-12:])
        return Lost(f"seed {self.seed}, after {self.cuts} cuts: {what}\nlast calls: {calls}")


def difference(found: Tables, states: list[Tables]) -> str:
    """What is missing, too much, or other than in the oldest state that may be found."""
    have = {(table, id): row for table, rows in found.items() for id, row in rows.items()}
    want = {(table, id): row for table, rows in states[0].items() for id, row in rows.items()}
    missing = [key for key in want if key not in have]
    more = [key for key in have if key not in want]
    other = [key for key in have if key in want and have[key] != want[key]]
    return f"of {len(states)} states none was found; missing {missing}, more {more}, other {other}"
