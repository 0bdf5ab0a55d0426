"""The matrix products of decoding: right, the same in any company, and chosen by rows."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from unittest import mock

import pytest
import torch
from torch import Tensor

from tiny_chatterbox import tiny_engine
from voicelab.engines.chatterbox import assembly, selftest
from voicelab.engines.chatterbox.linear import FAST_KERNELS, KERNELS, Kernel, plain

pytestmark = pytest.mark.cpu

LAYER = ((96, 64), (64, 96))


def lacking(weight: Tensor, bias: Tensor | None) -> object:
    raise AttributeError("no such operator")


@pytest.mark.parametrize("name", [*KERNELS, *FAST_KERNELS])
def test_a_product_that_is_offered_is_near_to_torchs_with_its_bias(name: str) -> None:
    kernel = {**KERNELS, **FAST_KERNELS}[name]
    if name not in selftest.timings(LAYER, {name: kernel}):
        return  # not right, or not there, on this processor
    weight, bias, rows = torch.randn(96, 64), torch.randn(96), torch.randn(37, 64)
    product, right = kernel(weight, bias), plain(weight, bias)(rows)
    assert (product(rows) - right).norm() < (1e-5 if name in KERNELS else 0.03) * right.norm()
    # GPT-2's weights come the other way round.
    assert torch.equal(kernel(weight.t().contiguous().t(), bias)(rows), product(rows))
    assert all(torch.equal(product(rows[:n].clone()), product(rows)[:n]) for n in (1, 3, 5, 16))


def test_a_product_whose_rows_hear_their_company_is_not_offered() -> None:
    def loud(weight: Tensor, bias: Tensor | None) -> object:
        return lambda x: plain(weight, bias)(x) * (1 + 1e-6 * len(x))

    found = selftest.timings(LAYER, {"loud": loud, "lacking": lacking, "transposed": plain})  # type: ignore[dict-item]
    assert not found.keys() & {"loud", "lacking"}


@pytest.mark.parametrize(
    ("first", "name"), [(1, "early"), (2, "late")], ids=["one row a sentence", "two"]
)
def test_the_choice_is_for_the_first_sentence_and_a_full_batch(first: int, name: str) -> None:
    found = {"early": [1.0, 6.0, 6.0, 6.0, 6.0], "late": [9.0, 3.0, 3.0, 3.0, 3.0]}
    assert selftest.best(found, first) == name
    assert selftest.best({}, first) == "plain"


@pytest.mark.parametrize("name", ["chatterbox", "chatterbox-turbo"])
def test_fast_decodes_with_rounded_weights_and_exact_does_not(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    asked: list[Mapping[str, Kernel]] = []

    def timings(layer: object, kernels: Mapping[str, Kernel]) -> dict[str, list[float]]:
        asked.append(kernels)
        return {kernel: [9.0 - number] * 5 for number, kernel in enumerate(kernels)}

    monkeypatch.setattr(selftest, "timings", timings)
    monkeypatch.setattr(selftest, "FAST_KERNELS", {"rounded": plain})
    monkeypatch.setattr(assembly, "FAST_KERNELS", {"rounded": plain})
    for mode in ("exact", "fast"):
        engine = tiny_engine(name, tmp_path / name, mode=mode)
        kernel = engine.versions()["kernel"]
        engine.close()
        assert (kernel == "rounded") == (mode == "fast")
    assert asked == [KERNELS, {**KERNELS, "rounded": plain}]


def test_a_torch_without_rounded_products_is_one_sentence_in_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with mock.patch.object(selftest, "FAST_KERNELS", {"float16": lacking, "int8": lacking}):
        engine = tiny_engine("chatterbox-turbo", tmp_path / "turbo", mode="fast")
    assert engine.versions()["kernel"] in {*KERNELS, "plain"}
    warnings = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert warnings == ["this torch has no products with rounded weights: decoding stays float32"]
    engine.close()


def test_rounded_weights_that_draw_other_tokens_give_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def wrong(weight: Tensor, bias: Tensor | None) -> object:
        return plain(-weight, bias)

    monkeypatch.setattr(selftest, "FAST_KERNELS", {"wrong": wrong})
    monkeypatch.setattr(assembly, "FAST_KERNELS", {"wrong": wrong})
    engine = tiny_engine("chatterbox", tmp_path / "english", mode="fast", kernel="wrong")
    assert engine.versions()["kernel"] in {*KERNELS, "plain"}
    assert engine.versions()["mode"] == "fast" and "it stays float32" in caplog.text
    engine.close()
