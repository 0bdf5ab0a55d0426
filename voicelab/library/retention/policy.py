"""The storage policy: which takes it deletes, as rules over rows; nothing is changed here."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields, replace
from typing import Any

from voicelab.errors import InvalidInput

__all__ = ["Policy", "oldest_takes", "takes_to_delete"]

ACTIONS = ("refuse", "evict")
MAX_DAYS, MAX_NUMBER = 36_500, 1_000_000_000
MIB = 2**20
Record = dict[str, Any]
IsExempt = Callable[[Record], bool]


@dataclass(frozen=True)
class Policy:
    """When takes are deleted, and when they are compressed; None means never.

    Attributes:
        max_age_days: age from which takes are deleted; 0-36,500.
        max_takes: number of takes above which the oldest are deleted; 0-1,000,000,000.
        max_total_mb: size in MiB above which the oldest are deleted; 0-1,000,000,000.
        quota_mb: size limit of each profile in MiB; 0-1,000,000,000.
        quota_action: at the quota, "refuse" new takes, or "evict" the profile's oldest.
        flac_after_days: age from which takes are converted to FLAC (lossless); 0-36,500.

    Raises:
        InvalidInput: the message has the field, the value and the range.
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
        """Whether any limit is set; `quota_action` alone has no effect."""
        return replace(self, quota_action="refuse") != Policy()


def takes_to_delete(
    policy: Policy, takes: list[Record], is_exempt: IsExempt, before: Callable[[float], str]
) -> Iterator[tuple[Record, str]]:
    """The takes to delete, each once and with the reason: age, count, bytes or quota.

    Args:
        policy: the rules.
        takes: rows with id, created_at, size_bytes and profile_id, the oldest first.
        is_exempt: whether a take is exempt; it counts, but is never deleted.
        before: days -> created_at of a take of that age.
    """
    chosen_ids: set[str] = set()
    steps = (_too_old, _too_many, _too_large, _over_quota)
    for reason, step in zip(("age", "count", "bytes", "quota"), steps, strict=True):
        remaining = [take for take in takes if take["id"] not in chosen_ids]
        for take in list(step(policy, remaining, is_exempt, before)):
            chosen_ids.add(take["id"])
            yield take, reason


def oldest_takes(takes: list[Record], is_exempt: IsExempt, size_bytes: float) -> list[Record]:
    """The oldest takes that are not exempt and together have `size_bytes`; all if they have less.

    Takes without audio are not included.
    """
    chosen: list[Record] = []
    for take in takes:
        if size_bytes <= 0:
            break
        if take["size_bytes"] and not is_exempt(take):
            size_bytes -= take["size_bytes"]
            chosen.append(take)
    return chosen


def _too_old(
    policy: Policy, takes: list[Record], is_exempt: IsExempt, before: Callable[[float], str]
) -> list[Record]:
    if policy.max_age_days is None:
        return []
    limit = before(policy.max_age_days)
    return [take for take in takes if take["created_at"] < limit and not is_exempt(take)]


def _too_many(policy: Policy, takes: list[Record], is_exempt: IsExempt, _: object) -> list[Record]:
    if policy.max_takes is None:
        return []
    excess = max(0, len(takes) - policy.max_takes)
    return [take for take in takes if not is_exempt(take)][:excess]


def _too_large(policy: Policy, takes: list[Record], is_exempt: IsExempt, _: object) -> list[Record]:
    if policy.max_total_mb is None:
        return []
    over = sum(take["size_bytes"] for take in takes) - policy.max_total_mb * MIB
    return oldest_takes(takes, is_exempt, over)


def _over_quota(
    policy: Policy, takes: list[Record], is_exempt: IsExempt, _: object
) -> list[Record]:
    if policy.quota_mb is None or policy.quota_action != "evict":
        return []
    chosen: list[Record] = []
    for profile_id in sorted({take["profile_id"] for take in takes}):
        own = [take for take in takes if take["profile_id"] == profile_id]
        over = sum(take["size_bytes"] for take in own) - policy.quota_mb * MIB
        chosen += oldest_takes(own, is_exempt, over)
    return chosen


def _check_action(value: Any) -> None:
    if value not in ACTIONS:
        raise InvalidInput(
            f"quota_action is {str(value)[:40]}; refuse and evict are allowed.",
            param="quota_action",
        )


def _check_number(name: str, value: Any) -> None:
    whole, maximum = name == "max_takes", MAX_DAYS if name.endswith("_days") else MAX_NUMBER
    kinds = int if whole else (int, float)
    if isinstance(value, bool) or not isinstance(value, kinds) or not 0 <= value <= maximum:
        number = "whole number" if whole else "number"
        raise InvalidInput(
            f"{name} is {str(value)[:40]}; a {number} from 0 to {maximum:,} is allowed.", param=name
        )
