"""T3's decoding loop: the sentences of all running requests, a token each at every step.

Sentences join and leave the batch at any step (continuous batching); each has its own generator.
A sentence's tokens equal upstream's loop run alone after `manual_seed` (up to the rounding of the
matrix products) and do not depend on the other sentences of the batch (to the bit).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from voicelab.engines.chatterbox.alignment import Alignment
from voicelab.engines.chatterbox.backbone import GPT2, Backbone, Llama
from voicelab.engines.chatterbox.kv_cache import Segment, SegmentAttention
from voicelab.engines.chatterbox.linear import Kernel
from voicelab.engines.chatterbox.lockstep import STRIDE, Lockstep
from voicelab.engines.chatterbox.prefixes import Prefix, Prefixes
from voicelab.engines.chatterbox.sampling import Sampler, TurboSampler
from voicelab.engines.chatterbox.sentence import CAP_TOKENS, STOP_TOKEN, Row, Sentence

__all__ = ["Decoder"]


class Decoder:
    """Decodes with upstream's T3; takes over the weights of its transformer.

    Args:
        t3: upstream's model; only its embeddings, conditioning and head stay usable.
        kernel: for the matrix products.
        lockstep_size: sentences decoded in lockstep, for GPUs; 0 decodes each within its own
            cache, as Multilingual V2 always is, because its attention is analyzed.
    """

    def __init__(self, t3: Any, kernel: Kernel, lockstep_size: int = 0):
        self._t3 = t3
        self._turbo = t3.is_gpt
        if self._turbo:
            self._backbone: Backbone = GPT2(t3.tfmr, kernel)
        else:
            # Conditioning, text and speech.
            positions = 64 + t3.hp.max_text_tokens + 2 + CAP_TOKENS + 2 + STRIDE
            self._backbone = Llama(t3.tfmr, kernel, positions)
        head = t3.speech_head
        self._head = kernel(head.weight.detach(), None if head.bias is None else head.bias.detach())
        self._prefixes = Prefixes(t3, self._backbone)
        self._lockstep = None
        if lockstep_size and not t3.rules.checks_alignment:
            self._lockstep = Lockstep(t3, self._backbone, self._head, lockstep_size)

    def begin(self, sentence: Sentence) -> Row:
        """Prefill the cache with the text and sample the first token."""
        prefix = self._prefixes.get(sentence.key, sentence.conditioning)
        row = self._begin_turbo(sentence) if self._turbo else self._begin_guided(sentence, prefix)
        x, segments = self._prompt_embeddings(row, prefix)
        logits = self._logits(x, segments)
        row.cache.length = prefix.length + len(x) - (2 if row.cache.rows == 2 else 0)
        self._draw([row], logits)
        return row

    def step(self, rows: Sequence[Row]) -> None:
        """One more token for each; in lockstep a few."""
        if self._lockstep is not None:
            self._lockstep.step(rows)
            return
        segments = [Segment(r.cache, r.cache.length, 1, _attention_callback(r)) for r in rows]
        for row in rows:
            row.cache.reserve(row.cache.length + 1)
        logits = self._logits(self._last_embeddings(rows), segments)
        # What fails before this leaves all rows as they were, so that some may go on.
        for row in rows:
            row.cache.length += 1
        self._draw(rows, logits)

    def _begin_turbo(self, sentence: Sentence) -> Row:
        sampler = TurboSampler(sentence.parameters, sentence.generator, self._start)
        return Row(sentence, self._backbone.cache(1), sampler, CAP_TOKENS + 1)

    def _begin_guided(self, sentence: Sentence, prefix: Prefix) -> Row:
        # Without weight the unguided row would be read and multiplied by nothing.
        rows = 2 if sentence.parameters["cfg_weight"] > 0 else 1
        sampler = Sampler(sentence.parameters, sentence.generator, self._start)
        alignment = None
        if self._t3.rules.checks_alignment:
            alignment = Alignment(prefix.length, len(sentence.text), STOP_TOKEN)
        return Row(sentence, self._backbone.cache(rows), sampler, CAP_TOKENS, alignment)

    @property
    def _start(self) -> int:
        return self._t3.hp.start_speech_token

    def _prompt_embeddings(self, row: Row, prefix: Prefix) -> tuple[Tensor, list[Segment]]:
        """Embeddings (m, dim) of the text and the start, after the voice's prefix."""
        text = row.sentence.text
        starts = self._start_embeddings()
        x = torch.cat([self._text_embeddings(text), starts])
        count = len(text)
        row.cache.reserve(prefix.length + len(x))
        row.cache.prepend(0, prefix.cache, prefix.length)
        segments = [Segment(row.cache.of_row(0), prefix.length, len(x), _attention_callback(row))]
        if row.cache.rows == 2:
            row.cache.prepend(1, prefix.unconditional(count), prefix.length + count)
            segments.append(Segment(row.cache.of_row(1), prefix.length + count, len(starts)))
            x = torch.cat([x, starts])
        return x, segments

    def _text_embeddings(self, text: Tensor) -> Tensor:
        embedded = self._t3.text_emb(text)
        return embedded if self._turbo else embedded + self._t3.text_pos_emb(text[None])

    def _start_embeddings(self) -> Tensor:
        """Upstream feeds the start twice, at the same position, but for Turbo."""
        token = torch.tensor([self._start], device=self._t3.device)
        embedded = self._t3.speech_emb(token)
        if self._turbo:
            return embedded
        return (embedded + self._t3.speech_pos_emb.get_fixed_embedding(0)[0]).expand(2, -1)

    def _last_embeddings(self, rows: Sequence[Row]) -> Tensor:
        """(m, dim): each one's last token, for its one or two rows."""
        each = [row for row in rows for _ in range(row.cache.rows)]
        device = self._t3.device
        x = self._t3.speech_emb(torch.tensor([row.tokens[-1] for row in each], device=device))
        if self._turbo:
            return x
        places = torch.tensor([len(row.tokens) for row in each], device=device)
        return x + self._t3.speech_pos_emb.emb(places)

    def _logits(self, x: Tensor, segments: Sequence[Segment]) -> Tensor:
        """Embeddings (m, dim) -> (rows, vocabulary), from the last position of each row."""
        hidden = self._backbone(x, SegmentAttention(segments))
        ends: list[int] = []
        start = 0
        for segment in segments:
            ends += [start + segment.length * (n + 1) - 1 for n in range(segment.cache.rows)]
            start += segment.size
        return self._head(hidden[ends])

    def _draw(self, rows: Sequence[Row], logits: Tensor) -> None:
        """Sample the next token of each row; an error ends that row only."""
        start = 0
        for row in rows:
            try:
                row.tokens.append(self._sampled(row, logits[start : start + row.cache.rows]))
            except Exception as error:
                row.failure = error
            start += row.cache.rows

    def _sampled(self, row: Row, logits: Tensor) -> int:
        one = logits[:1]
        if len(logits) == 2:
            weight = torch.as_tensor(
                row.sentence.parameters["cfg_weight"], device=one.device, dtype=one.dtype
            )
            one = one + weight * (one - logits[1:])
        if row.alignment is not None:
            one = row.alignment.adjusted(one, (row.tokens or [self._start])[-1])
        return row.sampler.draw(one)


def _attention_callback(row: Row) -> Any:
    return row.alignment.attend if row.alignment is not None else None
