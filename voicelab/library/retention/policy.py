"""Which takes a storage policy sends away: rules over rows, nothing is touched."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

from voicelab.errors import InvalidInput

__all__ = ["Policy", "leaving", "making_room"]

ACTIONS = ("refuse", "evict")
MAX_DAYS, MAX_NUMBER = 36_500, 1_000_000_000
MIB = 2**20
Record = dict[str, Any]
Stays = Callable[[Record], bool]


@dataclass(frozen=True)
class Policy:
    """When takes go, and when they are compressed; None never.

    Attributes:
        max_age_days: takes older than this go; 0-36,500.
        max_takes: the oldest go when there are more; 0-1,000,000,000.
        max_total_mb: the oldest go when all take more, in MiB; 0-1,000,000,000.
        quota_mb: of each profile, in MiB; 0-1,000,000,000.
        quota_action: at the quota, refuse a new take, or evict the profile's oldest.
        flac_after_days: older takes become FLAC, which loses nothing; 0-36,500.

    Raises:
        InvalidInput: names the field, the value and the range.
    """

    max_age_days: float | None = None
    max_takes: int | None = None
    max_total_mb: float | None = None
    quota_mb: float | None = None
    quota_action: str = "refuse"
    flac_after_days: float | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "quota_action":
                _check_action(value)
            elif value is not None:
                _check_number(field.name, value)

    @property
    def active(self) -> bool:
        """Whether anything can ever go; how a quota acts says nothing without one."""
        return replace(self, quota_action="refuse") != Policy()


def leaving(
    policy: Policy, takes: list[Record], stays: Stays, before: Callable[[float], str]
) -> Iterator[tuple[Record, str]]:
    """The takes that go and why (age, count, bytes, quota), each once, the oldest first.

    Args:
        policy: the rules.
        takes: rows with id, created_at, size_bytes and profile_id, the oldest first.
        stays: whether a take is exempt; it counts, but never goes.
        before: days -> created_at of what is just so old.
    """
    gone: set[str] = set()
    steps = (_too_old, _too_many, _too_large, _over_quota)
    for reason, step in zip(("age", "count", "bytes", "quota"), steps, strict=True):
        left = [take for take in takes if take["id"] not in gone]
        for take in list(step(policy, left, stays, before)):
            gone.add(take["id"])
            yield take, reason


def making_room(takes: list[Record], stays: Stays, size_bytes: float) -> list[Record]:
    """The oldest of them that may go and together free so many bytes; all that may, if fewer.

    Takes without audio free nothing, so they are left alone.
    """
    chosen: list[Record] = []
    for take in takes:
        if size_bytes <= 0:
            break
        if take["size_bytes"] and not stays(take):
            size_bytes -= take["size_bytes"]
            chosen.append(take)
    return chosen


def _too_old(
    policy: Policy, takes: list[Record], stays: Stays, before: Callable[[float], str]
) -> list[Record]:
    if policy.max_age_days is None:
        return []
    limit = before(policy.max_age_days)
    return [take for take in takes if take["created_at"] < limit and not stays(take)]


def _too_many(policy: Policy, takes: list[Record], stays: Stays, _: object) -> list[Record]:
    if policy.max_takes is None:
        return []
    excess = max(0, len(takes) - policy.max_takes)
    return [take for take in takes if not stays(take)][:excess]


def _too_large(policy: Policy, takes: list[Record], stays: Stays, _: object) -> list[Record]:
    if policy.max_total_mb is None:
        return []
    over = sum(take["size_bytes"] for take in takes) - policy.max_total_mb * MIB
    return making_room(takes, stays, over)


def _over_quota(policy: Policy, takes: list[Record], stays: Stays, _: object) -> list[Record]:
    if policy.quota_mb is None or policy.quota_action != "evict":
        return []
    going: list[Record] = []
    for profile_id in sorted({take["profile_id"] for take in takes}):
        own = [take for take in takes if take["profile_id"] == profile_id]
        over = sum(take["size_bytes"] for take in own) - policy.quota_mb * MIB
        going += making_room(own, stays, over)
    return going


def _check_action(value: Any) -> None:
    if value not in ACTIONS:
        raise InvalidInput(
            f"quota_action is {str(value)[:40]}; refuse and evict are allowed.",
            param="quota_action",
        )


def _check_number(name: str, value: Any) -> None:
    whole, most = name == "max_takes", MAX_DAYS if name.endswith("_days") else MAX_NUMBER
    kinds = int if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not 0 <= value <= most:
        number = "whole number" if whole else "number"
        raise InvalidInput(
            f"{name} is {str(value)[:40]}; a {number} from 0 to {most:,} is allowed.", param=name
        )
