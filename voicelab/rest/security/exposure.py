"""What a server that is open to everybody refuses."""

from __future__ import annotations

from collections.abc import Callable

from voicelab.errors import Forbidden
from voicelab.settings import Settings

__all__ = ["refuse_when_exposed"]


def refuse_when_exposed(settings: Settings) -> Callable[[], None]:
    """A dependency of destructive routes: without a key or login only this machine may destroy."""

    def refuse() -> None:
        if settings.is_exposed:
            raise Forbidden(
                "Nothing can be deleted while the server is open to everybody: "
                "set VOICELAB_API_KEY or VOICELAB_AUTH."
            )

    return refuse
