"""What the files of each model are called, where they come from, and which are in a folder.

A checkpoint is the weights that an engine loads. Each engine has one of its own name; Multilingual
has V3, and V2 as a second one. Nothing here imports torch or asks the network.
"""

from __future__ import annotations

import json
import os
import zipfile
from collections.abc import Collection, Sequence
from fnmatch import fnmatch
from pathlib import Path
from types import MappingProxyType
from typing import Final

__all__ = [
    "BASE",
    "FILES",
    "FINETUNES",
    "MULTILINGUAL",
    "MULTILINGUAL_V2",
    "ONE_T3",
    "SHARED",
    "VOICE",
    "another_model",
    "cache_folder",
    "cached_file",
    "cached_folders",
    "candidates",
    "cut_files",
    "damaged_files",
    "download_mb",
    "file_in",
    "found_files",
    "missing_files",
    "names_in",
]

Files = tuple[str, tuple[str, ...]]
"""A repository on the Hugging Face hub, and names of files in it."""

BASE: Final = "ResembleAI/chatterbox"
MULTILINGUAL: Final = "chatterbox-multilingual"
MULTILINGUAL_V2: Final = "chatterbox-multilingual-v2"

ONE_T3: Final = "t3_*.safetensors"
"""Stands for the only file of such a name."""
GRAPHEMES: Final = "grapheme_mtl_merged_expanded_v1.json"
VOICE: Final = "conds.pt"
"""The built-in voice: a folder of one's own may lack it, a cache without it is not complete."""

FINETUNES = MappingProxyType(
    {
        "chatterbox-zh": "zh-cmn",
        "chatterbox-es-mx": "es-mx-latam",
        "chatterbox-es-es": "es-es",
        "chatterbox-pt-br": "pt-br",
        "chatterbox-pt-pt": "pt-pt",
        "chatterbox-hi": "hi",
    }
)
"""Multilingual, finetuned to one language: engine -> end of its repository's name."""

FILES = MappingProxyType[str, Files](
    {
        "chatterbox": (
            BASE,
            ("ve.safetensors", "t3_cfg.safetensors", "s3gen.safetensors", "tokenizer.json"),
        ),
        "chatterbox-turbo": (
            "ResembleAI/chatterbox-turbo",
            (
                *("ve.safetensors", "t3_turbo_v1.safetensors", "s3gen_meanflow.safetensors"),
                *("vocab.json", "merges.txt"),
            ),
        ),
        "chatterbox-nano": (
            "ResembleAI/chatterbox-nano",
            (
                *("ve.safetensors", "t3_nano_v1.safetensors", "s3gen_meanflow.safetensors"),
                *("vocab.json", "merges.txt"),
            ),
        ),
        MULTILINGUAL: (BASE, ("ve.pt", "t3_mtl23ls_v3.safetensors", "s3gen.pt", GRAPHEMES)),
        MULTILINGUAL_V2: (BASE, ("ve.pt", "t3_mtl23ls_v2.safetensors", "s3gen.pt", GRAPHEMES)),
        **{
            name: (
                f"ResembleAI/Chatterbox-Multilingual-{end}",
                (ONE_T3, "s3gen_v3.safetensors", GRAPHEMES),
            )
            for name, end in FINETUNES.items()
        },
    }
)
"""Checkpoint -> its repository, and the files without which it cannot load."""

SHARED = MappingProxyType[str, Files](dict.fromkeys(FINETUNES, (BASE, ("ve.safetensors",))))
"""Checkpoint -> the files that its own repository does not have, and where they are."""

ALTERNATIVES = MappingProxyType(
    {"s3gen_v3.safetensors": "s3gen_v3.pt", "ve.safetensors": "ve.pt"},
)
"""The same weights in another format; either will do for a finetune."""

T3_MB, S3GEN_MB, REST_MB = 2144, 1057, 6
"""Megabytes of the largest files; REST_MB of any other weights."""
SIZES_MB = MappingProxyType(
    {
        "t3_cfg.safetensors": 2130,
        "t3_turbo_v1.safetensors": 1915,
        "t3_nano_v1.safetensors": 870,
    }
)


def candidates(name: str, version: str, checkpoint_dir: Path | None) -> tuple[str, ...]:
    """The checkpoints that an engine may load, the best first.

    Args:
        name: of the engine.
        version: of Multilingual: v3, v2, or auto, which is V3 where it is here or can be
            fetched, and V2 where it alone is here.
        checkpoint_dir: folder with the weights; the Hugging Face cache when None.
    """
    if name != MULTILINGUAL or version == "v3":
        return (name,)
    if version == "v2":
        return (MULTILINGUAL_V2,)
    here = [each for each in (MULTILINGUAL, MULTILINGUAL_V2) if _is_here(each, checkpoint_dir)]
    if here == [MULTILINGUAL_V2]:
        # A folder is not added to; the cache may be.
        return (MULTILINGUAL_V2,) if checkpoint_dir else (MULTILINGUAL, MULTILINGUAL_V2)
    return (MULTILINGUAL,)


def found_files(name: str, *folders: Path) -> dict[str, Path]:
    """Of the files a checkpoint needs, those in `folders`, and the built-in voice."""
    found: dict[str, Path] = {}
    for file in (*_needed(name), VOICE):
        paths = (file_in(name, file, folder) for folder in folders)
        if path := next(filter(None, paths), None):
            found[file] = path
    return found


def file_in(name: str, file: str, folder: Path) -> Path | None:
    """The path in `folder` that stands for a file of `FILES`."""
    listing = [path.name for path in folder.glob("*") if path.is_file()]
    matches = names_in(name, file, listing)
    return folder / matches[0] if len(matches) == 1 else None


def names_in(name: str, file: str, listing: Collection[str]) -> list[str]:
    """Which names of a listing stand for a file of `FILES`; more than one where it is not clear."""
    if file == ONE_T3:
        return sorted(
            each for each in listing if fnmatch(each, file) and each not in _foreign(name)
        )
    names = (file, ALTERNATIVES[file]) if name in SHARED and file in ALTERNATIVES else (file,)
    return [each for each in names if each in listing][:1]


def missing_files(name: str, *folders: Path) -> list[str]:
    """Of the files a checkpoint needs, those that are not in `folders`, as they are told."""
    found = found_files(name, *folders)
    return [_told(name, file, folders) for file in _needed(name) if file not in found]


def another_model(name: str, folder: Path) -> str | None:
    """Another checkpoint whose files are all in `folder`."""
    others = (each for each in FILES if each != name)
    return next((each for each in others if not missing_files(each, folder)), None)


def cut_files(name: str, *folders: Path) -> list[str]:
    """Of the files a checkpoint reads, those whose end is missing; only their heads are read."""
    return [path.name for path in damaged_files(name, *folders)]


def damaged_files(name: str, *folders: Path) -> list[Path]:
    """The paths of `cut_files`."""
    return [path for path in found_files(name, *folders).values() if not _is_whole(path)]


def cached_folders(name: str) -> tuple[Path, ...]:
    """The snapshots in the Hugging Face cache that a checkpoint is in; none unless complete."""
    folders = _snapshots(name)
    if missing_files(name, *folders) or VOICE not in found_files(name, *folders):
        return ()
    return folders


def cached_file(repository: str, file: str) -> Path | None:
    """A file of the hub's main branch in the Hugging Face cache."""
    snapshot = _snapshot(repository)
    return snapshot / file if snapshot and (snapshot / file).is_file() else None


def download_mb(name: str) -> int:
    """Megabytes that would be fetched; 0 when all is in the cache."""
    if cached_folders(name):
        return 0
    found = found_files(name, *_snapshots(name))
    return max(1, sum(_size_mb(file) for file in _needed(name) if file not in found))


def _needed(name: str) -> tuple[str, ...]:
    return (*FILES[name][1], *SHARED.get(name, ("", ()))[1])


def _is_here(name: str, checkpoint_dir: Path | None) -> bool:
    if checkpoint_dir is None:
        return bool(cached_folders(name))
    return not missing_files(name, checkpoint_dir)


def _told(name: str, file: str, folders: Sequence[Path]) -> str:
    if file != ONE_T3:
        return file
    listing = {path.name for folder in folders for path in folder.glob(file)}
    matches = names_in(name, file, listing)
    there = f" (there are {', '.join(matches)})" if matches else ""
    return f"exactly one file {file}{there}"


def _foreign(name: str) -> set[str]:
    """T3 files that belong to other models than the finetune `name`."""
    named = {file for _, files in FILES.values() for file in files if file.startswith("t3_")}
    ends = (end for other, end in FINETUNES.items() if other != name)
    return named | {f"t3_{end.replace('-', '_')}.safetensors" for end in ends}


def _size_mb(file: str) -> int:
    if file in SIZES_MB:
        return SIZES_MB[file]
    large = {"t3_": T3_MB, "s3gen": S3GEN_MB, "ve.": REST_MB}
    return next((size for start, size in large.items() if file.startswith(start)), 0)


def _snapshots(name: str) -> tuple[Path, ...]:
    repositories = [FILES[name][0], *([SHARED[name][0]] if name in SHARED else [])]
    return tuple(filter(None, map(_snapshot, repositories)))


def _snapshot(repository: str) -> Path | None:
    """The hub's main branch in the Hugging Face cache."""
    folder = cache_folder() / f"models--{repository.replace('/', '--')}"
    try:
        commit = (folder / "refs" / "main").read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None
    return folder / "snapshots" / commit


def _is_whole(path: Path) -> bool:
    size_bytes = path.stat().st_size
    if path.suffix == ".safetensors":
        return size_bytes == _safetensors_bytes(path)
    if path.suffix == ".pt":
        with path.open("rb") as file:
            zipped = file.read(2) == b"PK"
        return zipfile.is_zipfile(path) if zipped else size_bytes > 0
    return size_bytes > 0


def _safetensors_bytes(path: Path) -> int | None:
    """How long the file's header says it is: 8 bytes of header length, JSON, tensors."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > path.stat().st_size:
            return None
        try:
            header = json.loads(file.read(length))
            ends = [entry["data_offsets"][1] for key, entry in header.items() if key[:2] != "__"]
        except (ValueError, TypeError, KeyError, AttributeError):
            return None
    return 8 + length + max(ends, default=0)


def cache_folder() -> Path:
    """The Hugging Face cache: as huggingface_hub decides it, without importing that."""
    user = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    home = Path(os.environ.get("HF_HOME") or user / "huggingface")
    cache = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    return Path(cache or home / "hub").expanduser()
