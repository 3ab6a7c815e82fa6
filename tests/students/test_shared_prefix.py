from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stillroom.students.data.encode import IGNORED
from stillroom.students.methods.cpu_passes import MOST_TOKENS, answer_loss, can_flatten, flatten

Rows = list[tuple[list[int], list[int]]]  # (prompt, answer) in tokens
CASES: dict[str, Rows] = {
    "shared prompt": [([5, 6, 7, 8], [9, 2]), ([5, 6, 7, 9], [9, 9, 9, 2]), ([5, 6, 7], [4, 2])],
    "nothing shared": [([5, 6], [9, 2]), ([7, 6, 5], [8, 2])],
    "same prompts": [([5, 6, 7], [9, 2]), ([5, 6, 7], [8, 8, 2]), ([5, 6, 7], [8, 8, 2])],
    "one row": [([5, 6, 7], [9, 2])],
    "prompt of one token": [([5], [9, 2]), ([5], [8, 2])],
}


def padded(rows: Rows) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """input_ids, labels, attention_mask: (B, T) each."""
    longest = max(len(p) + len(a) for p, a in rows)
    gaps = [longest - len(p) - len(a) for p, a in rows]
    ids = [p + a + [0] * gap for (p, a), gap in zip(rows, gaps, strict=True)]
    labels = [[IGNORED] * len(p) + a + [IGNORED] * gap for (p, a), gap in zip(rows, gaps, strict=True)]
    mask = [[1] * (longest - gap) + [0] * gap for gap in gaps]
    return torch.tensor(ids), torch.tensor(labels), torch.tensor(mask)


def plain_loss(model: Any, ids: torch.Tensor, labels: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1]
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels[:, 1:].flatten(), reduction="sum")


def gradients(model: Any, loss: torch.Tensor) -> list[torch.Tensor]:
    model.zero_grad()
    loss.backward()
    return [weight.grad.clone() for weight in model.parameters()]


@pytest.mark.parametrize("rows", CASES.values(), ids=CASES.keys())
@pytest.mark.parametrize("kind", ["Llama", "Qwen2", "Qwen3"])
def test_loss_and_gradients_are_those_of_the_padded_batch(make_model: Any, kind: str, rows: Rows) -> None:
    model = make_model(kind)
    batch = padded(rows)
    flat = flatten(*batch)
    assert flat is not None
    whole, short = plain_loss(model, *batch), answer_loss(model, flat)
    torch.testing.assert_close(short, whole)
    for ours, theirs in zip(gradients(model, short), gradients(model, whole), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


TOKENS = st.lists(st.integers(3, 6), min_size=1, max_size=5)


@settings(max_examples=25)
@given(rows=st.lists(st.tuples(TOKENS, TOKENS), min_size=1, max_size=4))
def test_the_loss_is_the_same_for_any_rows(make_model: Any, rows: Rows) -> None:
    model, batch = make_model(), padded(rows)
    flat = flatten(*batch)
    assert flat is not None
    with torch.no_grad():
        torch.testing.assert_close(answer_loss(model, flat), plain_loss(model, *batch), atol=1e-4, rtol=1e-4)


def test_the_shared_part_is_there_once_and_padding_not_at_all() -> None:
    flat = flatten(*padded(CASES["shared prompt"]))
    assert flat is not None
    # Rows of 6, 8 and 5 tokens share 3, but the third token of the last row predicts its answer: two are shared.
    assert flat.input_ids.shape == (1, 6 + 8 + 5 - 2 * 2)


def test_a_batch_too_long_to_pay_is_left_to_padding() -> None:
    rows: Rows = [([5] * (MOST_TOKENS // 2), [6, 2]), ([7] * (MOST_TOKENS // 2), [6, 2])]
    assert flatten(*padded(rows)) is None


@pytest.mark.parametrize(
    ("kind", "changes", "fits"),
    [
        ("Llama", {}, True),
        ("Qwen3", {}, True),
        ("Gemma2", {}, False),
        ("Qwen2", {"use_sliding_window": True, "sliding_window": 8, "max_window_layers": 0}, False),
        ("Llama", {"attn_implementation": "eager"}, False),
    ],
)
def test_only_models_known_to_fit_are_flattened(
    make_model: Any, kind: str, changes: dict[str, Any], fits: bool
) -> None:
    assert can_flatten(make_model(kind, **changes).config) is fits
