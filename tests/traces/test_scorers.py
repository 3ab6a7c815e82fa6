"""The shipped scorers as a recipe names them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from stillroom.common.records import Attempt, State, Task, user
from stillroom.sampling.ledger import Ledger
from stillroom.sampling.scorers.base import Place, ScorerSettings, scorers

ADAPTER: TypeAdapter[Any] = TypeAdapter(ScorerSettings)
GIVEN: dict[str, dict[str, Any]] = {
    "answer": {"timeout_s": 60, "memory_mb": 1024, "policies": {"percent": "bare"}},
    "label": {"labels": ["yes", "no"], "case": "exact", "aliases": {"y": "yes"}},
    "judge": {"judge": {"kind": "style"}, "accept": 3},
    "none": {},
    "unit_tests": {"tests": "test_code", "sandbox": "none", "workers": 1},
}


@pytest.mark.parametrize("kind", GIVEN)
async def test_the_identity_is_known_before_the_scorer_is_made(tmp_path: Path, kind: str) -> None:
    settings = ADAPTER.validate_python({"kind": kind, **GIVEN[kind]})
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        made = settings.make(Place(ledger, tmp_path))
        assert made.identity == settings.identity(tmp_path)
        await made.close()


@pytest.mark.parametrize(
    ("text", "finish", "state"),
    [
        ("anything", "stop", State.ACCEPTED),
        ("anything", "unknown", State.ACCEPTED),
        ("cut", "length", State.UNSCORED),
        ("held", "content_filter", State.UNSCORED),
        (" ", "stop", State.UNSCORED),
    ],
)
async def test_none_accepts_what_ended(tmp_path: Path, text: str, finish: Any, state: State) -> None:
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        scorer = ADAPTER.validate_python({"kind": "none"}).make(Place(ledger, tmp_path))
    attempt = Attempt("t", 0, text, None, finish, 1, 1, None, 0.1, "m")
    assert (await scorer.score(Task("t", user("?"), None, "by hand"), attempt)).state is state


def test_what_compares_with_gold_answers_needs_them() -> None:
    assert [name for name, kind in scorers.items() if kind.needs_reference] == ["answer", "verifier"]


def test_one_lower_limit_of_memory() -> None:
    with pytest.raises(ValidationError, match="greater than or equal to 512"):
        ADAPTER.validate_python({"kind": "answer", "memory_mb": 511})
