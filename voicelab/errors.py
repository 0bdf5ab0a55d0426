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
    """The base class of all errors.

    `type` is the name in REST errors.

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
    """A value given by the caller is invalid."""

    type = "invalid_request_error"


class TextTooLong(InvalidInput):
    """The text exceeds the limit of characters."""

    type = "text_too_long"


class NoText(InvalidInput):
    """The text is empty."""


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
    """The resource is in a state that does not allow the operation."""

    type = "conflict"


class Protected(VoicelabError):
    """A built-in resource, or the last of its kind, which cannot be changed or deleted."""

    type = "protected"


class TooLarge(VoicelabError):
    """A body or file exceeds the limit in bytes."""

    type = "too_large"


class HeadersTooLarge(TooLarge):
    """The path, query and headers of a request exceed the limit in bytes."""


class TooSlow(VoicelabError):
    """A request body that was not received in time."""

    type = "timeout"


class Unauthorized(VoicelabError):
    """The key or login is missing or wrong.

    Args:
        message: one sentence for the user.
        challenge: accepted schemes, as the value of WWW-Authenticate.
    """

    type = "authentication_error"

    def __init__(self, message: str, *, challenge: str = "Bearer"):
        super().__init__(message)
        self.challenge = challenge


class TooManyAttempts(VoicelabError):
    """Too many wrong keys from one address.

    Args:
        message: one sentence for the user.
        retry_after_s: seconds until the next attempt.
    """

    type = "rate_limit_error"

    def __init__(self, message: str, *, retry_after_s: int):
        super().__init__(message)
        self.retry_after_s = retry_after_s


class Forbidden(VoicelabError):
    """The request is not allowed from its origin or on this server, whoever sends it."""

    type = "permission_error"


class Cancelled(VoicelabError):
    """The work was cancelled on request."""

    type = "cancelled"

    def __init__(self, message: str = "cancelled"):
        super().__init__(message)


class Unavailable(VoicelabError):
    """Temporarily not possible: starting, closing, or the queue is full."""

    type = "unavailable"


class EngineUnavailable(Unavailable):
    """The engine is not installed, or its weights are missing or broken."""

    type = "engine_unavailable"


class Interrupted(Unavailable):
    """The app ended while a take was made; its record says "interrupted"."""

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
    """An operating system error as a StorageError, with a sentence for users."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return StoreFull("The disk is full: nothing was saved. Free some space and try again.")
    return StorageError(f"The data folder cannot be written: {os.strerror(error.errno or 0)}.")
