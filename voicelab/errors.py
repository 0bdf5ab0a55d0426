"""Everything that can go wrong, as one tree.

    VoicelabError
    +-- InvalidInput              a value the caller gave is wrong; `param` names it
    |   +-- TextTooLong
    |   +-- BadClip               a voice clip that cannot be used, and why
    |   +-- BadArchive            a ZIP that cannot be imported, and why
    +-- NotFound
    |   +-- UnknownVoice
    +-- Conflict                  the thing is in a state that does not allow this
    +-- Protected                 a built-in thing, or the last of its kind
    +-- TooLarge                  more bytes than the limit
    |   +-- HeadersTooLarge       of a request's address and headers
    +-- Unauthorized              no key, or a wrong one
    +-- TooManyAttempts           too many wrong keys; `retry_after_s` says when to come again
    +-- Forbidden                 known, but not allowed from there
    +-- Cancelled                 stopped on request
    +-- Unavailable               not now: starting, closing, queue full
    |   +-- EngineUnavailable     not installed, weights missing or broken
    |   +-- Interrupted           the app ended while it was being made
    +-- SpeechFailed              the engine failed on one sentence, which is named
    +-- StorageError
        +-- StoreLocked           another process has the data folder
        +-- StoreFull             no room on the disk
        +-- StoreCorrupt          the records file cannot be read
        +-- StoreLost             its files were removed or replaced while it was open

Messages are shown to users as they are: one clear sentence with what was wrong, the value
(shortened) and the allowed range; no stack trace, no path on the server except where the
reader is the owner of the machine (StorageError at start-up).
"""

from __future__ import annotations

import errno
import os

__all__ = [
    "BadArchive",
    "BadClip",
    "Cancelled",
    "Conflict",
    "EngineUnavailable",
    "Forbidden",
    "HeadersTooLarge",
    "Interrupted",
    "InvalidInput",
    "NotFound",
    "Protected",
    "SpeechFailed",
    "StorageError",
    "StoreCorrupt",
    "StoreFull",
    "StoreLocked",
    "StoreLost",
    "TextTooLong",
    "TooLarge",
    "TooManyAttempts",
    "TooSlow",
    "Unauthorized",
    "Unavailable",
    "UnknownVoice",
    "VoicelabError",
]


class VoicelabError(Exception):
    """The root. `type` is the wire name, `param` the argument at fault, `code` a finer name.

    Args:
        message: one sentence for the user.
        param: name of the argument that is wrong, when there is one.
        code: machine-readable detail, when `type` alone is too coarse.
    """

    type = "server_error"

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None):
        super().__init__(message)
        self.message = message
        self.param = param
        self.code = code


class InvalidInput(VoicelabError):
    """A value the caller gave is wrong."""

    type = "invalid_request_error"


class TextTooLong(InvalidInput):
    """The text is over the limit of characters."""

    type = "text_too_long"


class NoText(InvalidInput):
    """There is nothing to speak."""


class BadClip(InvalidInput):
    """A voice clip that cannot be decoded or is too short, too long, silent."""

    type = "invalid_voice_clip"


class BadArchive(InvalidInput):
    """A ZIP that is not one of ours, is broken, or is hostile."""

    type = "invalid_archive"


class NotFound(VoicelabError):
    """No such record, request, route or file."""

    type = "not_found"


class UnknownVoice(NotFound):
    """No voice of that name; the message lists those there are."""

    type = "voice_not_found"


class Conflict(VoicelabError):
    """The thing is in a state that does not allow this."""

    type = "conflict"


class Protected(VoicelabError):
    """A built-in thing cannot be changed, the last of its kind cannot go."""

    type = "protected"


class TooLarge(VoicelabError):
    """More bytes than the limit."""

    type = "too_large"


class HeadersTooLarge(TooLarge):
    """The address and the headers of a request have more bytes than the limit."""


class TooSlow(VoicelabError):
    """A request that took too long to send its body."""

    type = "timeout"


class Unauthorized(VoicelabError):
    """No key, or a wrong one.

    Args:
        challenge: schemes that would do, as WWW-Authenticate names them.
    """

    type = "authentication_error"

    def __init__(self, message: str, *, challenge: str = "Bearer"):
        super().__init__(message)
        self.challenge = challenge


class TooManyAttempts(VoicelabError):
    """Too many wrong keys from one address."""

    type = "rate_limit_error"

    def __init__(self, message: str, *, retry_after_s: int):
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Forbidden(VoicelabError):
    """Refused whoever asks, from where it was asked."""

    type = "permission_error"


class Cancelled(VoicelabError):
    """Stopped on request."""

    type = "cancelled"

    def __init__(self, message: str = "cancelled"):
        super().__init__(message)


class Unavailable(VoicelabError):
    """Not now: starting, closing, or too many requests are waiting."""

    type = "unavailable"


class EngineUnavailable(Unavailable):
    """The engine is not installed, or its weights are missing or broken."""

    type = "engine_unavailable"


class Interrupted(Unavailable):
    """The app ended while it was being made; records say "interrupted"."""

    type = "interrupted"

    def __init__(self, message: str = "The app was stopped while this was being made."):
        super().__init__(message)


class SpeechFailed(VoicelabError):
    """The engine failed on one sentence; the message names it."""

    type = "speech_failed"


class StorageError(VoicelabError):
    """The data folder cannot be used."""

    type = "storage_error"


class StoreLocked(StorageError):
    """Another process has the data folder open."""

    type = "store_locked"


class StoreFull(StorageError):
    """There is no room on the disk."""

    type = "disk_full"


class StoreCorrupt(StorageError):
    """The records file cannot be read."""

    type = "store_corrupt"


class StoreLost(StorageError):
    """The records' files were removed or replaced while the store was open."""

    type = "store_lost"


def storage_error(error: OSError) -> StorageError:
    """The system's error as a sentence for users."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return StoreFull("The disk is full: nothing was saved. Free some space and try again.")
    return StorageError(f"The data folder cannot be written: {os.strerror(error.errno or 0)}.")
