"""Loading chatterbox-tts: from a folder or from the hub, with every failure in one sentence."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from voicelab.engines.base import LoadProgress
from voicelab.engines.chatterbox.checkpoints import (
    BASE,
    FINETUNES,
    MULTILINGUAL,
    MULTILINGUAL_V2,
    cached_file,
    cached_folders,
    cut_files,
    found_files,
    missing_files,
)
from voicelab.engines.chatterbox.fetching import fetch
from voicelab.engines.chatterbox.rules import rules
from voicelab.engines.chatterbox.state_loading import StateFromFiles
from voicelab.engines.chatterbox.suppression import patched, suppressed_output
from voicelab.engines.chatterbox.waveform import is_out_of_memory
from voicelab.engines.chatterbox.weights import hub_reachable, lacking, offline
from voicelab.errors import EngineUnavailable, SpeechFailed

__all__ = ["in_float32", "load_model", "without_segmenter"]

log = logging.getLogger(__name__)

CLASSES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "chatterbox": ("chatterbox.tts", "ChatterboxTTS"),
        "chatterbox-turbo": ("chatterbox.tts_turbo", "ChatterboxTurboTTS"),
        "chatterbox-nano": ("chatterbox.tts_turbo", "ChatterboxTurboTTS"),
        **dict.fromkeys(
            (MULTILINGUAL, MULTILINGUAL_V2, *FINETUNES),
            ("chatterbox.mtl_tts", "ChatterboxMultilingualTTS"),
        ),
    }
)
TOKENIZER = "chatterbox.models.tokenizers.tokenizer"
CANGJIE = "Cangjie5_TC.json"
CHINESE = (
    f"Chinese needs {CANGJIE} and the pkuseg segmenter, which are fetched from the internet the "
    "first time."
)


def load_model(
    name: str,
    *,
    device: str,
    checkpoint_dir: Path | None,
    threads: int | None,
    progress: LoadProgress,
) -> tuple[Any, str]:
    """The upstream model, ready, and the device it is on.

    What of it is ours: `t3.rules` and `t3.weights`, the name of T3's file without its ending.

    Args:
        name: of the checkpoint.
        device: auto, cpu, cuda or mps.
        checkpoint_dir: folder with the weights; the Hugging Face cache when None.
        threads: of torch on the CPU; the physical cores when None.
        progress: told what is done.

    Raises:
        EngineUnavailable: not installed, weights missing, broken or not to be fetched.
    """
    if checkpoint_dir is not None and (missing := missing_files(name, checkpoint_dir)):
        reason = lacking(name, checkpoint_dir, missing)
        raise EngineUnavailable(f"the checkpoint folder {reason}")
    folders = (checkpoint_dir,) if checkpoint_dir else cached_folders(name)
    if not checkpoint_dir and (not folders or cut_files(name, *folders)):
        _check_hub()
        folders = fetch(name, progress)
    if cut := cut_files(name, *folders):
        raise EngineUnavailable(f"{', '.join(cut)} cannot be read: cut short.")
    progress(0.4, "importing torch and chatterbox")
    with suppressed_output():
        kind = _class(name)
        chosen = _device(device, threads)
        progress(0.6, "loading weights")
        files = found_files(name, *folders)
        with without_segmenter(), _complete(), StateFromFiles():
            model = _from_files(name, kind, files, chosen)
    if hasattr(model, "norm_loudness"):
        model.norm_loudness = in_float32(model.norm_loudness)
    _without_deprecated(model)
    _with_new_names(model.t3.tfmr)
    model.t3.rules = rules(name)
    model.t3.weights = _t3_file(files).stem
    return model, chosen


def in_float32(norm_loudness: Callable[..., Any]) -> Callable[..., Any]:
    """With numpy 2, Turbo's gain makes the clip float64, which its tokenizer refuses."""

    def normalized(*args: Any, **kwargs: Any) -> Any:
        return norm_loudness(*args, **kwargs).astype("float32")

    return normalized


def _without_deprecated(model: Any) -> None:
    """The perceiver's attention without `sdp_kernel`, which warns at each call and sets the
    defaults."""
    from torch.nn.functional import scaled_dot_product_attention  # of the extra chatterbox

    for module in model.t3.modules():
        if hasattr(module, "flash_attention"):
            module.flash_attention = lambda q, k, v, mask=None: scaled_dot_product_attention(
                q, k, v, attn_mask=mask
            )


def _with_new_names(transformer: Any) -> None:
    """transformers 5.24 calls `cache` what chatterbox-tts passes as `past_key_values`, and means
    to refuse the old name from 5.40 on."""
    known = inspect.signature(transformer.forward).parameters
    if "cache" not in known or "past_key_values" in known:
        return

    def renamed(_: Any, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        if "past_key_values" in kwargs:
            kwargs = {**kwargs, "cache": kwargs["past_key_values"]}
            del kwargs["past_key_values"]
        return args, kwargs

    transformer.register_forward_pre_hook(renamed, with_kwargs=True)


def _check_hub() -> None:
    if offline():
        raise EngineUnavailable("its weights are not here, and HF_HUB_OFFLINE is set.")
    if not hub_reachable():
        raise EngineUnavailable("its weights are not here, and the hub cannot be reached.")


def _class(name: str) -> Any:
    module, attribute = CLASSES[name]
    try:
        kind = getattr(importlib.import_module(module), attribute)
        perth = importlib.import_module("perth")
    except (ImportError, OSError, AttributeError) as error:
        log.warning("chatterbox-tts cannot be imported", exc_info=True)
        package = getattr(error, "name", None) or type(error).__name__
        raise EngineUnavailable(
            f"chatterbox-tts is not installed or incomplete ({package})."
        ) from error
    if perth.PerthImplicitWatermarker is None:
        raise EngineUnavailable(
            "its watermarker needs pkg_resources: install 'setuptools<81' beside it."
        )
    return kind


def _device(wanted: str, threads: int | None) -> str:
    import joblib  # of the extra chatterbox
    import torch  # of the extra chatterbox

    # joblib counts what a container or an affinity mask leaves of the machine, too.
    torch.set_num_threads(threads or joblib.cpu_count(only_physical_cores=True))
    have = {
        "cpu": True,
        "cuda": torch.cuda.is_available(),
        "mps": torch.backends.mps.is_available(),
    }
    if wanted == "auto":
        return next(name for name in ("cuda", "mps", "cpu") if have[name])
    if not have.get(wanted):
        raise EngineUnavailable(f"this machine has no {wanted} device.")
    return wanted


def _from_files(name: str, kind: Any, files: Mapping[str, Path], device: str) -> Any:
    from voicelab.engines.chatterbox.building import (  # of the extra chatterbox
        build_multilingual,
        build_nano,
    )

    with _translated(lambda error: _folder_fault(files, error)):
        if name == "chatterbox-nano":
            return build_nano(kind, files, device)
        if name == MULTILINGUAL or name in FINETUNES:
            return build_multilingual(kind, files, device)
        return kind.from_local(_t3_file(files).parent, device)


def _t3_file(files: Mapping[str, Path]) -> Path:
    return next(path for path in files.values() if path.name.startswith("t3_"))


@contextlib.contextmanager
def _translated(fault: Callable[[Exception], str]) -> Iterator[None]:
    """Whatever goes wrong as EngineUnavailable, with the sentence that `fault` finds for it."""
    try:
        yield
    except EngineUnavailable:
        raise
    except Exception as error:
        log.warning("the weights cannot be loaded", exc_info=True)
        if is_out_of_memory(error):
            raise EngineUnavailable("there is not enough memory for its weights.") from error
        raise EngineUnavailable(fault(error)) from error


def _folder_fault(files: Mapping[str, Path], error: Exception) -> str:
    if broken := [path.name for path in files.values() if not _readable(path)]:
        return f"{', '.join(broken)} cannot be read."
    fault = _unfit_file(files, str(error)) or type(error).__name__
    return f"the weights do not fit the model ({fault})."


def _readable(path: Path) -> bool:
    import torch  # of the extra chatterbox
    from safetensors import safe_open  # of the extra chatterbox

    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt"):
                return True
        if path.suffix == ".pt":
            torch.load(path, map_location="cpu", weights_only=True)
        elif path.suffix == ".json":
            json.loads(path.read_text(encoding="utf-8"))
    except Exception:
        return False
    return True


def _unfit_file(files: Mapping[str, Path], message: str) -> str | None:
    """From torch's "Error(s) in loading state_dict for T3": the file of that part."""
    found = re.search(r"state_dict for (VoiceEncoder|T3|S3)", message)
    prefix = {"VoiceEncoder": "ve.", "T3": "t3_", "S3": "s3gen"}[found[1]] if found else None
    names = [path.name for path in files.values()]
    return next((name for name in names if prefix and name.startswith(prefix)), None)


@contextlib.contextmanager
def _complete() -> Iterator[None]:
    """The English class loads S3Gen with strict=False: what its file lacks would stay random."""
    kind = importlib.import_module("chatterbox.models.s3gen").S3Gen
    load = kind.load_state_dict

    def load_all(self: Any, *args: Any, **kwargs: Any) -> Any:
        found = load(self, *args, **kwargs)
        # The real file may lack buffers, which upstream computes, but no parameter.
        lacking = {key for key, _ in self.named_parameters()} & set(found.missing_keys)
        if lacking:
            raise EngineUnavailable(
                f"the weights of s3gen lack {len(lacking)} tensors, {min(lacking)} among them."
            )
        return found

    with patched(kind, "load_state_dict", load_all):
        yield


@contextlib.contextmanager
def without_segmenter() -> Iterator[None]:
    """The Multilingual constructor fetches a Chinese segmenter, whatever is spoken later.

    It is made when the first Chinese text comes, so that the other languages work offline.
    """
    module = importlib.import_module(TOKENIZER)
    real = module.ChineseCangjieConverter

    class LazySegmenter:
        def __init__(self, model_dir: Path):
            self._model_dir = model_dir
            self._converter: Any = None

        def __call__(self, text: str) -> str:
            if self._converter is None:
                self._converter = _converter(module, real, self._model_dir)
            return self._converter(text)

    with patched(module, "ChineseCangjieConverter", LazySegmenter):
        yield


def _converter(module: Any, kind: Any, model_dir: Path) -> Any:
    """With the table beside the weights when it is there; else both parts are fetched."""
    beside = model_dir / CANGJIE
    here = beside if beside.is_file() else cached_file(BASE, CANGJIE)
    download = (lambda **_: str(here)) if here else module.hf_hub_download
    if not here and (offline() or not hub_reachable()):
        raise SpeechFailed(CHINESE)
    try:
        with patched(module, "hf_hub_download", download):
            converter = kind(model_dir)
    except Exception as error:
        raise SpeechFailed(CHINESE) from error
    if not converter.word2cj or converter.segmenter is None:
        raise SpeechFailed(CHINESE)
    return converter
