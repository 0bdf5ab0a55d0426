"""Uploaded clips as temporary files, and downloads written to temporary files."""

from __future__ import annotations

import contextlib
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

from starlette.background import BackgroundTask
from starlette.datastructures import UploadFile
from starlette.responses import FileResponse

from voicelab.errors import BadClip, storage_error
from voicelab.library import Missing
from voicelab.rest.warnings import missing_header
from voicelab.text import file_name

__all__ = ["attachment", "clip_file", "temporary_download"]


def attachment(name: str) -> str:
    """A Content-Disposition header for a file name in any script (RFC 5987).

    Args:
        name: perhaps made of a take's text: what no file name should hold is taken out.
    """
    name = file_name(name, f"take{Path(name).suffix}")
    plain = re.sub(r"[^A-Za-z0-9._ -]", "", name).strip() or "take"
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


@contextlib.contextmanager
def clip_file(upload: UploadFile | None) -> Iterator[Path | None]:
    """An uploaded voice clip as a temporary file while the block lasts; None without one.

    Raises:
        BadClip: the upload is empty.
    """
    if upload is None:
        yield None
        return
    if not upload.size:
        raise BadClip("The voice clip is empty.", param="voice_file")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "clip")
        with path.open("wb") as file:
            shutil.copyfileobj(upload.file, file, 1 << 20)
        yield path


def temporary_download(
    write: Callable[[Path], Missing], name: str, media_type: str
) -> FileResponse:
    """A response with a file that `write` makes; the file is deleted after it was sent.

    Ids that `write` returns as missing are listed in the header X-Missing.

    Args:
        write: called with the path to write to.
        name: file name for the client.
        media_type: of the response.

    Raises:
        Whatever `write` raises; the file is deleted then.
    """
    folder = Path(tempfile.mkdtemp(prefix="voicelab-"))
    try:
        missing = write(folder / "file")
    except BaseException as error:
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, OSError):
            raise storage_error(error) from error
        raise
    return FileResponse(
        folder / "file",
        media_type=media_type,
        headers={"Content-Disposition": attachment(name)} | missing_header(missing.ids),
        background=BackgroundTask(shutil.rmtree, folder, ignore_errors=True),
    )
