"""Disk usage of takes by profile and by age."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from voicelab.library.versions import GENERATIONS
from voicelab.store import Query, Store

__all__ = ["usage_by_age", "usage_by_profile"]

AGES = (("last day", 1), ("last week", 7), ("last month", 30), ("older", None))
Record = dict[str, Any]


def usage_by_profile(store: Store, names: Mapping[str, str]) -> list[Record]:
    """Number and bytes of the takes of each profile, the largest first."""
    rows = store.tally(GENERATIONS, ("profile_id",), ("size_bytes",))
    found = [
        {
            "profile_id": id,
            "profile_name": names.get(id, "Unassigned"),
            "takes": takes,
            "size_bytes": int(size_bytes),
        }
        for id, takes, size_bytes in rows
    ]
    return sorted(found, key=lambda entry: -entry["size_bytes"])


def usage_by_age(store: Store, before: Callable[[float], str]) -> list[Record]:
    """Number and bytes of takes by age; `before` returns the time so many days ago."""
    found, younger = [], (0, 0)
    for label, days in AGES:
        within = Query(ranges={"created_at": (before(days), None)} if days else {})
        rows = store.tally(GENERATIONS, (), ("size_bytes",), within)
        takes, size = next(iter(rows), (0, 0))
        entry = {"takes": takes - younger[0], "size_bytes": int(size - younger[1])}
        found.append({"label": label} | entry)
        younger = takes, size
    return found
