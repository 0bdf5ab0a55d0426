"""Gradio's upload: a form that is not in order is refused as a whole, and leaves no file.

Gradio 6.8 takes names as they come, answers an unfinished form with 200, and keeps the files that
it wrote before whatever goes wrong, unless its own parser of forms found it.
"""

from __future__ import annotations

from python_multipart.multipart import parse_options_header
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from voicelab.errors import InvalidInput
from voicelab.rest.asgi import HttpMiddleware
from voicelab.rest.forms import MAX_PART_HEADER_BYTES, Parts, check_of
from voicelab.rest.security.visit import Visit
from voicelab.text import check_name

__all__ = ["UPLOAD", "Uploads"]

UPLOAD = "/gradio_api/upload"


class Uploads(HttpMiddleware):
    """Looks through each upload while Gradio reads it.

    Args:
        app: Gradio's application.
        proxy: as the arguments of `Visit`.
    """

    def __init__(self, app: ASGIApp, proxy: tuple[bool, bool]):
        super().__init__(app)
        self._proxy = proxy

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        visit = Visit(scope, *self._proxy)
        if visit.method != "POST" or visit.path != UPLOAD:
            await self.app(scope, receive, send)
            return
        upload = _Upload(visit.header("content-type"), receive)

        async def unless_failed(message: Message) -> None:
            if upload.error is None:
                await send(message)

        await self.app(scope, upload.receive, unless_failed)
        if upload.error is not None:
            raise upload.error


class _Upload:
    """The body of one upload as it comes."""

    def __init__(self, content_type: str, receive: Receive):
        try:
            check = check_of(content_type, _Files)
        except HTTPException as error:
            raise InvalidInput(error.detail) from error
        if not isinstance(check, _Files):
            raise InvalidInput("An upload is a form with files (multipart/form-data).")
        self._check = check
        self._receive = receive
        self._ended = False
        self.error: Exception | None = None

    async def receive(self) -> Message:
        """The next message.

        Raises:
            MultiPartException: something is wrong, see `error`. It is the one that makes Gradio
                delete what it has written.
        """
        if self._ended:
            return await self._receive()
        try:
            message = await self._receive()
            self._look(message)
        except HTTPException as error:
            self.error = InvalidInput(error.detail, param="files")
        except Exception as error:
            self.error = error
        else:
            return message
        raise MultiPartException(str(self.error)) from self.error

    def _look(self, message: Message) -> None:
        if message["type"] == "http.disconnect":
            raise InvalidInput("The client has gone.")
        self._check.feed(message.get("body", b""))
        self._ended = not message.get("more_body", False)
        if self._ended:
            self._check.end()


class _Files(Parts):
    """Files alone, under names that can be seen."""

    def begun(self, disposition: bytes) -> None:
        _, options = parse_options_header(disposition)
        if options.get(b"name") != b"files" or b"filename" not in options:
            raise HTTPException(422, "An upload has nothing but files, each a field 'files'.")
        try:
            name = check_name(
                "The name of a file", options[b"filename"].decode(), 0, MAX_PART_HEADER_BYTES
            )
        except InvalidInput as error:
            raise HTTPException(422, error.message) from error
        if name.replace("\\", "/").rpartition("/")[2] in (".", ".."):
            raise HTTPException(422, "The name of a file is a folder's.")
