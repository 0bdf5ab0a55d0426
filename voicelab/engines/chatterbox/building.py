"""Models that upstream's `from_local` does not know: built here as it builds its own."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from voicelab.engines.chatterbox.checkpoints import VOICE

__all__ = ["build_multilingual", "build_nano", "register_small_gpt2"]

SMALL_GPT2 = "GPT2_small"
TEXT_TOKENS, SPEECH_TOKENS = 50276, 6563
CONDITIONING_TOKENS = 375


def build_nano(kind: Any, files: Mapping[str, Path], device: str) -> Any:
    """Chatterbox Nano: Turbo's class over a smaller GPT-2.

    Args:
        kind: upstream's ChatterboxTurboTTS; its own `nano` is used where it has one.
        files: see `found_files`.
    """
    folder = files["t3_nano_v1.safetensors"].parent
    if "nano" in inspect.signature(kind.from_local).parameters:
        return kind.from_local(folder, device, nano=True)
    module = importlib.import_module(kind.__module__)
    register_small_gpt2()
    t3 = module.T3(_nano_config(module.T3Config))
    _load_t3(t3, files["t3_nano_v1.safetensors"])
    del t3.tfmr.wte  # T3 has embeddings of its own
    s3gen = _loaded(module.S3Gen(meanflow=True), files["s3gen_meanflow.safetensors"], device)
    tokenizer = module.AutoTokenizer.from_pretrained(folder)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    ve = _loaded(module.VoiceEncoder(), files["ve.safetensors"], device)
    voice = _voice(module, files, device)
    return kind(t3.to(device).eval(), s3gen, ve, tokenizer, device, conds=voice)


def build_multilingual(kind: Any, files: Mapping[str, Path], device: str) -> Any:
    """Multilingual V3, or a finetune of it: V2's class with other files.

    Args:
        kind: upstream's ChatterboxMultilingualTTS.
        files: see `found_files`; they may be in several folders.
    """
    module = importlib.import_module(kind.__module__)
    t3 = module.T3(module.T3Config.multilingual())
    _load_t3(t3, _file(files, "t3_"))
    s3gen = _loaded(module.S3Gen(), _file(files, "s3gen"), device)
    tokenizer = module.MTLTokenizer(str(_file(files, "grapheme_")))
    ve = _loaded(module.VoiceEncoder(), _file(files, "ve."), device)
    voice = _voice(module, files, device)
    return kind(t3.to(device).eval(), s3gen, ve, tokenizer, device, conds=voice)


def register_small_gpt2() -> None:
    """Make Nano's size known to upstream's T3.

    T3 takes its configuration by name from LLAMA_CONFIGS and from nowhere else. One entry is added
    that nothing but Nano reads, and a newer upstream's own is left as it is.
    """
    configs = importlib.import_module("chatterbox.models.t3.llama_configs").LLAMA_CONFIGS
    sizes = {"n_embd": 768, "hidden_size": 768, "n_head": 12, "n_layer": 12}
    configs.setdefault(SMALL_GPT2, {**configs["GPT2_medium"], **sizes})


def _nano_config(kind: Any) -> Any:
    config = kind(text_tokens_dict_size=TEXT_TOKENS)
    config.llama_config_name = SMALL_GPT2
    config.speech_tokens_dict_size = SPEECH_TOKENS
    config.input_pos_emb = None
    config.speech_cond_prompt_len = CONDITIONING_TOKENS
    config.use_perceiver_resampler = False
    config.emotion_adv = False
    return config


def _file(files: Mapping[str, Path], start: str) -> Path:
    return next(path for path in files.values() if path.name.startswith(start))


def _load_t3(t3: Any, path: Path) -> None:
    state = load_file(path)
    t3.load_state_dict(state["model"][0] if "model" in state else state)


def _loaded(module: Any, path: Path, device: str) -> Any:
    """With weights from a file, which may lack buffers: the module computes them itself."""
    if path.suffix == ".safetensors":
        state = load_file(path)
    else:
        state = torch.load(path, map_location="cpu", weights_only=True)
    found = module.load_state_dict(state, strict=False)
    lacking = {name for name, _ in module.named_parameters()} & set(found.missing_keys)
    if lacking:  # as torch says it of a strict loading
        raise RuntimeError(f"Error(s) in loading state_dict for {type(module).__name__}")
    return module.to(device).eval()


def _voice(module: Any, files: Mapping[str, Path], device: str) -> Any:
    if VOICE not in files:
        return None
    return module.Conditionals.load(files[VOICE], map_location="cpu").to(device)
