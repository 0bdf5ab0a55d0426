"""What is known of the models without loading them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Literal

from voicelab.engines.base import EngineInfo, Parameter
from voicelab.text import EVENT_TAGS

__all__ = ["CHATTERBOX_INFOS", "V2_INFO", "Mode"]

Mode = Literal["exact", "fast", "draft"]
"""How S3Gen is computed: as upstream does; joined over neighbouring sentences, in bfloat16 where
the processor has it; and with half the steps besides."""

BATCH_SIZE = 8

SAMPLE_RATE = 24_000

# chatterbox.mtl_tts.SUPPORTED_LANGUAGES, which cannot be read without importing torch.
LANGUAGES = {
    "en": "English",
    "ar": "Arabic",
    "da": "Danish",
    "de": "German",
    "el": "Greek",
    "es": "Spanish",
    "fi": "Finnish",
    "fr": "French",
    "he": "Hebrew",
    "hi": "Hindi",
    "it": "Italian",
    "ja": "Japanese",
    "ko": "Korean",
    "ms": "Malay",
    "nl": "Dutch",
    "no": "Norwegian",
    "pl": "Polish",
    "pt": "Portuguese",
    "ru": "Russian",
    "sv": "Swedish",
    "sw": "Swahili",
    "tr": "Turkish",
    "zh": "Chinese",
}


def _top_p(default: float) -> Parameter:
    told = "Share of the likeliest tokens."
    return Parameter("top_p", "Top p", default, 0.05, 1.0, 0.01, told, accepted=(0, 1))


def _parameters(repetition_penalty: float) -> tuple[Parameter, ...]:
    return (
        Parameter("exaggeration", "Exaggeration", 0.5, 0.25, 2.0, 0.05, "0.5 is neutral."),
        Parameter("cfg_weight", "CFG weight", 0.5, 0.0, 1.0, 0.05, "Lower is slower and calmer."),
        Parameter("temperature", "Temperature", 0.8, 0.05, 5.0, 0.05, "Higher varies more."),
        _top_p(1.0),
        Parameter("min_p", "Min p", 0.05, 0.0, 1.0, 0.01, "Drops tokens below this share."),
        Parameter("repetition_penalty", "Repetition penalty", repetition_penalty, 1.0, 3.0, 0.05),
    )


ENGLISH = EngineInfo(
    name="chatterbox",
    label="Chatterbox",
    model_size="0.5B",
    sample_rate=SAMPLE_RATE,
    languages={"en": "English"},
    parameters=_parameters(1.2),
    max_chunk_chars=300,
    batch_size=BATCH_SIZE,
    clones_voices=True,
    description="Resemble AI's Chatterbox: expressive English, imitates a voice clip.",
)

TURBO = EngineInfo(
    name="chatterbox-turbo",
    label="Chatterbox Turbo",
    model_size="350M",
    sample_rate=SAMPLE_RATE,
    languages={"en": "English"},
    parameters=(
        Parameter("temperature", "Temperature", 0.8, 0.05, 5.0, 0.05, "Higher varies more."),
        _top_p(0.95),
        # Clients of other servers send 0 for "all", and more than there are tokens.
        Parameter(
            "top_k", "Top k", 1000, 1, 6561, 1, "Number of the likeliest tokens.", (0, 10_000)
        ),
        Parameter("repetition_penalty", "Repetition penalty", 1.2, 1.0, 3.0, 0.05),
    ),
    max_chunk_chars=300,
    batch_size=BATCH_SIZE,
    clones_voices=True,
    event_tags=EVENT_TAGS,
    description="The fast English model; performs [laugh], [sigh] and other tags.",
)

NANO = replace(
    TURBO,
    name="chatterbox-nano",
    label="Chatterbox Nano",
    model_size="110M",
    description="The smallest English model, for machines without a GPU; performs Turbo's tags.",
)

MULTILINGUAL = EngineInfo(
    name="chatterbox-multilingual",
    label="Chatterbox Multilingual",
    model_size="0.5B",
    sample_rate=SAMPLE_RATE,
    languages=LANGUAGES,
    parameters=_parameters(1.2),
    max_chunk_chars=300,
    batch_size=BATCH_SIZE,
    clones_voices=True,
    description="Chatterbox in 23 languages, imitates a voice clip.",
)

V2_INFO = replace(MULTILINGUAL, parameters=_parameters(2.0))
"""Multilingual where V2 speaks: its penalty is higher, as its makers' was before V3."""


def _finetune(name: str, language: str, variety: str = "") -> EngineInfo:
    """Of Multilingual, to one language; `variety` is its name where there are several."""
    spoken = f"{LANGUAGES[language]} ({variety})" if variety else LANGUAGES[language]
    return replace(
        MULTILINGUAL,
        name=name,
        label=f"Chatterbox {spoken}",
        languages={language: spoken},
        description=f"Chatterbox Multilingual, finetuned to {spoken}.",
    )


FINETUNED = (
    _finetune("chatterbox-zh", "zh", "Mandarin"),
    _finetune("chatterbox-es-mx", "es", "Latin America"),
    _finetune("chatterbox-es-es", "es", "Spain"),
    _finetune("chatterbox-pt-br", "pt", "Brazil"),
    _finetune("chatterbox-pt-pt", "pt", "Portugal"),
    _finetune("chatterbox-hi", "hi"),
)

CHATTERBOX_INFOS: Mapping[str, EngineInfo] = MappingProxyType(
    {info.name: info for info in (ENGLISH, TURBO, NANO, MULTILINGUAL, *FINETUNED)}
)
