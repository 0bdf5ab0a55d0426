"""Where the weights are, or whether they can be fetched; decided without torch, in two seconds."""

from __future__ import annotations

import os
import queue
import socket
import threading
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from voicelab.engines.base import Presence
from voicelab.engines.chatterbox.checkpoints import (
    MULTILINGUAL_V2,
    another_model,
    cached_folders,
    candidates,
    cut_files,
    download_mb,
    missing_files,
)
from voicelab.engines.chatterbox.info import V2_INFO

__all__ = ["hub_reachable", "lacking", "offline", "presence"]

HUB = "https://huggingface.co"
PROBE_S = 1.5


def presence(name: str, checkpoint_dir: Path | None = None, version: str = "auto") -> Presence:
    """Whether the engine `name` could speak here; within two seconds.

    `weights` is True when they are here, or the hub can be reached to fetch them.

    Args:
        name: of the engine.
        checkpoint_dir: folder with the weights; the Hugging Face cache when None.
        version: of Multilingual; see `candidates`.
    """
    if not all(find_spec(package) for package in ("chatterbox", "torch", "torchaudio")):
        return Presence(False, False, "chatterbox-tts is not installed (the extra 'chatterbox').")
    found = [_presence(each, checkpoint_dir) for each in candidates(name, version, checkpoint_dir)]
    return next((each for each in found if each.weights), found[0])


def lacking(name: str, folder: Path, missing: Sequence[str]) -> str:
    """What a checkpoint folder lacks, and whose it seems to be: the end of a sentence."""
    other = another_model(name, folder)
    owner = f"; it has the weights of {other}" if other else ""
    return f"lacks {', '.join(missing)}{owner}."


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


def _presence(checkpoint: str, checkpoint_dir: Path | None) -> Presence:
    """Of one checkpoint."""
    info = V2_INFO if checkpoint == MULTILINGUAL_V2 else None
    if checkpoint_dir is not None:
        usable, reason = _in_folder(checkpoint, checkpoint_dir)
        return Presence(True, usable, reason, info=info)
    folders = cached_folders(checkpoint)
    if folders and not cut_files(checkpoint, *folders):
        return Presence(True, True, "Its weights are in the Hugging Face cache.", info=info)
    size_mb = download_mb(checkpoint)
    if offline():
        usable, reason = False, "Its weights are not here, and HF_HUB_OFFLINE is set."
    elif hub_reachable():
        usable = True
        size = f"{size_mb / 1000:.1f} GB"
        reason = f"Its weights will be fetched from the Hugging Face hub (about {size})."
    else:
        usable, reason = False, "Its weights are not here, and the hub cannot be reached."
    return Presence(True, usable, reason, usable, size_mb, info)


def _in_folder(checkpoint: str, folder: Path) -> tuple[bool, str]:
    if missing := missing_files(checkpoint, folder):
        return False, f"The checkpoint folder {lacking(checkpoint, folder, missing)}"
    if cut := cut_files(checkpoint, folder):
        return False, f"{', '.join(cut)} in the checkpoint folder is cut short."
    return True, "Its weights are in the checkpoint folder."


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
