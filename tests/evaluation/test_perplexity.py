from __future__ import annotations

from collections.abc import Callable
from math import exp, log
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillroom.errors import InputError, TrainingError
from stillroom.evaluation.forgetting import Perplexity, TextLoss, of_losses, text_losses, windows

SMOLLM = "embedded:smollm2-135m-instruct"


def perplexity(model: str, texts: list[str], **how: Any) -> Perplexity:
    losses = [loss for _, loss in text_losses(model, dict(enumerate(texts)), **how)]
    read = [loss for loss in losses if loss.tokens]
    return of_losses(read, left_out=len(losses) - len(read), seed=1)


def test_tokens_weigh_the_same_in_whatever_text() -> None:
    found = of_losses([TextLoss(10 * log(2), 10, 40), TextLoss(30 * log(8), 30, 60)], seed=1)
    assert found.perplexity.value == pytest.approx(exp((10 * log(2) + 30 * log(8)) / 40))
    assert found.bits_per_byte.value == pytest.approx((10 + 90) / 100)
    assert (found.perplexity.low, found.perplexity.high) == pytest.approx((2, 8))
    assert (found.tokens, found.perplexity.n) == (40, 2)


def test_rows_of_the_evaluation() -> None:
    found = of_losses([TextLoss(1.0, 2, 3)] * 4, left_out=2, seed=1)
    rows = found.results("student_after")
    assert [(row.who, row.metric, row.n) for row in rows] == [
        ("student_after", "perplexity", 4),
        ("student_after", "bits_per_byte", 4),
    ]
    assert rows[0].model_extra == {"tokens": 8, "left_out": 2}


@given(st.permutations([TextLoss(float(i), i + 1, 3 * i + 2) for i in range(6)]))
def test_the_order_of_texts_does_not_matter(losses: list[TextLoss]) -> None:
    assert of_losses(losses, seed=1) == of_losses(sorted(losses), seed=1)


def test_a_model_that_fell_apart_has_a_number_all_the_same() -> None:
    """Of which the guard says what it means."""
    found = of_losses([TextLoss(7200.0, 10, 40), TextLoss(7300.0, 10, 40)], seed=1).perplexity
    assert found.low == found.value == found.high == exp(700)


def test_no_text_is_refused() -> None:
    with pytest.raises(InputError, match="none of 3 texts has two tokens"):
        of_losses([], left_out=3, seed=1)


@given(st.integers(2, 300), st.integers(2, 40))
def test_windows_predict_every_token_once_and_with_half_a_window_before_it(length: int, window: int) -> None:
    predicted: list[int] = []
    for start, end, new in windows(length, window):
        assert 0 < new < end - start <= window
        assert start == 0 or end - new - start >= window // 2
        predicted += range(end - new, end)
    assert predicted == list(range(1, length))


def test_a_tiny_model_by_hand(tiny: Path, tokenizer: Any, make_model: Callable[..., Any]) -> None:
    import torch

    texts = ["hello there", "2 + 2 = 4", "x", ""]
    found = perplexity(str(tiny), texts, dtype="float32")
    nats, tokens = 0.0, 0
    for text in texts[:2]:
        ids = tokenizer(text, return_tensors="pt").input_ids
        with torch.inference_mode():
            logp = make_model().eval()(ids).logits.log_softmax(-1)
        nats -= sum(float(logp[0, i - 1, ids[0, i]]) for i in range(1, ids.shape[1]))
        tokens += ids.shape[1] - 1
    assert found.perplexity.value == pytest.approx(exp(nats / tokens), rel=1e-4)
    assert found.bits_per_byte.value == pytest.approx(nats / log(2) / (10 + 8), rel=1e-4)  # a byte tokenizer
    assert (found.tokens, found.left_out, found.perplexity.n) == (tokens, 2, 2)


def test_windows_of_a_model_leave_out_no_token(tiny: Path) -> None:
    whole = perplexity(str(tiny), ["abcdefghij" * 4], dtype="float32")
    parts = perplexity(str(tiny), ["abcdefghij" * 4], window=8, dtype="float32")
    assert parts.tokens == whole.tokens == 39
    assert parts.perplexity.value != whole.perplexity.value


def test_a_text_longer_than_the_context_is_read(tiny: Path) -> None:
    assert perplexity(str(tiny), ["a" * 600]).tokens == 599  # the context is 256


def test_a_model_that_gives_no_numbers_is_refused(
    tmp_path: Path, tokenizer: Any, make_model: Callable[..., Any]
) -> None:
    import torch

    model = make_model()
    with torch.no_grad():
        model.lm_head.weight.fill_(float("nan"))
    model.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(TrainingError, match="not numbers, for the text 0"):
        perplexity(str(tmp_path), ["hello", ""])


def test_a_window_of_one_token_is_refused(tiny: Path) -> None:
    with pytest.raises(InputError, match="window is 1"):
        perplexity(str(tiny), ["hello"], window=1)


@pytest.mark.slow
def test_a_real_model_finds_sentences_likelier_than_their_words_in_disorder() -> None:
    sentences = [
        "The cat sat on the mat and looked out of the window at the rain.",
        "Water boils at one hundred degrees, and freezes at zero.",
        "She opened the letter, read it twice, and put it back into the drawer.",
    ]
    disorder = [" ".join(sorted(text.split())) for text in sentences]
    plain, mixed = perplexity(SMOLLM, sentences), perplexity(SMOLLM, disorder)
    assert 5 < plain.perplexity.value < 60
    assert plain.bits_per_byte.value < 1.6
    assert mixed.perplexity.low > plain.perplexity.high
