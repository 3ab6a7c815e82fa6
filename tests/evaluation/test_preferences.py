from __future__ import annotations

from collections.abc import Callable
from math import inf, log
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stillroom.common.stats.intervals import wilson
from stillroom.errors import InputError
from stillroom.evaluation.implicit_rewards import (
    ScoredPair,
    answer_logprobs,
    implicit_rewards,
    measure_pairs,
    share_above,
)
from stillroom.students.data.encode import encode_pairs
from stillroom.students.data.rows import read_pairs


def scored(
    chosen: float, rejected: float, base: tuple[float, float] = (-10, -10), tokens: Any = (2, 4)
) -> ScoredPair:
    return ScoredPair("row", chosen, rejected, *base, *tokens)


def test_measures_by_hand() -> None:
    pairs = [
        scored(-8, -12, (-10, -9), (2, 4)),  # log-ratios +2 and −3: margin .5·5; per token .5·(1 + .75)
        scored(-10, -8, (-6, -9), (5, 1)),  # −4 and +1: −.5·5; per token .5·(−.8 − 1)
        scored(-9, -9, (-10, -13), (3, 3)),  # +1 and +4: −.5·3; per token .5·(1/3 − 4/3)
    ]
    found = measure_pairs(pairs, beta=0.5)
    assert found.accuracy == wilson(1, 3)
    assert found.margin.value == pytest.approx((2.5 - 2.5 - 1.5) / 3)
    assert found.accuracy_per_token == wilson(1, 3)
    assert found.margin_per_token.value == pytest.approx((0.875 - 0.9 - 0.5) / 3)
    assert found.base_likelier == wilson(2, 3)  # −10 > −9? no; −6 > −9; −10 > −13
    assert found.base_likelier_per_token.value == pytest.approx(2 / 3)  # −5 > −2.25? no; −1.2 > −9; −3.3 > −4.3
    assert found.shorter_chosen.value == pytest.approx(1.5 / 3)  # 2 < 4, 5 > 1, a tie
    assert found.ties == 0


def test_length_alone_is_not_taken_for_preference() -> None:
    """A model that finds every token likelier than its base did prefers the longer answer, per token neither."""
    found = measure_pairs([scored(-10 + 0.5 * 6, -10 + 0.5 * 2, tokens=(6, 2))] * 9, beta=1)
    assert found.accuracy.value == 1
    assert (found.accuracy_per_token.value, found.margin_per_token.value) == (0.5, 0)
    assert found.shorter_chosen.value == 0


@pytest.mark.parametrize(
    ("differences", "value", "low", "high"),
    [
        ([1, 1, -1, -1], 0.5, wilson(2, 4).low, wilson(2, 4).high),
        ([0, 0, 0, 0], 0.5, wilson(2, 4).low, wilson(2, 4).high),
        ([1, 0, -1], 0.5, wilson(1, 3).low, wilson(2, 3).high),
        ([5], 1.0, wilson(1, 1).low, 1.0),
    ],
)
def test_ties_count_half(differences: list[float], value: float, low: float, high: float) -> None:
    assert share_above(differences) == (value, low, high, len(differences))


@given(st.lists(st.tuples(*[st.floats(-100, 0)] * 4, st.integers(1, 50), st.integers(1, 50)), min_size=1))
def test_swapping_the_answers_mirrors_every_share(pairs: list[Any]) -> None:
    given = [ScoredPair("row", *pair) for pair in pairs]
    swapped = [ScoredPair("row", r, c, br, bc, rt, ct) for _, c, r, bc, br, ct, rt in given]
    one, other = measure_pairs(given, 0.1), measure_pairs(swapped, 0.1)
    for name in ("accuracy", "accuracy_per_token", "base_likelier", "base_likelier_per_token", "shorter_chosen"):
        assert getattr(one, name).value == pytest.approx(1 - getattr(other, name).value)
        assert getattr(one, name).low == pytest.approx(1 - getattr(other, name).high)


@pytest.mark.parametrize(("pairs", "beta"), [([], 0.1), ([scored(1, 1)], 0.0)])
def test_nothing_to_measure(pairs: list[ScoredPair], beta: float) -> None:
    with pytest.raises(ValueError, match="at least one pair"):
        measure_pairs(pairs, beta)


def test_the_untrained_student_ties_with_its_base_everywhere(pair: Any, tiny: Path) -> None:
    pairs = [pair(f"{a}?", "yes " * a, "no") for a in range(1, 7)]
    found = implicit_rewards(tiny, str(tiny), pairs)
    assert found.ties == 6
    assert (found.accuracy.value, found.margin) == (0.5, (0, 0, 0, 6))
    assert found.shorter_chosen.value == 0
    assert found.base_likelier != found.accuracy


def test_what_stands_in_the_evaluation_has_its_controls(pair: Any, tiny: Path) -> None:
    rows = implicit_rewards(tiny, str(tiny), [pair("a?", "yes", "no")]).results()
    assert {(row.who, row.metric) for row in rows} >= {
        ("student_after", "implicit_reward_accuracy"),
        ("student_before", "likelihood_accuracy"),
        ("shorter_wins", "pair_accuracy"),
    }
    assert all(row.low <= row.value <= row.high for row in rows)


def test_long_pairs_are_left_out_and_counted(pair: Any, tiny: Path) -> None:
    found = implicit_rewards(tiny, str(tiny), [pair("a?", "yes", "no"), pair("b?", "yes", "x" * 90)], max_length=80)
    assert found.accuracy.n == 1
    assert [left.reason for left in found.left_out] == ["too_long"]


def test_the_system_prompt_is_measured_with(pair: Any, tiny: Path, make_model: Any, tokenizer: Any) -> None:
    encoded = encode_pairs(read_pairs([pair("a?", "yes", "no")]), tokenizer, 256)
    told = [
        pair("a?", "yes", "no")
        | {"prompt": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "a?"}]}
    ]
    plain = answer_logprobs(make_model().eval(), encoded.rows, "cpu")
    own = answer_logprobs(make_model().eval(), encode_pairs(read_pairs(told), tokenizer, 256).rows, "cpu")
    assert not torch.allclose(plain, own)
    given = [implicit_rewards(tiny, str(tiny), rows, system=system).base_likelier
             for rows, system in ((told, None), ([pair("a?", "yes", "no")], "Be brief."))]  # fmt: skip
    assert given[0] == given[1]


@pytest.mark.parametrize("family", ["Llama", "Gemma"])
def test_log_probabilities_are_those_of_each_answer_alone(
    family: str, pair: Any, make_model: Callable[..., Any], tokenizer: Any
) -> None:
    model = make_model(family).eval()
    encoded = encode_pairs(read_pairs([pair("a?", "yes", "no, no"), pair("what?", "well", "x")]), tokenizer, 256)
    with torch.no_grad():
        found = answer_logprobs(model, encoded.rows, "cpu").tolist()
        sides = [row.side("chosen") for row in encoded.rows] + [row.side("rejected") for row in encoded.rows]
        for side, value in zip(sides, found, strict=True):
            scores = model(input_ids=torch.tensor([side.input_ids])).logits[0].log_softmax(-1)
            wanted = sum(scores[i - 1, t].item() for i, t in enumerate(side.labels) if t >= 0)
            assert value == pytest.approx(wanted, abs=1e-3)
            assert -inf < value < -log(2)


def test_pairs_that_are_none(tiny: Path) -> None:
    with pytest.raises(InputError, match="no pair"):
        implicit_rewards(tiny, str(tiny), [])
