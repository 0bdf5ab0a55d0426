"""Builds the pipeline of an engine: load the weights, run the self-test, pack them."""

from __future__ import annotations

import logging
import threading
from pathlib import Path
from typing import Any

import torch

from voicelab.engines.base import EngineInfo, LoadProgress
from voicelab.engines.chatterbox.decoding import Decoder
from voicelab.engines.chatterbox.fallback import UpstreamSpeech
from voicelab.engines.chatterbox.info import Mode
from voicelab.engines.chatterbox.linear import FAST_KERNELS, KERNELS, plain
from voicelab.engines.chatterbox.pipeline import Pipeline, PipelineParts
from voicelab.engines.chatterbox.selftest import SelfTest
from voicelab.engines.chatterbox.state_loading import owned
from voicelab.engines.chatterbox.synthesis import RUN, Synthesis
from voicelab.engines.chatterbox.upstream import load_model
from voicelab.engines.chatterbox.voices import Voices

__all__ = ["build_speaker"]

log = logging.getLogger(__name__)

REFUSED = (
    " does not agree with upstream's here; upstream's own generate speaks, sentence by sentence"
)
ROUNDED = " does not agree with upstream's with rounded weights: it stays float32"
GPU_SENTENCES = 16
SENTENCE_BYTES = 1 << 30
"""Keys of a long sentence in the English model, twice: while their room grows there are two."""


def build_speaker(
    info: EngineInfo,
    checkpoint: str,
    *,
    device: str,
    checkpoint_dir: Path | None,
    threads: int | None,
    mode: Mode,
    kernel: str,
    lock: threading.Lock,
    progress: LoadProgress,
) -> tuple[Pipeline | UpstreamSpeech, str]:
    """The pipeline, or upstream's own loop, and the device it runs on.

    Raises:
        EngineUnavailable: see `load_model`.
    """

    def load() -> tuple[Any, str]:
        model, chosen = load_model(
            checkpoint,
            device=device,
            checkpoint_dir=checkpoint_dir,
            threads=threads,
            progress=progress,
        )
        model.t3.text_head = None  # of training alone; 206 MB in Turbo
        owned(model.ve)
        owned(model.s3gen)
        owned(model.t3, "tfmr.")  # packed layer by layer, or spoken with as it is
        return model, chosen

    model, chosen = load()
    attempts = (False,) if mode == "exact" else (True, False)
    for rounded in attempts if kernel != "upstream" else ():
        progress(0.8, "choosing kernels")
        test = SelfTest(checkpoint, model, chosen, fast=rounded)
        name = test.kernel(kernel if rounded == attempts[0] else "auto")
        progress(0.9, "packing weights")
        size = default_batch_size(info, chosen)
        lockstep = is_gpu(chosen)
        products = {**KERNELS, **FAST_KERNELS}.get(name, plain)
        decoder = Decoder(model.t3, products, size if lockstep else 0)
        if test.matches_upstream(decoder, name):
            synthesis = Synthesis(model.s3gen, mode=mode, batch_size=RUN if lockstep else 1)
            batch_synthesis = lockstep or mode != "exact"
            parts = PipelineParts(model, Voices(model), decoder, synthesis, size, batch_synthesis)
            return Pipeline(parts, name, lock), chosen
        log.warning("%s: our decoding%s", info.label, ROUNDED if rounded else REFUSED)
        del model, decoder, test
        model, chosen = load()
    owned(model.t3.tfmr)
    return UpstreamSpeech(model, Voices(model), lock), chosen


def is_gpu(device: str) -> bool:
    """Whether starting a kernel costs more than most of them take."""
    return device == "cuda"


def default_batch_size(info: EngineInfo, device: str) -> int:
    """How many sentences are decoded at once on a device."""
    if not is_gpu(device):
        return info.batch_size
    free_bytes, _ = torch.cuda.mem_get_info()
    return max(1, min(GPU_SENTENCES, free_bytes // SENTENCE_BYTES))
