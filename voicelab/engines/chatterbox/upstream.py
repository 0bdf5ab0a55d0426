"""Loading chatterbox-tts: from a folder or from the hub, with every failure in one sentence."""

from __future__ import annotations

import contextlib
import importlib
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any
from unittest import mock

from voicelab.engines.base import LoadProgress
from voicelab.engines.chatterbox.weights import missing_files
from voicelab.errors import EngineUnavailable, SpeechFailed

__all__ = ["in_float32", "load_model", "without_segmenter", "without_warnings"]

CLASSES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "chatterbox": ("chatterbox.tts", "ChatterboxTTS"),
        "chatterbox-turbo": ("chatterbox.tts_turbo", "ChatterboxTurboTTS"),
        "chatterbox-multilingual": ("chatterbox.mtl_tts", "ChatterboxMultilingualTTS"),
    }
)
TOKENIZER = "chatterbox.models.tokenizers.tokenizer"


def load_model(
    name: str,
    *,
    device: str,
    checkpoint_dir: Path | None,
    threads: int | None,
    progress: LoadProgress,
) -> tuple[Any, str]:
    """The upstream model, ready, and the device it is on.

    Raises:
        EngineUnavailable: not installed, weights missing, broken or not to be fetched.
    """
    if checkpoint_dir is not None and (missing := missing_files(name, checkpoint_dir)):
        raise EngineUnavailable(f"the checkpoint folder lacks {', '.join(missing)}.")
    progress(0.1, "importing torch and chatterbox")
    with without_warnings():
        kind = _class(name)
        chosen = _device(device, threads)
        progress(0.4, "loading weights" if checkpoint_dir else "fetching and loading weights")
        with without_segmenter():
            model = _from(kind, checkpoint_dir, chosen)
    if hasattr(model, "norm_loudness"):
        model.norm_loudness = in_float32(model.norm_loudness)
    return model, chosen


def in_float32(norm_loudness: Callable[..., Any]) -> Callable[..., Any]:
    """With numpy 2, Turbo's gain makes the clip float64, which its tokenizer refuses."""

    def normalized(*args: Any, **kwargs: Any) -> Any:
        return norm_loudness(*args, **kwargs).astype("float32")

    return normalized


def _class(name: str) -> Any:
    module, attribute = CLASSES[name]
    try:
        kind = getattr(importlib.import_module(module), attribute)
        import perth  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise EngineUnavailable(
            f"chatterbox-tts is not installed or incomplete ({error.name or error})."
        ) from error
    if perth.PerthImplicitWatermarker is None:
        raise EngineUnavailable(
            "its watermarker needs pkg_resources: install 'setuptools<81' beside it."
        )
    return kind


def _device(wanted: str, threads: int | None) -> str:
    import psutil
    import torch

    torch.set_num_threads(threads or psutil.cpu_count(logical=False) or 1)
    have = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if wanted == "auto":
        return next(name for name in ("cuda", "mps", "cpu") if have[name])
    if not have[wanted]:
        raise EngineUnavailable(f"this machine has no {wanted} device.")
    return wanted


def _from(kind: Any, checkpoint_dir: Path | None, device: str) -> Any:
    try:
        if checkpoint_dir is not None:
            return kind.from_local(checkpoint_dir, device)
        return kind.from_pretrained(device)
    except EngineUnavailable:
        raise
    except Exception as error:
        where = "from the hub" if checkpoint_dir is None else "from the checkpoint folder"
        reason = str(error).splitlines()[0][:160] if str(error) else type(error).__name__
        raise EngineUnavailable(f"the weights cannot be read {where}: {reason}") from error


@contextlib.contextmanager
def without_segmenter() -> Iterator[None]:
    """The Multilingual constructor fetches a Chinese segmenter, whatever is spoken later.

    It is made when the first Chinese text comes, so that the other languages work offline.
    """
    module = importlib.import_module(TOKENIZER)
    real = module.ChineseCangjieConverter

    class Later:
        def __init__(self, model_dir: Any = None):
            self._model_dir = model_dir
            self._converter: Any = None

        def __call__(self, text: str) -> str:
            if self._converter is None:
                self._converter = _converter(real, self._model_dir)
            return self._converter(text)

    with mock.patch.object(module, "ChineseCangjieConverter", Later):
        yield


def _converter(kind: Any, model_dir: Any) -> Any:
    try:
        converter = kind(model_dir)
    except Exception as error:
        raise SpeechFailed(_CHINESE) from error
    if not converter.word2cj or converter.segmenter is None:
        raise SpeechFailed(_CHINESE)
    return converter


_CHINESE = (
    "Chinese needs Cangjie5_TC.json and the pkuseg segmenter, which are fetched from the "
    "internet the first time."
)


@contextlib.contextmanager
def without_warnings() -> Iterator[None]:
    """Upstream and what it imports warn on every call of things that no user can change."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
