"""What a request may hold for one of several engines."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from voicelab.engines.base import EngineInfo

__all__ = ["SharedParameter", "shared_parameters"]


@dataclass(frozen=True)
class SharedParameter:
    """A parameter as a request may hold it, whichever engine speaks.

    Attributes:
        name: the key in the request.
        minimum, maximum: the widest range of all engines that have it.
        help: which engines those are, and what the first of them says of it.
    """

    name: str
    minimum: float
    maximum: float
    help: str


def shared_parameters(infos: Iterable[EngineInfo]) -> Mapping[str, SharedParameter]:
    """The parameters of all engines by name, each with the widest range of those that have it."""
    found: dict[str, SharedParameter] = {}
    owners: dict[str, list[str]] = {}
    for info in infos:
        for parameter in info.parameters:
            name = parameter.name
            low, high = parameter.accepted or (parameter.minimum, parameter.maximum)
            owners.setdefault(name, []).append(info.name)
            known = found.get(name) or SharedParameter(name, low, high, parameter.help)
            found[name] = replace(
                known, minimum=min(low, known.minimum), maximum=max(high, known.maximum)
            )
    return {
        name: replace(each, help=": ".join(filter(None, (", ".join(owners[name]), each.help))))
        for name, each in found.items()
    }
