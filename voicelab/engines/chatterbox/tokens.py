"""Token ids: of a text, as input of T3, and of speech, as input of S3Gen."""

from __future__ import annotations

import importlib
from typing import Any

from torch import Tensor
from torch.nn import functional

from voicelab.engines.base import Utterance
from voicelab.engines.chatterbox.sentence import SPEECH_TOKENS, STOP_TOKEN
from voicelab.errors import SpeechFailed

__all__ = ["check_length", "text_token_ids", "valid_speech_tokens"]


def text_token_ids(model: Any, utterance: Utterance) -> Tensor:
    """Token ids, int64 (n,); raises SpeechFailed for more than the model can read."""
    text = importlib.import_module(type(model).__module__).punc_norm(utterance.text)
    if model.t3.is_gpt:
        ids = model.tokenizer(text, return_tensors="pt", truncation=True).input_ids[0]
    else:
        multilingual = model.t3.hp.is_multilingual
        language = {"language_id": utterance.language} if multilingual else {}
        ids = model.tokenizer.text_to_tokens(text, **language)[0]
        ids = functional.pad(ids, (1, 0), value=model.t3.hp.start_text_token)
        ids = functional.pad(ids, (0, 1), value=model.t3.hp.stop_text_token)
    check_length(model, len(ids))
    return ids.long().to(model.t3.device)


def check_length(model: Any, count: int) -> None:
    """Raise SpeechFailed for more text tokens, with start and stop, than the model can read."""
    # Turbo's tokenizer cuts a longer text to its limit, so one that fills it counts as too long.
    turbo = model.t3.is_gpt
    most = model.tokenizer.model_max_length - 1 if turbo else model.t3.hp.max_text_tokens + 2
    if count > most:
        raise SpeechFailed("the text has more tokens than the model can read.")


def valid_speech_tokens(drawn: Tensor) -> Tensor:
    """Sampled tokens (n,) up to the stop token, without special ones, on which upstream raises."""
    ends = (drawn == STOP_TOKEN).nonzero()
    drawn = drawn[: int(ends[0])] if len(ends) else drawn
    drawn = drawn[drawn < SPEECH_TOKENS]
    if not len(drawn):
        raise SpeechFailed("the model ended before it began to speak.")
    return drawn
