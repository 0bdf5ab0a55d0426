"""Which warnings fail a test."""

from __future__ import annotations

import warnings

import pytest


def announce(message: str, module: str, category: type[Warning] = FutureWarning) -> None:
    warnings.warn_explicit(message, category, f"{module}.py", 1, module=module)


@pytest.mark.parametrize(
    ("message", "module"),
    [
        ("this is done otherwise now", "voicelab.engines.chatterbox.flow"),
        ("this is done otherwise now", "tests.house.test_warnings"),
        ("this is done otherwise now", "tiny_chatterbox"),
        ("`TopPLogitsWarper` will be removed", "transformers.utils"),
        ("torch.stft without an argument is deprecated", "torch.functional"),
        ("scaled_dot_product_attention() takes no mask\nfrom 3.0 on", "torch.nn"),
    ],
)
def test_what_concerns_our_calls_is_an_error(message: str, module: str) -> None:
    with pytest.raises(FutureWarning):
        announce(message, module)


@pytest.mark.parametrize(
    ("message", "module"),
    [
        ("`past_key_values` is deprecated", "transformers.utils"),
        ("some text about that which is no name of anything", "gradio.blocks"),
        ("this is done otherwise now", "voicelabel"),
    ],
)
def test_what_others_have_to_mend_is_none(message: str, module: str) -> None:
    with pytest.warns(FutureWarning, match=message[:10]):
        announce(message, module)


def test_a_thread_that_dies_is_an_error() -> None:
    with pytest.raises(pytest.PytestUnhandledThreadExceptionWarning):
        announce("a thread died", "_pytest.python", pytest.PytestUnhandledThreadExceptionWarning)
