"""A checkpoint of the real classes with random weights: tiny for tests, full size for benchmarks.

Sizes are patched only while building and loading; no library file is changed. One dimension of
the position embedding is large from a given position on and the end token's row reads it, so
a chunk has a known number of speech tokens; another keeps ids above the codebook from being drawn.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import soundfile
import torch

from voicelab.engines.chatterbox.building import build_multilingual, build_nano, register_small_gpt2
from voicelab.engines.chatterbox.checkpoints import (
    FINETUNES,
    MULTILINGUAL,
    MULTILINGUAL_V2,
    found_files,
)
from voicelab.engines.chatterbox.engine import ChatterboxEngine
from voicelab.engines.chatterbox.suppression import suppressed_output
from voicelab.engines.chatterbox.upstream import in_float32, without_segmenter

__all__ = [
    "MODELS",
    "as_upstreams_main_branch",
    "build",
    "clip",
    "new_engine",
    "small",
    "tiny_engine",
]

MODELS = (
    *("chatterbox", "chatterbox-turbo", "chatterbox-nano", MULTILINGUAL),
    MULTILINGUAL_V2,
)
"""What differs in its code: each engine but the finetunes, and Multilingual twice."""

SOUND, END = 0, 1
STOP_TOKEN, SPEECH_TOKENS = 6562, 6561
TURBO_PREFIX = 276
GAIN = 1.0
PITCH_HZ = 140.0
DEVICE = "cpu"
"""Where `tiny_engine` computes; set by the option --device of the tests."""


def tiny_engine(name: str, folder: Path, tokens: int = 20, **options: Any) -> ChatterboxEngine:
    """An engine on a tiny checkpoint, loaded and ready; `options` are its own."""
    if not (folder / "conds.pt").exists():
        build(name, folder, tokens=tokens)
    engine = new_engine(name, folder, **options)
    with small(name):
        engine.load(lambda fraction, line: None)
    return engine


def new_engine(name: str, folder: Path, **options: Any) -> ChatterboxEngine:
    """An engine for a checkpoint, not loaded yet."""
    engine = MULTILINGUAL if name == MULTILINGUAL_V2 else name
    return ChatterboxEngine(
        *(engine,), device=DEVICE, checkpoint_dir=folder, **{"threads": 1} | options
    )


def clip(path: Path, pitch_hz: float = 140.0, duration_s: float = 11.0) -> Path:
    """A hummed voice clip at 24 kHz, for cloning."""
    time = np.arange(int(24_000 * duration_s)) / 24_000
    voice = sum(np.sin(2 * np.pi * pitch_hz * k * time) / k for k in range(1, 8))
    soundfile.write(path, (0.1 * voice * (1 + 0.5 * np.sin(6 * time))).astype("float32"), 24_000)
    return path


def build(name: str, folder: Path, *, tokens: int = 20, full_size: bool = False) -> None:
    """Write a checkpoint in the layout of upstream's from_local.

    Args:
        name: of the checkpoint.
        folder: made when missing.
        tokens: speech tokens a chunk; 25 are one second.
        full_size: the real sizes: 3 GB, the compute of the real weights.
    """
    folder.mkdir(parents=True, exist_ok=True)
    sizes = contextlib.nullcontext() if full_size else small(name)
    with suppressed_output(), sizes, torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        model = _model(name, folder, tokens)
        if hasattr(model, "norm_loudness"):
            model.norm_loudness = in_float32(model.norm_loudness)
        model.prepare_conditionals(str(clip(folder / "voice.wav")))
        model.conds.save(folder / "conds.pt")


@contextlib.contextmanager
def as_upstreams_main_branch(model: Any) -> Iterator[None]:
    """What upstream's main branch does otherwise with V3 than chatterbox-tts 0.1.7.

    Without the analyzer, and the last token's 40 ms are cut before the watermark.
    """
    if not model.t3.rules.drops_last_token:
        yield
        return
    analyzer = mock.Mock(eos_idx=STOP_TOKEN, step=lambda logits, next_token: logits)
    real = model.watermarker.apply_watermark

    def cut(wave: Any, sample_rate: int) -> Any:
        return real(wave[: max(1, len(wave) // 960 - 1) * 960], sample_rate=sample_rate)

    with (
        mock.patch("chatterbox.models.t3.t3.AlignmentStreamAnalyzer", return_value=analyzer),
        mock.patch.object(model.watermarker, "apply_watermark", cut),
    ):
        yield


@contextlib.contextmanager
def small(name: str) -> Iterator[None]:
    """The real classes in tiny, while the block lasts."""
    from chatterbox.models.s3gen import s3gen
    from chatterbox.models.s3gen.transformer import upsample_encoder
    from chatterbox.models.t3 import llama_configs
    from chatterbox.models.t3.modules import cond_enc
    from chatterbox.models.voice_encoder.config import VoiceEncConfig
    from s3tokenizer.model_v2 import ModelConfig, S3TokenizerV2

    register_small_gpt2()
    layers, heads = (14, 16) if name == MULTILINGUAL_V2 else (2, 4)  # V2's heads are analyzed
    llama = {
        "hidden_size": 64,
        "intermediate_size": 128,
        "num_hidden_layers": layers,
        "num_attention_heads": heads,
        "num_key_value_heads": heads,
        "head_dim": 64 // heads,
    }
    gpt = {"n_embd": 64, "hidden_size": 64, "n_head": 4, "n_layer": 2, "vocab_size": 8}
    tokenizer = ModelConfig(n_audio_state=64, n_audio_head=1, n_audio_layer=1)
    encoder = {
        "output_size": 32,
        "input_size": 32,
        "attention_heads": 2,
        "linear_units": 32,
        "num_blocks": 1,
    }
    decoder = {
        "channels": [32],
        "attention_head_dim": 16,
        "n_blocks": 1,
        "num_mid_blocks": 1,
        "num_heads": 1,
    }
    patches = [
        mock.patch.dict(llama_configs.LLAMA_CONFIGS["Llama_520M"], llama),
        mock.patch.dict(llama_configs.LLAMA_CONFIGS["GPT2_medium"], gpt),
        mock.patch.dict(llama_configs.LLAMA_CONFIGS["GPT2_small"], gpt | {"n_layer": 1}),
        mock.patch.object(S3TokenizerV2.__init__, "__defaults__", (tokenizer,)),
        mock.patch.object(VoiceEncConfig, "ve_hidden_size", 32),
        _resized(cond_enc, "Perceiver", pre_attention_query_size=64, embedding_dim=64),
        _resized(s3gen, "UpsampleConformerEncoder", **encoder),
        _resized(s3gen, "ConditionalDecoder", **decoder),
        _resized(s3gen, "CausalMaskedDiffWithXvec", input_size=32),
        _resized(s3gen, "CAMPPlus", growth_rate=4, init_channels=16),
        _resized(s3gen, "ConvRNNF0Predictor", cond_channels=32),
        _resized(s3gen, "HiFTGenerator", base_channels=32),
        _resized(upsample_encoder, "PreLookaheadLayer", channels=32),
        _resized(upsample_encoder, "Upsample1D", channels=32, out_channels=32),
    ]
    with contextlib.ExitStack() as stack:
        for patch in patches:
            stack.enter_context(patch)
        yield


def _resized(module: Any, name: str, **sizes: Any) -> Any:
    kind = getattr(module, name)

    def make(*args: Any, **kwargs: Any) -> Any:
        return kind(*args, **{**kwargs, **sizes})

    return mock.patch.object(module, name, make)


def _model(name: str, folder: Path, tokens: int) -> Any:
    makers = {
        "chatterbox": _english,
        "chatterbox-turbo": _turbo,
        "chatterbox-nano": _nano,
        MULTILINGUAL: _multilingual,
        MULTILINGUAL_V2: _multilingual_v2,
    }
    return makers[MULTILINGUAL if name in FINETUNES else name](name, folder, tokens)


def _english(name: str, folder: Path, tokens: int) -> Any:
    from chatterbox.models.s3gen import S3Gen
    from chatterbox.models.t3 import T3
    from chatterbox.models.voice_encoder import VoiceEncoder
    from chatterbox.tts import ChatterboxTTS

    _save(VoiceEncoder(), folder / "ve.safetensors")
    _save(_ending(T3(), tokens), folder / "t3_cfg.safetensors")
    _save(_voiced(S3Gen()), folder / "s3gen.safetensors")
    _characters(folder / "tokenizer.json")
    return ChatterboxTTS.from_local(folder, "cpu")


def _multilingual(name: str, folder: Path, tokens: int) -> Any:
    """V3 and its finetunes, whose S3Gen and voice encoder are in other files."""
    from chatterbox.models.s3gen import S3Gen
    from chatterbox.models.t3 import T3
    from chatterbox.models.t3.modules.t3_config import T3Config
    from chatterbox.models.voice_encoder import VoiceEncoder
    from chatterbox.mtl_tts import ChatterboxMultilingualTTS

    t3 = _ending(T3(T3Config.multilingual()), tokens)
    if name in FINETUNES:
        _save(t3, folder / f"t3_{FINETUNES[name].replace('-', '_')}.safetensors")
        _save(VoiceEncoder(), folder / "ve.safetensors")
        _save(_voiced(S3Gen()), folder / "s3gen_v3.safetensors", without="tokenizer._mel_filters")
    else:
        _save(t3, folder / "t3_mtl23ls_v3.safetensors")
        torch.save(VoiceEncoder().state_dict(), folder / "ve.pt")
        torch.save(_voiced(S3Gen()).state_dict(), folder / "s3gen.pt")
    _characters(folder / "grapheme_mtl_merged_expanded_v1.json")
    with without_segmenter():
        return build_multilingual(ChatterboxMultilingualTTS, found_files(name, folder), "cpu")


def _multilingual_v2(name: str, folder: Path, tokens: int) -> Any:
    from chatterbox.models.s3gen import S3Gen
    from chatterbox.models.t3 import T3
    from chatterbox.models.t3.modules.t3_config import T3Config
    from chatterbox.models.voice_encoder import VoiceEncoder
    from chatterbox.mtl_tts import ChatterboxMultilingualTTS

    torch.save(VoiceEncoder().state_dict(), folder / "ve.pt")
    t3 = _ending(T3(T3Config.multilingual()), tokens, watched=True)
    _save(t3, folder / "t3_mtl23ls_v2.safetensors")
    torch.save(_voiced(S3Gen()).state_dict(), folder / "s3gen.pt")
    _characters(folder / "grapheme_mtl_merged_expanded_v1.json")
    with without_segmenter():
        return ChatterboxMultilingualTTS.from_local(folder, "cpu")


def _turbo(name: str, folder: Path, tokens: int) -> Any:
    from chatterbox.tts_turbo import ChatterboxTurboTTS

    _save_gpt(folder, "GPT2_medium", "t3_turbo_v1.safetensors", tokens)
    return ChatterboxTurboTTS.from_local(folder, "cpu")


def _nano(name: str, folder: Path, tokens: int) -> Any:
    from chatterbox.tts_turbo import ChatterboxTurboTTS

    register_small_gpt2()
    _save_gpt(folder, "GPT2_small", "t3_nano_v1.safetensors", tokens)
    return build_nano(ChatterboxTurboTTS, found_files(name, folder), "cpu")


def _save_gpt(folder: Path, size: str, t3_file: str, tokens: int) -> None:
    from chatterbox.models.s3gen import S3Gen
    from chatterbox.models.t3 import T3
    from chatterbox.models.t3.modules.t3_config import T3Config
    from chatterbox.models.voice_encoder import VoiceEncoder

    config = T3Config(text_tokens_dict_size=50276)
    config.llama_config_name = size
    config.speech_tokens_dict_size = 6563
    config.input_pos_emb = None
    config.speech_cond_prompt_len = 375
    config.use_perceiver_resampler = False
    config.emotion_adv = False
    _save(VoiceEncoder(), folder / "ve.safetensors")
    _save(_ending_gpt(T3(config), tokens), folder / t3_file)
    _save(_voiced(S3Gen(meanflow=True)), folder / "s3gen_meanflow.safetensors")
    _bytes(folder)


@torch.no_grad()
def _voiced(s3gen: Any) -> Any:
    """Random weights hear no pitch, and the half of the source that follows it would be silent."""
    s3gen.mel2wav.f0_predictor.classifier.bias.fill_(PITCH_HZ)
    return s3gen


def _save(module: Any, path: Path, without: str = "") -> None:
    from safetensors.torch import save_file

    state = {key: value.clone().contiguous() for key, value in module.state_dict().items()}
    save_file({key: value for key, value in state.items() if key != without}, path)


@torch.no_grad()
def _ending(t3: Any, tokens: int, watched: bool = False) -> Any:
    """Position `tokens` of the speech says stop, in every text.

    `watched`: its alignment is, and would never see the end in a model that listens.
    """
    positions = t3.speech_pos_emb.emb.weight
    positions[:, SOUND], positions[:, END] = 10.0, 0.0
    positions[tokens:, END] = 400.0
    for embedding in (t3.speech_emb.weight, t3.text_emb.weight):
        embedding *= 0.1
        embedding[:, SOUND] = embedding[:, END] = 0.0
    _heads(t3.speech_head.weight)
    if watched:
        return t3
    for layer in t3.tfmr.layers:
        inner, outer = layer.self_attn, layer.mlp
        for part in (inner.q_proj, inner.k_proj, inner.v_proj, outer.gate_proj, outer.up_proj):
            _listening(part.weight)
        for part in (inner.o_proj, outer.down_proj):
            _listening(part.weight)
            part.weight[[SOUND, END]] = 0.0
    return t3


@torch.no_grad()
def _ending_gpt(t3: Any, tokens: int) -> Any:
    """GPT-2 counts the prefix and the text too: the text's characters (a token each) shorten it."""
    positions = t3.tfmr.wpe.weight
    positions *= 0.1
    positions[:, SOUND], positions[:, END] = 10.0, 0.0
    positions[TURBO_PREFIX + 60 + tokens :, END] = 400.0
    _heads(t3.speech_head.weight)
    t3.speech_head.bias.zero_()
    for block in t3.tfmr.h:
        for part in (block.attn.c_attn, block.mlp.c_fc):
            _listening(part.weight)
        for part in (block.attn.c_proj, block.mlp.c_proj):
            _listening(part.weight)
            part.weight[:, [SOUND, END]] = 0.0
    return t3


def _listening(weight: Any) -> None:
    """As large as trained ones: at 0.02 a tiny model hears nothing of what was before."""
    weight *= 50 * GAIN * min(weight.shape) ** -0.5


def _heads(rows: Any) -> None:
    rows[:, SOUND] = rows[:, END] = 0.0
    rows[SPEECH_TOKENS:, SOUND] = -10.0
    rows[STOP_TOKEN, END] = 10.0


def _characters(path: Path) -> None:
    """A character tokenizer with upstream's special tokens at their places."""
    special = {"[STOP]": 0, "[UNK]": 1, "[SPACE]": 2, "[START]": 255}
    taken = set(special.values())
    free = (number for number in range(3, 700) if number not in taken)
    letters = [chr(code) for code in (*range(33, 127), *range(0xC0, 0x180), *range(0x400, 0x450))]
    vocab = {**special, **dict(zip(letters, free, strict=False))}
    content = {
        "version": "1.0",
        "added_tokens": [
            {
                "id": number,
                "content": token,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for token, number in special.items()
        ],
        "normalizer": None,
        "pre_tokenizer": None,
        "post_processor": None,
        "decoder": None,
        "model": {"type": "BPE", "unk_token": "[UNK]", "vocab": vocab, "merges": []},
    }
    path.write_text(json.dumps(content), encoding="utf-8")


def _bytes(folder: Path) -> None:
    """GPT-2's byte alphabet without merges, filled up to upstream's size."""
    from tokenizers.pre_tokenizers import ByteLevel

    alphabet = sorted(ByteLevel.alphabet())
    names = [*alphabet, *(f"<fill{n}>" for n in range(50276 - len(alphabet) - 1)), "<|endoftext|>"]
    vocab = {token: number for number, token in enumerate(names)}
    (folder / "vocab.json").write_text(json.dumps(vocab), encoding="utf-8")
    (folder / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    config = {"tokenizer_class": "GPT2Tokenizer", "model_max_length": 1024}
    (folder / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
