"""Where the weights are, or whether they can be fetched; decided without torch, in two seconds."""

from __future__ import annotations

import json
import os
import queue
import socket
import threading
import zipfile
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from voicelab.engines.base import Presence

__all__ = [
    "FILES",
    "VOICE",
    "cache_folder",
    "cached_folder",
    "cut_files",
    "hub_reachable",
    "missing_files",
    "offline",
    "presence",
]

FILES: Mapping[str, tuple[str, tuple[str, ...]]] = MappingProxyType(
    {
        "chatterbox": (
            "ResembleAI/chatterbox",
            ("ve.safetensors", "t3_cfg.safetensors", "s3gen.safetensors", "tokenizer.json"),
        ),
        "chatterbox-turbo": (
            "ResembleAI/chatterbox-turbo",
            (
                *("ve.safetensors", "t3_turbo_v1.safetensors", "s3gen_meanflow.safetensors"),
                *("vocab.json", "merges.txt"),
            ),
        ),
        "chatterbox-multilingual": (
            "ResembleAI/chatterbox",
            (
                *("ve.pt", "t3_mtl23ls_v2.safetensors", "s3gen.pt"),
                "grapheme_mtl_merged_expanded_v1.json",
            ),
        ),
    }
)
"""Engine -> repository on the Hugging Face hub, and the files without which it cannot load."""

VOICE = "conds.pt"
"""The built-in voice: a folder of one's own may lack it, a cache without it is not complete."""

HUB = "https://huggingface.co"
PROBE_S = 1.5


def presence(name: str, checkpoint_dir: Path | None = None) -> Presence:
    """Whether the engine `name` could speak here; within two seconds.

    `weights` is True when they are here, or the hub can be reached to fetch them.
    """
    if not all(find_spec(package) for package in ("chatterbox", "torch", "torchaudio")):
        return Presence(False, False, "chatterbox-tts is not installed (the extra 'chatterbox').")
    if checkpoint_dir is not None:
        missing = missing_files(name, checkpoint_dir)
        if missing:
            return Presence(True, False, f"The checkpoint folder lacks {', '.join(missing)}.")
        if cut := cut_files(name, checkpoint_dir):
            return Presence(True, False, f"{', '.join(cut)} in the checkpoint folder is cut short.")
        return Presence(True, True, "Its weights are in the checkpoint folder.")
    if cached_folder(name):
        return Presence(True, True, "Its weights are in the Hugging Face cache.")
    if offline():
        return Presence(True, False, "Its weights are not here, and HF_HUB_OFFLINE is set.")
    if hub_reachable():
        line = "Its weights will be fetched from the Hugging Face hub."
        return Presence(True, True, line, remote=True)
    return Presence(True, False, "Its weights are not here, and the hub cannot be reached.")


def missing_files(name: str, folder: Path) -> list[str]:
    """Of the files the engine needs, those that are not in `folder`."""
    return [file for file in FILES[name][1] if not (folder / file).is_file()]


def cut_files(name: str, folder: Path) -> list[str]:
    """Of the files the engine reads, those whose end is missing; only their heads are read."""
    files = [folder / file for file in (*FILES[name][1], VOICE)]
    return [path.name for path in files if path.is_file() and not _is_whole(path)]


def cached_folder(name: str) -> Path | None:
    """The snapshot of the hub's main branch in the Hugging Face cache, when it is complete."""
    repository = cache_folder() / f"models--{FILES[name][0].replace('/', '--')}"
    try:
        commit = (repository / "refs" / "main").read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return None
    folder = repository / "snapshots" / commit
    complete = not missing_files(name, folder) and (folder / VOICE).is_file()
    return folder if complete else None


def offline() -> bool:
    """Whether the user forbids the hub."""
    value = os.environ.get("HF_HUB_OFFLINE") or os.environ.get("TRANSFORMERS_OFFLINE") or ""
    return value.upper() in ("1", "TRUE", "YES", "ON")


def hub_reachable() -> bool:
    """Whether a TCP connection opens in time; a name server may hang longer than any timeout."""
    address = _hub_address()
    answers: queue.SimpleQueue[bool] = queue.SimpleQueue()

    def probe() -> None:
        try:
            socket.create_connection(address, timeout=PROBE_S).close()
        except (OSError, UnicodeError):
            answers.put(False)
        else:
            answers.put(True)

    threading.Thread(target=probe, name="voicelab-probe", daemon=True).start()
    try:
        return answers.get(timeout=PROBE_S)
    except queue.Empty:
        return False


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


def _hub_address() -> tuple[str, int]:
    """Host and port to try: the hub's or a mirror's, or the proxy on the way there."""
    hub = urlsplit(os.environ.get("HF_ENDPOINT") or HUB)
    host = hub.hostname or "huggingface.co"
    port = hub.port or (80 if hub.scheme == "http" else 443)
    proxy = getproxies().get(hub.scheme)
    if not proxy or proxy_bypass(host):
        return host, port
    way = urlsplit(proxy if "//" in proxy else f"//{proxy}")
    return way.hostname or host, way.port or (443 if way.scheme == "https" else 80)


def cache_folder() -> Path:
    """The Hugging Face cache: as huggingface_hub decides it, without importing that."""
    user = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
    home = Path(os.environ.get("HF_HOME") or user / "huggingface")
    cache = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    return Path(cache or home / "hub").expanduser()
