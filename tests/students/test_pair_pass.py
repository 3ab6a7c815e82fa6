from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from stillroom.students.data.encode import IGNORED
from stillroom.students.methods import cpu_passes as pair_pass
from stillroom.students.methods.cpu_passes import lay_out, pair_logprobs

Lengths = list[tuple[int, int, int]]  # of prompt, chosen, rejected


def padded(lengths: Lengths, seed: int = 0) -> tuple[Any, Any, Any]:
    """Random pairs in trl's layout: chosen rows, then rejected rows, padded on the right with token 0."""
    random = torch.Generator().manual_seed(seed)
    rows = [torch.randint(3, 260, (p + c + r,), generator=random).tolist() for p, c, r in lengths]
    sides = [(row[: p + c], p) for row, (p, c, _) in zip(rows, lengths, strict=True)]
    sides += [(row[:p] + row[p + c :], p) for row, (p, c, _) in zip(rows, lengths, strict=True)]
    width = max(len(ids) for ids, _ in sides)
    ids = torch.tensor([ids + [0] * (width - len(ids)) for ids, _ in sides])
    mask = torch.tensor([[1] * len(ids) + [0] * (width - len(ids)) for ids, _ in sides])
    answers = torch.tensor([[0] * p + [1] * (len(ids) - p) + [0] * (width - len(ids)) for ids, p in sides])
    return ids, mask, ids.masked_fill(answers == 0, IGNORED)


def plainly(model: Any, ids: Any, mask: Any, labels: Any) -> Any:
    """The same from the model's own forward pass over the padded batch."""
    logits = model(input_ids=ids, attention_mask=mask).logits[:, :-1]
    return -torch.nn.functional.cross_entropy(
        logits.transpose(1, 2), labels[:, 1:], ignore_index=IGNORED, reduction="none"
    )


@pytest.fixture(scope="module")
def model(make_model: Callable[..., Any]) -> Any:
    return make_model().eval()


@pytest.mark.parametrize("family", ["Llama", "Qwen2", "Qwen3"])
@pytest.mark.parametrize("lengths", [[(5, 3, 4)], [(5, 3, 4), (2, 9, 1), (7, 1, 6)], [(1, 1, 1), (1, 2, 1)]])
def test_the_pass_gives_the_log_probabilities_of_the_padded_batch(
    family: str, lengths: Lengths, make_model: Callable[..., Any]
) -> None:
    model, batch = make_model(family).eval(), padded(lengths)
    assert torch.allclose(pair_logprobs(model, *batch), plainly(model, *batch), atol=1e-5)


@given(lengths=st.lists(st.tuples(st.integers(1, 8), st.integers(1, 8), st.integers(1, 8)), min_size=1, max_size=4))
@settings(max_examples=25)
def test_whatever_the_lengths(lengths: Lengths, model: Any) -> None:
    batch = padded(lengths)
    assert torch.allclose(pair_logprobs(model, *batch), plainly(model, *batch), atol=1e-5)


def test_the_gradients_are_those_of_the_padded_batch(make_model: Callable[..., Any]) -> None:
    batch = padded([(5, 3, 4), (2, 9, 1)])
    found = []
    for scored in (pair_logprobs, plainly):
        model = make_model().eval()
        (scored(model, *batch) * torch.tensor([[1.0], [1.0], [-1.0], [-1.0]])).sum().backward()
        found.append({name: weight.grad for name, weight in model.named_parameters()})
    assert all(torch.allclose(found[0][name], found[1][name], atol=1e-4) for name in found[0])


def test_many_places_are_scored_in_parts(model: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = padded([(5, 3, 4), (2, 9, 1)])
    whole = pair_logprobs(model, *batch)
    monkeypatch.setattr(pair_pass, "MOST_LOGITS", 260 * 4)
    assert torch.allclose(pair_logprobs(model, *batch), whole, atol=1e-6)


def test_a_pair_is_one_row_and_its_prompt_stands_once() -> None:
    ids, mask, labels = padded([(3, 2, 2)])
    laid, wanted = lay_out(ids, mask, labels)
    assert laid.input_ids.tolist() == [ids[0].tolist() + ids[1, 3:].tolist()]
    assert laid.position_ids.tolist() == [[0, 1, 2, 3, 4, 3, 4]]
    sees = laid.attention_mask[0, 0]
    assert sees[5].tolist() == [True, True, True, False, False, True, False]
    assert sees[4].tolist() == [True, True, True, True, True, False, False]
    assert wanted.place.tolist() == [2, 3, 2, 5]  # the prompt's last token predicts the first of both answers
