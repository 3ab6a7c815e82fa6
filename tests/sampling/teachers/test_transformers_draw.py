"""Draws follow the model's distribution and each row's own settings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stillroom.common.records import SamplingParams
from stillroom.sampling.teachers.transformers import engine as module
from stillroom.sampling.teachers.transformers.engine import draw

torch = pytest.importorskip("torch")

GRID = 2000
EVEN = [(number + 0.5) / GRID for number in range(GRID)]  # uniform numbers without chance


def logits(size: int, seed: int = 0) -> Any:
    return torch.randn(size, generator=torch.Generator().manual_seed(seed)) * 2


def shares(row: Any, params: SamplingParams) -> Any:
    """How often each token is drawn over evenly spaced uniform numbers."""
    tokens = draw(row.repeat(GRID, 1), [params] * GRID, EVEN).tokens
    return np.bincount(tokens, minlength=len(row)) / GRID


def expected(row: Any, params: SamplingParams) -> Any:
    """The distribution by its definition, one token after another."""
    weights = np.exp(row.double().numpy() / params.temperature)
    weights /= weights.sum()
    order = sorted(range(len(weights)), key=lambda token: -weights[token])
    kept = order[: params.top_k] if params.top_k else order
    mass = sum(weights[token] for token in kept)
    before, nucleus = 0.0, []
    for token in kept:
        if before < params.top_p * mass:
            nucleus.append(token)
        before += weights[token]
    final = [token for token in nucleus if weights[token] >= (params.min_p or 0) * weights[order[0]]]
    result = np.zeros(len(weights))
    result[final] = weights[final] / weights[final].sum()
    return result


@pytest.mark.parametrize("size", [7, 256, 1000])
@pytest.mark.parametrize(
    "params",
    [
        SamplingParams(),
        SamplingParams(temperature=0.6),
        SamplingParams(top_k=5),
        SamplingParams(top_p=0.7),
        SamplingParams(min_p=0.2),
        SamplingParams(temperature=1.5, top_p=0.9, top_k=20, min_p=0.05),
    ],
)
def test_shares_are_the_probabilities(size: int, params: SamplingParams) -> None:
    row = logits(size)
    assert np.abs(shares(row, params) - expected(row, params)).max() < 2 / GRID


@pytest.mark.parametrize(
    "params", [SamplingParams(top_p=0.999), SamplingParams(top_k=30), SamplingParams(min_p=0.01)]
)
def test_a_cut_wider_than_the_candidates_is_still_exact(
    monkeypatch: pytest.MonkeyPatch, params: SamplingParams
) -> None:
    row = logits(200)
    whole = shares(row, params)
    monkeypatch.setattr(module, "CANDIDATES", 10)
    assert np.array_equal(shares(row, params), whole)


def test_temperature_zero_takes_the_most_likely() -> None:
    rows = torch.stack([logits(50, seed) for seed in range(4)])
    tokens = draw(rows, [SamplingParams(temperature=0)] * 4, [0.0, 0.3, 0.6, 0.999]).tokens
    assert tokens == rows.argmax(-1).tolist()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1, exclude_max=True), min_size=4, max_size=4), st.permutations(range(4)))
def test_a_row_draws_the_same_in_any_company(uniforms: list[float], order: list[int]) -> None:
    rows = torch.stack([logits(300, seed) for seed in range(4)])
    params = [
        SamplingParams(temperature=0),
        SamplingParams(temperature=0.8),
        SamplingParams(top_p=0.9),
        SamplingParams(top_k=3, min_p=0.1),
    ]
    alone = [draw(rows[[k]], [params[k]], [uniforms[k]]).tokens[0] for k in range(4)]
    mixed = draw(rows[order], [params[k] for k in order], [uniforms[k] for k in order]).tokens
    assert mixed == [alone[k] for k in order]


@pytest.mark.parametrize("uniform", [0.0, 0.5, 1 - 1e-16, 1.0])
def test_an_impossible_token_is_never_drawn(uniform: float) -> None:
    row = torch.full((600,), -1e30)
    row[[3, 300]] = 0.0
    for params in (SamplingParams(), SamplingParams(top_p=0.99)):
        assert draw(row[None], [params], [uniform]).tokens[0] in (3, 300)


def test_logprobs_are_before_temperature_and_only_if_asked() -> None:
    rows = torch.stack([logits(40, 1), logits(40, 2)])
    params = [SamplingParams(temperature=0.3, logprobs=True), SamplingParams(temperature=0)]
    drawn = draw(rows.clone(), params, [0.4, 0.4])
    assert drawn.logprobs is not None
    wanted = [float(rows[k].log_softmax(-1)[drawn.tokens[k]]) for k in range(2)]
    assert np.allclose(drawn.logprobs, wanted, atol=1e-5)
    assert draw(rows, params[1:] * 2, [0.1, 0.2]).logprobs is None


def test_the_most_likely_tokens_are_before_temperature_and_cuts_and_of_the_rows_that_asked() -> None:
    rows = torch.stack([logits(40, seed) for seed in range(3)])
    params = [
        SamplingParams(temperature=0.3, top_k=1, top_logprobs=20),
        SamplingParams(logprobs=True),
        SamplingParams(temperature=0, top_logprobs=2),
    ]
    drawn = draw(rows.clone(), params, [0.4] * 3)
    assert drawn.logprobs is not None
    assert list(drawn.tops) == [0, 2]
    for row, count in ((0, 20), (2, 2)):
        best = rows[row].log_softmax(-1).topk(count)
        assert [likely.token for likely in drawn.tops[row]] == best.indices.tolist()
        assert np.allclose([likely.logprob for likely in drawn.tops[row]], best.values, atol=1e-5)
    assert drawn.tops[2][0] == (drawn.tokens[2], drawn.logprobs[2])


def test_a_small_vocabulary_has_no_more_likely_tokens_than_tokens() -> None:
    drawn = draw(logits(7)[None], [SamplingParams(top_logprobs=20)], [0.4])
    assert len(drawn.tops[0]) == 7
    assert sum(np.exp(likely.logprob) for likely in drawn.tops[0]) == pytest.approx(1)
