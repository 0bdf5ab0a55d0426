"""What a server that is open to everybody refuses."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import Depends

from voicelab.errors import Forbidden
from voicelab.settings import Settings

__all__ = ["owner_only", "refuse_when_exposed"]


def refuse_when_exposed(settings: Settings) -> Callable[[], None]:
    """A dependency of destructive routes: without a key or login only this machine may destroy."""

    def refuse() -> None:
        if settings.is_exposed:
            raise Forbidden(
                "Nothing can be deleted while the server is open to everybody: "
                "set VOICELAB_API_KEY or VOICELAB_AUTH."
            )

    return refuse


def owner_only(settings: Settings) -> list[Any]:
    """The `dependencies` of a route that destroys; see `refuse_when_exposed`."""
    return [Depends(refuse_when_exposed(settings))]
