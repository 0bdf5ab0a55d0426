"""Reading of untrusted ZIP archives: names and sizes are checked, nothing is extracted."""

from __future__ import annotations

import re
import tempfile
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO, TypeVar

import numpy as np
import orjson
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, ValidationError

from voicelab.audio import decode, to_pcm16
from voicelab.errors import BadArchive, BadClip, TooLarge

__all__ = [
    "Budget",
    "ManifestModel",
    "Sound",
    "decoded",
    "entry",
    "manifest",
    "opened",
    "add_sound",
]

MAX_ENTRIES = 200
MAX_UNPACKED_BYTES = 200 * 2**20
MAX_RATIO = 100
MAX_DECODED_BYTES = 2**30


class ManifestModel(BaseModel):
    """Base of manifest models: unknown keys are ignored, types of known ones are strict."""

    model_config = ConfigDict(extra="ignore", strict=True, allow_inf_nan=False)


class Budget:
    """Memory limit of one import, nested archives included.

    Silence compresses a thousandfold, so that the size of a ZIP is no limit.
    """

    def __init__(self, max_bytes: int = MAX_DECODED_BYTES):
        self._max_bytes = self._left = max_bytes

    def spend(self, size_bytes: int) -> None:
        """Count bytes; raises TooLarge above the limit."""
        self._left -= size_bytes
        if self._left < 0:
            raise TooLarge(
                f"The archive holds more than {self._max_bytes >> 20} MiB of sound; import it in "
                "parts."
            )


Model = TypeVar("Model", bound=BaseModel)


@dataclass(frozen=True)
class Sound:
    """int16 (n,), mono, and its rate in Hz."""

    pcm: NDArray[np.int16]
    sample_rate: int

    @property
    def duration_s(self) -> float:
        """Duration in seconds."""
        return len(self.pcm) / self.sample_rate


def opened(file: BinaryIO) -> zipfile.ZipFile:
    """Open an archive, and check the names and sizes of its entries.

    Raises:
        BadArchive: not a ZIP, encrypted, paths outside of it, links, or a compression bomb.
        TooLarge: more than 200 entries or 200 MiB.
    """
    try:
        archive = zipfile.ZipFile(file)
        entries = archive.infolist()
    except (zipfile.BadZipFile, ValueError, OSError, NotImplementedError) as error:
        raise BadArchive("The file is not a ZIP archive.", param="file") from error
    if len(entries) > MAX_ENTRIES:
        raise TooLarge(f"The archive has {len(entries)} entries; {MAX_ENTRIES} are allowed.")
    names = [each.filename for each in entries]
    if len(set(names)) != len(names):
        raise BadArchive("The archive has two entries of one name.", param="file")
    for each in entries:
        _check_entry(each)
    unpacked = sum(each.file_size for each in entries)
    if unpacked > MAX_UNPACKED_BYTES:
        raise TooLarge(
            f"The archive unpacks to {unpacked >> 20} MiB; {MAX_UNPACKED_BYTES >> 20} are allowed."
        )
    return archive


def add_sound(archive: zipfile.ZipFile, name: str, content: bytes) -> None:
    """Add an audio file; uncompressed when an import would refuse its compression ratio."""
    ratio = len(content) / max(1, len(zlib.compress(content, 1)))
    method = zipfile.ZIP_STORED if ratio * 2 > MAX_RATIO else zipfile.ZIP_DEFLATED
    archive.writestr(name, content, method, compresslevel=1)  # higher levels hardly reduce audio


def _check_entry(info: zipfile.ZipInfo) -> None:
    path = PurePosixPath(info.filename.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or re.match(r"^[A-Za-z]:", info.filename):
        raise BadArchive("The archive has an entry that points outside of it.", param="file")
    if (info.external_attr >> 16) & 0o170000 == 0o120000:
        raise BadArchive("The archive has a symbolic link in it.", param="file")
    if info.flag_bits & 1:
        raise BadArchive("The archive is encrypted.", param="file")
    if info.file_size > 4096 and info.file_size > MAX_RATIO * max(1, info.compress_size):
        raise BadArchive("The archive is compressed beyond belief.", param="file")


def entry(archive: zipfile.ZipFile, name: str) -> bytes:
    """Read one entry; raises BadArchive."""
    try:
        size = archive.getinfo(name).file_size
        with archive.open(name) as file:
            # The size in the header may be wrong, so that reading is bounded, too.
            content = file.read(size + 1)
    except KeyError as error:
        raise BadArchive(f"The archive lacks {name[:100]}.", param="file") from error
    except Exception as error:  # zipfile raises whatever its decompressors raise
        raise BadArchive(f"{name[:100]} in the archive is damaged.", param="file") from error
    if len(content) != size:
        raise BadArchive(f"{name[:100]} in the archive is not as long as it says.", param="file")
    return content


def manifest(archive: zipfile.ZipFile, name: str, model: type[Model]) -> Model:
    """Validate the JSON entry `name` as a `model`; raises BadArchive."""
    try:
        return model.model_validate(orjson.loads(entry(archive, name)))
    except orjson.JSONDecodeError as error:
        raise BadArchive(f"{name} in the archive is not JSON.", param="file") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])[:100]
        raise BadArchive(f"{name}: {where}: {first['msg'][:200]}.", param="file") from error


def decoded(name: str, content: bytes) -> Sound:
    """Decode an audio file to mono samples; raises BadArchive."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "audio")
        path.write_bytes(content)
        try:
            samples, rate = decode(path)
        except BadClip as error:
            raise BadArchive(f"{name[:100]}: {error.message}", param="file") from error
    return Sound(to_pcm16(samples), rate)
