"""Upstream's alignment check of Multilingual V2: whether the speech follows the text.

In chatterbox-tts 0.1.7; later versions have deleted it. See `rules`.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

__all__ = ["Alignment"]


class Alignment:
    """Upstream's analyzer, given the attention weights directly instead of through hooks.

    Args:
        start: position of the text's first token.
        length: of the text, in tokens.
        stop_token: which ends the speech.
    """

    def __init__(self, start: int, length: int, stop_token: int):
        # Of the extra chatterbox.
        from chatterbox.models.t3.inference.alignment_stream_analyzer import (
            LLAMA_ALIGNED_HEADS,
            AlignmentStreamAnalyzer,
        )

        self._heads = {layer: (n, head) for n, (layer, head) in enumerate(LLAMA_ALIGNED_HEADS)}
        unhooked = SimpleNamespace(register_forward_hook=lambda hook: None)
        layers = [SimpleNamespace(self_attn=unhooked)] * (1 + max(self._heads))
        self._analyzer: Any = AlignmentStreamAnalyzer(
            SimpleNamespace(layers=layers), None, (start, start + length), eos_idx=stop_token
        )

    def attend(self, layer: int, queries: Tensor, keys: Tensor) -> None:
        """See `backbone.Attend`: records the attention of one head of the conditional row."""
        if layer not in self._heads:
            return
        number, head = self._heads[layer]
        query, key = queries[0, head], keys[0, head]
        length, positions = len(query), len(key)
        scores = (query @ key.T) * query.shape[-1] ** -0.5
        if length > 1:
            unseen = torch.ones_like(scores, dtype=torch.bool).triu(positions - length + 1)
            scores = scores.masked_fill(unseen, -torch.inf)
        seen = scores.softmax(-1).cpu()
        if length > 1:  # the analyzer counts the rows from the sentence's very beginning
            seen = torch.cat([seen.new_zeros(positions - length, positions), seen])
        self._analyzer.last_aligned_attns[number] = seen

    def adjusted(self, logits: Tensor, last_token: int) -> Tensor:
        """Logits (1, vocabulary) with the stop token forced or suppressed."""
        return self._analyzer.step(logits, next_token=last_token)
