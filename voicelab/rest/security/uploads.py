"""Validation of Gradio's upload: an invalid form is refused as a whole and leaves no file.

Gradio 6.8 accepts any file name, answers an incomplete form with 200, and keeps files written
before an error, unless its own form parser raised it.
"""

from __future__ import annotations

from python_multipart.multipart import parse_options_header
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from voicelab.errors import InvalidInput
from voicelab.rest.asgi import HttpMiddleware
from voicelab.rest.forms import MAX_PART_HEADER_BYTES, MultipartCheck, body_check
from voicelab.rest.security.connection import Connection
from voicelab.text import check_name

__all__ = ["UPLOAD", "Uploads"]

UPLOAD = "/gradio_api/upload"


class Uploads(HttpMiddleware):
    """Checks each upload while Gradio reads it.

    Args:
        app: Gradio's application.
        proxy: (behind_proxy, forwarded_addresses) of `Connection`.
    """

    def __init__(self, app: ASGIApp, proxy: tuple[bool, bool]):
        super().__init__(app)
        self._proxy = proxy

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        connection = Connection(scope, *self._proxy)
        if connection.method != "POST" or connection.path != UPLOAD:
            await self.app(scope, receive, send)
            return
        upload = _UploadBody(connection.header("content-type"), receive)

        async def send_if_valid(message: Message) -> None:
            if upload.error is None:
                await send(message)

        await self.app(scope, upload.receive, send_if_valid)
        if upload.error is not None:
            raise upload.error


class _UploadBody:
    """The body of one upload while it is received."""

    def __init__(self, content_type: str, receive: Receive):
        try:
            check = body_check(content_type, _UploadCheck)
        except HTTPException as error:
            raise InvalidInput(error.detail) from error
        if not isinstance(check, _UploadCheck):
            raise InvalidInput("An upload is a form with files (multipart/form-data).")
        self._check = check
        self._receive = receive
        self._ended = False
        self.error: Exception | None = None

    async def receive(self) -> Message:
        """The next ASGI message.

        Raises:
            MultiPartException: the form is invalid; `error` has the reason. On this exception
                Gradio deletes what it has written.
        """
        if self._ended:
            return await self._receive()
        try:
            message = await self._receive()
            self._check_message(message)
        except HTTPException as error:
            self.error = InvalidInput(error.detail, param="files")
        except Exception as error:
            self.error = error
        else:
            return message
        raise MultiPartException(str(self.error)) from self.error

    def _check_message(self, message: Message) -> None:
        if message["type"] == "http.disconnect":
            raise InvalidInput("The client has gone.")
        self._check.feed(message.get("body", b""))
        self._ended = not message.get("more_body", False)
        if self._ended:
            self._check.end()


class _UploadCheck(MultipartCheck):
    """Accepts file fields named 'files' only, with visible file names."""

    def on_part(self, disposition: bytes) -> None:
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
