"""Where the weights are, or whether they can be fetched; decided without torch, in two seconds."""

from __future__ import annotations

import os
import queue
import socket
import threading
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType

from voicelab.engines.base import Presence

__all__ = ["FILES", "missing_files", "presence"]

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

HUB = "huggingface.co"
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
            return Presence(True, False, f"the checkpoint folder lacks {', '.join(missing)}.")
        return Presence(True, True, "its weights are in the checkpoint folder.")
    if _cached(name):
        return Presence(True, True, "its weights are in the Hugging Face cache.")
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "TRUE", "YES", "ON"):
        return Presence(True, False, "its weights are not here, and HF_HUB_OFFLINE is set.")
    if _reachable(HUB):
        return Presence(True, True, "its weights will be fetched from the Hugging Face hub.")
    return Presence(True, False, "its weights are not here, and the hub cannot be reached.")


def missing_files(name: str, folder: Path) -> list[str]:
    """Of the files the engine needs, those that are not in `folder`."""
    return [file for file in FILES[name][1] if not (folder / file).is_file()]


def _cached(name: str) -> bool:
    home = Path(os.environ.get("HF_HOME", Path.home() / ".cache" / "huggingface"))
    cache = Path(os.environ.get("HF_HUB_CACHE", home / "hub"))
    snapshots = cache / f"models--{FILES[name][0].replace('/', '--')}" / "snapshots"
    return any(not missing_files(name, folder) for folder in snapshots.glob("*"))


def _reachable(host: str) -> bool:
    """Whether a TCP connection opens in time; a name server may hang longer than any timeout."""
    answers: queue.SimpleQueue[bool] = queue.SimpleQueue()

    def probe() -> None:
        try:
            socket.create_connection((host, 443), timeout=PROBE_S).close()
        except OSError:
            answers.put(False)
        else:
            answers.put(True)

    threading.Thread(target=probe, daemon=True).start()
    try:
        return answers.get(timeout=PROBE_S)
    except queue.Empty:
        return False
