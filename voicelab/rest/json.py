"""JSON responses written with orjson."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import orjson
from starlette.responses import JSONResponse

from voicelab.rest.warnings import warning_header

__all__ = ["Json"]


class Json(JSONResponse):
    """A JSON response, written without pydantic's validation.

    Args:
        content: strings, numbers, lists and dictionaries.
        status_code, headers: of the response.
        warnings: sentences for the header X-Warnings, and for `warnings` of a JSON object; see
            `voicelab.rest.warnings`.
    """

    def __init__(
        self,
        content: Any,
        status_code: int = 200,
        headers: Mapping[str, str] | None = None,
        *,
        warnings: Sequence[str] = (),
    ):
        if warnings:
            headers = {**(headers or {}), **warning_header(warnings)}
        if warnings and isinstance(content, dict):
            sentences = dict.fromkeys((*content.get("warnings", ()), *warnings))
            content = content | {"warnings": list(sentences)}
        super().__init__(content, status_code, headers)

    def render(self, content: Any) -> bytes:
        """The content in UTF-8; a lone surrogate, which a client may have sent, becomes U+FFFD."""
        try:
            return orjson.dumps(content, option=orjson.OPT_NON_STR_KEYS)
        except orjson.JSONEncodeError:
            return orjson.dumps(_encodable(content), option=orjson.OPT_NON_STR_KEYS)


def _encodable(content: Any) -> Any:
    if isinstance(content, str):
        return content.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(content, Mapping):
        return {_encodable(key): _encodable(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_encodable(value) for value in content]
    return content
