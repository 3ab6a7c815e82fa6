"""Settings: what does not fit together is refused, and a recipe with every default spelled out is read again."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from stillroom.preferences.settings import AuditSettings, PairSettings


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"strategy": "worst_best"}, "strategy"),
        ({"strategy": "margin"}, "margin is the least gap"),
        ({"margin": 1.0}, "margin is the least gap"),
        ({"strategy": "margin", "margin": 0}, "margin"),
        ({"quantile": 0.9}, "quantile is for the strategy margin_quantile, not for best_worst"),
        ({"strategy": "margin_quantile", "quantile": 1.0}, "quantile"),
        ({"on_policy": "one"}, "on_policy is for the strategy on_policy"),
        ({"strategy": "tournament", "length": "residual"}, "a tournament gives no scores"),
        ({"max_ratio": 0.9}, "max_ratio"),
        ({"per_task": 0}, "per_task"),
        ({"test": -1}, "test"),
        ({"test": 1.5}, "test"),
        ({"test": True}, "test"),
        ({"strategie": "margin"}, "strategie"),
    ],
)
def test_what_does_not_fit_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        PairSettings.model_validate(given)


@pytest.mark.parametrize(
    "given",
    [{}, {"strategy": "margin", "margin": 2}, {"strategy": "margin_quantile", "quantile": 0.9}, {"test": 0.1}],
)
def test_settings_with_all_defaults_spelled_out_are_the_same(given: dict[str, Any]) -> None:
    found = PairSettings.model_validate(given)
    assert PairSettings.model_validate(found.model_dump(mode="json")) == found


@pytest.mark.parametrize(("given", "kind"), [(40, int), (0.25, float), (0, int)])
def test_a_number_and_a_share_stay_what_they_are(given: float, kind: type) -> None:
    assert type(PairSettings.model_validate({"test": given}).test) is kind


@pytest.mark.parametrize("given", [{"judge_ties": 1.5}, {"longer_chosen": 0.4}, {"near_similarity": 0}, {"tie": 0.1}])
def test_limits_of_the_audit_are_checked(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        AuditSettings.model_validate(given)
