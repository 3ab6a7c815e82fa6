"""`scorer: {kind: judge}`: a judge with a threshold, as a recipe names it."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from stillroom.common.records import State
from stillroom.errors import InputError
from stillroom.sampling.ledger import Ledger
from stillroom.sampling.limits import Meter
from stillroom.sampling.plugins import codes_in, require_trust
from stillroom.sampling.scorers.base import Place, ScorerSettings
from tests.judges._asking import TASK, answered

SETTINGS: TypeAdapter[Any] = TypeAdapter(ScorerSettings)
LLM = {"kind": "llm", "teacher": {"kind": "openai", "model": "m", "base_url": "http://127.0.0.1:9/v1"}}
STYLE = {"kind": "style"}
SCRIPTED = {"kind": "scripted", "quality": "longer"}


def settings(judge: dict[str, Any], accept: float = 3) -> Any:
    return SETTINGS.validate_python({"kind": "judge", "judge": judge, "accept": accept})


@pytest.fixture
def code(tmp_path: Path) -> dict[str, Any]:
    (tmp_path / "mine.py").write_text("async def rate(task, attempt): return 4")
    return {"kind": "python", "path": "mine.py:rate", "scale": [1, 5]}


async def test_the_identity_is_known_without_a_ledger(tmp_path: Path, code: dict[str, Any]) -> None:
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        for judge in (LLM, STYLE, SCRIPTED, code, {"kind": "jury", "members": [LLM, SCRIPTED, code]}):
            found = settings(judge)
            made = found.make(Place(ledger, tmp_path, meter=Meter()))
            assert made.identity == found.identity(tmp_path)
            assert found.identity(tmp_path) != settings(judge, 4).identity(tmp_path)
            await made.close()


async def test_it_scores(tmp_path: Path) -> None:
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        scorer = settings(STYLE, 1.5).make(Place(ledger, tmp_path))
        good = await scorer.score(TASK, answered("The cat sat on the mat. It was warm."))
        bad = await scorer.score(TASK, answered("?"))
        await scorer.close()
    assert (good.state, good.reason) == (State.ACCEPTED, "good")
    assert (bad.state, bad.reason) == (State.REJECTED, "below")
    assert getattr(scorer, "accidents", None) == {"api_error"}


def test_what_it_paid_for_is_in_the_ledger(tmp_path: Path, code: dict[str, Any]) -> None:
    """A second scorer finds the ratings there and calls nobody."""
    count = tmp_path / "calls"
    (tmp_path / "mine.py").write_text(
        f"async def rate(task, attempt):\n    with open({str(count)!r}, 'a') as f:\n        f.write('x')\n    return 4"
    )
    found = settings(code)
    require_trust(codes_in(found, tmp_path), trust=True)

    async def once(ledger: Ledger) -> State:
        scorer = found.make(Place(ledger, tmp_path))
        try:
            return State((await scorer.score(TASK, answered("x"))).state)
        finally:
            await scorer.close()

    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        assert [asyncio.run(once(ledger)) for _ in range(2)] == [State.ACCEPTED] * 2
    assert count.read_text() == "x"


@pytest.mark.parametrize("judge", [LLM, STYLE])
def test_without_a_ledger_none_is_made(tmp_path: Path, judge: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="keeps its requests in a ledger"):
        settings(judge).make(Place(None, tmp_path))


@pytest.mark.parametrize(
    ("judge", "said"),
    [
        ({**LLM, "mode": "pairwise"}, "set mode to pointwise"),
        ({**LLM, "mode": "tournament"}, "set mode to pointwise"),
        ({**SCRIPTED, "mode": "pairwise"}, "set mode to pointwise"),
        ({"kind": "jury", "members": [STYLE, {**LLM, "mode": "pairwise"}]}, "set mode to pointwise"),
        ({**LLM, "accept": 4}, "given twice"),
        ({"kind": "stile"}, "did you mean 'style'"),
    ],
)
def test_what_cannot_score_is_refused_at_validation(judge: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        settings(judge)


def test_a_threshold_off_the_scale_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="accept is 9, but the judge's scale is 1 to 5"):
        settings(STYLE, 9).identity(tmp_path)


def test_a_threshold_is_needed() -> None:
    with pytest.raises(ValidationError, match="accept"):
        SETTINGS.validate_python({"kind": "judge", "judge": STYLE})
