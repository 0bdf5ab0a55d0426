"""Protection of destructive routes on a server without key and login."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import Depends

from voicelab.errors import Forbidden
from voicelab.settings import Settings

__all__ = ["owner_only", "refuse_when_exposed"]


def refuse_when_exposed(settings: Settings) -> Callable[[], None]:
    """A dependency that refuses destructive requests on a server open to everybody.

    Args:
        settings: `is_exposed` decides.

    Returns:
        A function that raises Forbidden when the server is exposed.
    """

    def refuse() -> None:
        if settings.is_exposed:
            raise Forbidden(
                "Nothing can be deleted while the server is open to everybody: "
                "set VOICELAB_API_KEY or VOICELAB_AUTH."
            )

    return refuse


def owner_only(settings: Settings) -> list[Any]:
    """`dependencies` of a destructive route; see `refuse_when_exposed`."""
    return [Depends(refuse_when_exposed(settings))]
