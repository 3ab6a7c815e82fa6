"""A function of the user's as the judge."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from stillroom.common.records import Attempt, Task, user
from stillroom.errors import InputError
from stillroom.judges.records import JudgeState, Rating
from stillroom.judges.registry import JudgeSettings, Made, Place
from stillroom.sampling import plugins
from stillroom.sampling.ledger import Ledger

ADAPTER: TypeAdapter[Any] = TypeAdapter(JudgeSettings)
TASK = Task("t", user("Say hello"), None, "by hand", {"level": 3})
ANSWER = Attempt("t", 0, "Hello there", None, "stop", 3, 2, None, 0.1, "m")


@pytest.fixture(autouse=True)
def _nothing_is_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "_trusted", set())


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with Ledger.open(tmp_path / "ledger.sqlite") as ledger:
        yield Place(ledger, tmp_path)


def settings(folder: Path, code: str, **more: Any) -> Any:
    (folder / "mine.py").write_text(code)
    given = {"kind": "python", "path": "mine.py:rate", "scale": [1, 5], "workers": 1, **more}
    found = ADAPTER.validate_python(given)
    plugins.require_trust([found.code(folder, "judge")], trust=True)
    return found


async def rating(place: Place, code: str, *answers: Attempt, **more: Any) -> list[Rating]:
    made: Made = settings(place.base, code, **more).make(place)
    assert made.pointwise is not None
    try:
        return [await made.pointwise.rate(TASK, answer) for answer in answers or (ANSWER,)]
    finally:
        await made.close()


@pytest.mark.parametrize("define", ["def", "async def"])
async def test_a_function_rates(place: Place, define: str) -> None:
    code = f"{define} rate(task, attempt, weight=1): return weight * len(attempt.text.split())"
    assert await rating(place, code, weight=2) == [Rating(JudgeState.OK, 4.0)]


@pytest.mark.parametrize(
    ("code", "state", "said"),
    [
        ("def rate(task, attempt): return 7", JudgeState.PARSE_FAILED, "rated 7, the scale is 1 to 5"),
        ("def rate(task, attempt): return None", JudgeState.REFUSED, "returned None"),
        ("def rate(task, attempt): return True", JudgeState.API_ERROR, "returned True, expected a number"),
        ("def rate(task, attempt): return 'good'", JudgeState.API_ERROR, "returned 'good', expected a number"),
        ("def rate(task, attempt):\n return 1 / 0", JudgeState.API_ERROR, "mine.py:2: ZeroDivisionError"),
        ("def rate(task, attempt):\n while True: pass", JudgeState.API_ERROR, "no reply within 0.3 s"),
    ],
)
async def test_what_is_no_rating_is_no_judgement(place: Place, code: str, state: JudgeState, said: str) -> None:
    [found] = await rating(place, code, timeout_s=0.3)
    assert found.state is state
    assert found.failed
    assert said in found.detail


async def test_the_same_answer_is_rated_once(place: Place) -> None:
    code = f"def rate(task, attempt):\n open({str(place.base / 'calls')!r}, 'a').write('x')\n return 3"
    calls = place.base / "calls"
    for _ in range(2):
        await rating(place, code)
    assert calls.read_text() == "x"
    await rating(place, code, replace(ANSWER, text="Hi"))
    assert calls.read_text() == "xx"
    await rating(place, code + " + 1")
    assert calls.read_text() == "xxx"


async def test_nothing_runs_without_trust(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    found = settings(place.base, "def rate(task, attempt): return 3")
    monkeypatch.setattr(plugins, "_trusted", set())
    made = found.make(place)
    assert made.identity.startswith("python:rate@")
    with pytest.raises(InputError, match="not trusted"):
        await made.pointwise.rate(TASK, ANSWER)
    await made.close()


def test_a_scale_rises(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=r"give the lowest and the highest score, such as \[1, 5\]"):
        settings(tmp_path, "", scale=[5, 1])
