"""What a recipe may say of its judge."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from stillroom.judges.jury import JurySettings
from stillroom.judges.llm import LlmJudgeSettings
from stillroom.judges.registry import JudgeSettings

ADAPTER: TypeAdapter[Any] = TypeAdapter(JudgeSettings)
TEACHER = {"kind": "openai", "model": "m", "base_url": "http://localhost:1/v1"}
LLM = {"kind": "llm", "teacher": TEACHER}


def test_a_model_as_a_judge() -> None:
    judge = ADAPTER.validate_python(LLM)
    assert isinstance(judge, LlmJudgeSettings)
    assert (judge.rubric, judge.mode, judge.logprobs, judge.accept) == ("helpfulness", "pointwise", True, None)


def test_a_jury() -> None:
    jury = ADAPTER.validate_python({"kind": "jury", "members": [LLM, {"kind": "style"}], "how": "majority"})
    assert isinstance(jury, JurySettings)
    assert [member.kind for member in jury.members] == ["llm", "style"]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kind": "oracle"}, "oracle"),
        (LLM | {"rubrik": "helpfulness"}, "rubrik"),
        (LLM | {"mode": "pairwise", "accept": 3.0}, "accept is about scores"),
        (LLM | {"both_orders": False}, "both_orders is about comparisons"),
        ({"kind": "jury", "members": [LLM]}, "at least 2"),
        ({"kind": "jury", "members": [LLM, {"kind": "jury", "members": [LLM, LLM]}]}, "jury"),
        ({"kind": "scripted", "failures": 2}, "less than or equal to 1"),
    ],
)
def test_what_cannot_be_is_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        ADAPTER.validate_python(settings)
