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
import os
import platform
import statistics
import time
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from voicelab.engines.base import Utterance, Voice
from voicelab.engines.chatterbox.decoding import Decoder
from voicelab.engines.chatterbox.linear import KERNELS, Kernel
from voicelab.engines.chatterbox.rules import without_unwanted_check
from voicelab.engines.chatterbox.sentence import STOP_TOKEN, Sentence
from voicelab.engines.chatterbox.suppression import suppressed_progress
from voicelab.engines.chatterbox.tokens import text_token_ids

__all__ = ["SelfTest", "timings"]

log = logging.getLogger(__name__)

TOKENS = 20
SHAPE = (4096, 1024)
"""The largest products of the models."""
ROWS = (2, 16)
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
    """

    def __init__(self, name: str, model: Any, device: str):
        self._model = model
        self._device = device
        self._path = _cache() / f"{_fingerprint(name, device)}.json"
        self._known = _read(self._path)
        self._right: list[int] | None = None
        self._right_for = ""

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
        try:
            ours = self._ours(decoder)
        except RuntimeError:
            log.warning("our decoding does not work here", exc_info=True)
            return False
        if ours != self._right:
            log.warning("tokens differ: upstream %s, ours %s", self._right, ours)
            return False
        known = {"kernel": name, "agrees": [*self._known.get("agrees", ()), name]}
        _write(self._path, known)
        return True

    def _fastest(self) -> str:
        found = timings()
        log.info("matrix products, ms: %s", found)
        return min(found, key=lambda name: sum(found[name]), default="plain")

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

    def _ours(self, decoder: Decoder) -> list[int]:
        with torch.inference_mode():
            generator = torch.Generator(device=self._model.t3.device).manual_seed(1)
            row = decoder.begin(
                Sentence(self._text(), None, self._conditioning(), PARAMETERS, generator)
            )
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


def timings() -> dict[str, list[float]]:
    """Kernel -> milliseconds for 4 million weights with 2 rows and with 16.

    Those alone that are right here: equal to torch's, and a row's to the bit in any company.
    """
    weights = [torch.randn(SHAPE) for _ in range(6)]
    found = {}
    for name, kernel in KERNELS.items():
        try:
            if _is_right(kernel):
                found[name] = [_timed_ms(kernel, weights, rows) for rows in ROWS]
        except (RuntimeError, AttributeError, NotImplementedError):
            log.info("matrix products of %s do not work here", name, exc_info=True)
    return found


def _is_right(kernel: Kernel) -> bool:
    """Equal to torch's to rounding; and to the bit for a row in any company."""
    weight, rows = torch.randn(96, 64), torch.randn(16, 64)
    product = kernel(weight, None)
    whole = product(rows)
    if not torch.allclose(whole, functional.linear(rows, weight), atol=1e-3):
        return False
    return all(torch.equal(product(rows[:count]), whole[:count]) for count in (1, 2, 6))


def _timed_ms(kernel: Kernel, weights: list[Tensor], rows: int) -> float:
    """Over so many weights that none is left in a cache of the processor."""
    products = [kernel(weight, None) for weight in weights]
    x = torch.randn(rows, SHAPE[1])
    spent = []
    for _ in range(5):
        began = time.perf_counter()
        for product in products:
            product(x)
        spent.append(time.perf_counter() - began)
    return round(1e3 * statistics.median(spent[1:]) / len(products), 3)


@contextlib.contextmanager
def _seeded(device: str) -> Iterator[None]:
    with torch.random.fork_rng(devices=[0] if device == "cuda" else []):
        torch.manual_seed(1)
        yield


def _spoken(tokens: list[int]) -> list[int]:
    return tokens[: tokens.index(STOP_TOKEN)] if STOP_TOKEN in tokens else tokens


def _fingerprint(name: str, device: str) -> str:
    facts = [
        *(name, device, _processor(device), str(torch.get_num_threads())),
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
