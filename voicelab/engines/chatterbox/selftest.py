"""Before weights are packed: which matrix products are right and fast here, and do our tokens
equal upstream's?

About three seconds; the answer is kept in the user's cache by model, versions, processor and
threads, and then costs nothing.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import math
import os
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from voicelab.engines.base import Utterance, Voice
from voicelab.engines.chatterbox.decoding import Decoder
from voicelab.engines.chatterbox.linear import FAST_KERNELS, KERNELS, Kernel, Linear, plain
from voicelab.engines.chatterbox.rules import without_unwanted_check
from voicelab.engines.chatterbox.sentence import STOP_TOKEN, Sentence
from voicelab.engines.chatterbox.suppression import suppressed_progress
from voicelab.engines.chatterbox.tokens import text_token_ids

__all__ = ["ROWS", "SelfTest", "best", "followed", "shapes", "timings"]

log = logging.getLogger(__name__)

TOKENS = 20
SCHEME = "2"
"""Of this test: answers of an earlier one are not used."""
SHAPES = ((3072, 1024), (1024, 1024), (4096, 1024), (1024, 4096))
"""Weights of a layer of the Turbo model."""
ROWS = (1, 2, 4, 8, 16)
SENTENCES = 8
"""A full batch, whose rows count as much in the choice as those of the first sentence alone."""
CACHED_BYTES = 150 * 10**6
"""Weights of so many bytes are left in no cache of a processor."""
ROUNDS = 3
HOPELESS = 20
"""A product that takes so many times torch's own at three tries is not timed further: where oneDNN
has no code of its own for a shape, its reference takes 200 times as long."""
DIFFERING = 0.25
"""Share of the tokens that rounded weights may draw otherwise."""
PARAMETERS = {
    "temperature": 0.8,
    "top_p": 0.95,
    "top_k": 1000,
    "min_p": 0.05,
    "repetition_penalty": 1.2,
    "cfg_weight": 0.5,
}


class SelfTest:
    """The test of one loaded model.

    Args:
        name: of the engine.
        model: upstream's, still whole.
        device: it is on.
        fast: whether weights may be rounded.
    """

    def __init__(self, name: str, model: Any, device: str, *, fast: bool = False):
        self._model = model
        self._device = device
        self._fast = fast
        self._path = _cache() / f"{_fingerprint(name, device, fast)}.json"
        self._known = _read(self._path)
        self._right: list[int] | None = None

    def kernel(self, wanted: str = "auto") -> str:
        """The name of the products to use; remembers upstream's tokens for `matches_upstream`."""
        if self._device != "cpu":
            name = "plain"  # the others pack weights for the processor
        else:
            name = wanted if wanted != "auto" else self._known.get("kernel") or self._fastest()
        if name not in self._known.get("agrees", ()):
            self._right = self._upstream()
        return name

    def matches_upstream(self, decoder: Decoder, name: str) -> bool:
        """Whether our loop draws what upstream drew; kept when it does."""
        if self._right is None:
            return True
        most = DIFFERING * len(self._right) if name in FAST_KERNELS else 0
        try:
            ours = self._ours(decoder, self._right)
        except RuntimeError:
            log.warning("our decoding does not work here", exc_info=True)
            return False
        if _differing(ours, self._right) > most:
            log.warning("tokens differ: upstream %s, ours %s", self._right, ours)
            return False
        known = {"kernel": name, "agrees": [*self._known.get("agrees", ()), name]}
        _write(self._path, known)
        return True

    def _fastest(self) -> str:
        kernels = {**KERNELS, **FAST_KERNELS} if self._fast else KERNELS
        found = timings(shapes(self._model.t3), kernels)
        log.info("matrix products, ms a layer with %s rows: %s", ROWS, found)
        if self._fast and not found.keys() & FAST_KERNELS.keys():
            log.warning("this torch has no products with rounded weights: decoding stays float32")
        return best(found, 1 if self._model.t3.is_gpt else 2)

    def _upstream(self) -> list[int]:
        t3 = self._model.t3
        text = self._text()
        with (
            torch.inference_mode(),
            suppressed_progress(),
            without_unwanted_check(t3),
            _seeded(self._device),
        ):
            if t3.is_gpt:
                drawn = t3.inference_turbo(
                    t3_cond=self._conditioning(),
                    text_tokens=text[None],
                    max_gen_len=TOKENS - 1,
                    **{k: v for k, v in PARAMETERS.items() if k not in ("min_p", "cfg_weight")},
                )
            else:
                drawn = t3.inference(
                    t3_cond=self._conditioning(),
                    text_tokens=text.expand(2, -1),
                    max_new_tokens=TOKENS,
                    **{k: v for k, v in PARAMETERS.items() if k != "top_k"},
                )
        return _spoken(drawn[0].tolist())

    def _ours(self, decoder: Decoder, right: list[int]) -> list[int]:
        generator = torch.Generator(device=self._model.t3.device).manual_seed(1)
        sentence = Sentence(self._text(), None, self._conditioning(), PARAMETERS, generator)
        if self._fast:
            return followed(decoder, sentence, right)
        with torch.inference_mode():
            row = decoder.begin(sentence)
            while not row.ended and len(row.tokens) < TOKENS:
                decoder.step([row])
        return _spoken(row.tokens[:TOKENS])

    def _text(self) -> Tensor:
        return text_token_ids(self._model, Utterance("Is this right?", Voice(), {}, 1, "en"))

    def _conditioning(self) -> Any:
        """Of nobody: a checkpoint may have no voice of its own."""
        from chatterbox.models.t3.modules.cond_enc import T3Cond  # of the extra chatterbox

        t3 = self._model.t3
        length = t3.hp.speech_cond_prompt_len
        return T3Cond(
            speaker_emb=torch.ones(1, t3.hp.speaker_embed_size) / 16,
            cond_prompt_speech_tokens=torch.arange(length)[None],
            emotion_adv=torch.full((1, 1, 1), 0.5),
        ).to(device=t3.device)


def followed(decoder: Decoder, sentence: Sentence, right: Sequence[int]) -> list[int]:
    """What a decoder draws after each beginning of `right`, as many tokens as that."""
    drawn = []
    with torch.inference_mode():
        row = decoder.begin(sentence)
        for number, token in enumerate(right):
            if number:
                decoder.step([row])
            drawn.append(row.tokens[-1])
            row.tokens[-1] = token
            row.sampler.correct(token)
    return drawn


def shapes(t3: Any) -> list[tuple[int, int]]:
    """Of the weights of one layer, (out, in)."""
    config = t3.tfmr.config
    size = config.hidden_size
    if t3.is_gpt:
        return [(3 * size, size), (size, size), (4 * size, size), (size, 4 * size)]
    inner = config.intermediate_size
    return [(3 * size, size), (size, size), (2 * inner, size), (size, inner)]


def best(found: Mapping[str, Sequence[float]], first: int) -> str:
    """The kernel that serves a sentence alone and a full batch best.

    Args:
        found: see `timings`.
        first: rows of one sentence.
    """
    at = ROWS.index(first), ROWS.index(first * SENTENCES)
    return min(found, key=lambda name: math.prod(found[name][n] for n in at), default="plain")


def timings(
    layer: Sequence[tuple[int, int]] = SHAPES, kernels: Mapping[str, Kernel] = KERNELS
) -> dict[str, list[float]]:
    """Kernel -> milliseconds a layer for each of ROWS.

    Those alone that are right here: near to torch's, and a row's to the bit in any company.
    """
    weights = [torch.randn(shape) / shape[1] ** 0.5 for shape in layer]
    copies = max(1, min(8, -(-CACHED_BYTES // sum(weight.nbytes for weight in weights))))
    found: dict[str, list[float]] = {}
    usual = [math.inf] * len(ROWS)
    for name, kernel in {"": plain, **kernels}.items():
        try:
            products = [kernel(weight.clone(), None) for _ in range(copies) for weight in weights]
            spent = _timed_ms(products, weights, [HOPELESS * each for each in usual])
            if not name:
                usual = spent
                continue
            if spent and _is_right(products, weights, name in FAST_KERNELS):
                found[name] = spent
        except (RuntimeError, AttributeError, NotImplementedError):
            log.info("matrix products of %s do not work here", name, exc_info=True)
    return found


def _timed_ms(
    products: Sequence[Linear], weights: Sequence[Tensor], limits: Sequence[float]
) -> list[float]:
    """A layer's for each of ROWS; nothing when one is above its limit."""
    found = []
    for rows, limit in zip(ROWS, limits, strict=True):
        inputs = [torch.randn(rows, weight.shape[1]) for weight in weights]
        _spent_ms(products[: len(weights)], inputs)  # the first call prepares
        # A busy machine makes any single call slow.
        if all(_spent_ms(products[: len(weights)], inputs) > limit for _ in range(ROUNDS)):
            return []
        spent = [_spent_ms(products, inputs) for _ in range(ROUNDS)]
        found.append(round(min(spent) * len(weights) / len(products), 3))
    return found


def _spent_ms(products: Sequence[Linear], inputs: Sequence[Tensor]) -> float:
    began = time.perf_counter()
    for number, product in enumerate(products):
        product(inputs[number % len(inputs)])
    return 1e3 * (time.perf_counter() - began)


def _is_right(products: Sequence[Linear], weights: Sequence[Tensor], rounded: bool) -> bool:
    """Equal to torch's to rounding; and to the bit for a row in any company."""
    for product, weight in zip(products, weights, strict=False):
        rows = torch.randn(ROWS[-1], weight.shape[1])
        whole, right = product(rows), functional.linear(rows, weight)
        if (whole - right).norm() > (0.03 if rounded else 1e-5) * right.norm():
            return False
        if not all(torch.equal(product(rows[:n].clone()), whole[:n]) for n in (1, 2, 3, 6, 8, 11)):
            return False
    return True


@contextlib.contextmanager
def _seeded(device: str) -> Iterator[None]:
    with torch.random.fork_rng(devices=[0] if device == "cuda" else []):
        torch.manual_seed(1)
        yield


def _spoken(tokens: list[int]) -> list[int]:
    return tokens[: tokens.index(STOP_TOKEN)] if STOP_TOKEN in tokens else tokens


def _differing(ours: Sequence[int], right: Sequence[int]) -> int:
    """How many tokens are not the same."""
    same = sum(a == b for a, b in zip(ours, right, strict=False))
    return max(len(ours), len(right)) - same


def _fingerprint(name: str, device: str, fast: bool) -> str:
    facts = [
        *(SCHEME, name, device, _processor(device), str(torch.get_num_threads())),
        *(torch.backends.cpu.get_cpu_capability(), "rounded" if fast else "exact"),
        *(_version(package) for package in ("torch", "transformers", "chatterbox-tts", "voicelab")),
    ]
    return f"{name}-{hashlib.sha256(' '.join(facts).encode()).hexdigest()[:16]}"


def _version(package: str) -> str:
    """Empty for what runs out of a folder and is not installed."""
    with contextlib.suppress(PackageNotFoundError):
        return version(package)
    return ""


def _processor(device: str) -> str:
    if device == "cuda":
        return torch.cuda.get_device_name()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(base).expanduser() / "voicelab" / "selftest"


def _read(path: Path) -> dict[str, Any]:
    try:
        known = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _write(path: Path, known: dict[str, Any]) -> None:
    with contextlib.suppress(OSError):  # tested again next time
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(known), encoding="utf-8")
