"""A run that is refused and nothing else says so: when, how often, and what it says."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path

import pytest
from rich.console import Console

from stillroom.common.records import Completion, Request, SamplingParams, Usage, user
from stillroom.errors import RequestFailed
from stillroom.pipeline.run import progress, stalled
from stillroom.pipeline.run.progress import Display, progress_line
from stillroom.pipeline.run.stalled import FIRST_S, Stalled
from stillroom.sampling.counts import Counts
from stillroom.sampling.ledger import Ledger
from stillroom.sampling.limits import Meter
from stillroom.sampling.requests import Asker
from stillroom.sampling.teachers.base import RetrySettings


def refused(since: float | None, said: str = "HTTP 429: slow down") -> Counts:
    return Counts(refused=1, refused_since=since, last_refusal=said)


def test_it_is_told_after_two_minutes_and_each_time_that_twice_as_long_has_passed() -> None:
    waiting, told = Stalled(), list[float]()
    counts = refused(0.0)
    for now in range(0, 3_000, 15):
        if waiting.note([Counts(), counts], float(now)):
            told.append(now)
    assert told == [120, 240, 480, 960, 1920]


def test_an_answer_starts_from_the_beginning() -> None:
    waiting = Stalled()
    assert waiting.note([refused(0.0)], 300.0)
    assert not waiting.note([refused(None)], 400.0)
    assert not waiting.note([refused(400.0)], 500.0)
    assert waiting.note([refused(400.0)], 400.0 + FIRST_S)


def test_it_names_the_cause_and_what_to_do() -> None:
    said = Stalled().note([refused(0.0, "HTTP 429: \x1b[2Jlimit is 0 tokens a minute")], 130.0)
    for part in ("for 2 min 10 s", "limit is 0 tokens a minute", "credit", "teacher.rate_limits", "Ctrl-C"):
        assert part in said
    assert "\x1b" not in said


def test_the_progress_line_quotes_the_refusal_while_nobody_is_answered() -> None:
    assert "1 times too many requests (waiting: HTTP 429: slow down)" in progress_line(refused(0.0))
    assert "waiting" not in progress_line(refused(None))
    assert "refused_since" not in refused(0.0).as_dict()


class Refusing:
    """Refuses until it is let go, from the first request on."""

    identity, concurrency = "refusing", 4

    def __init__(self) -> None:
        self.open = False
        self.calls = 0

    async def sample(self, request: Request, usage: Usage) -> Completion:
        self.calls += 1
        await asyncio.sleep(0)
        if not self.open:
            raise RequestFailed("HTTP 429: limit is 0", retryable=True, too_many=True)
        return Completion("4", "stop", 1, 1)

    async def close(self) -> None:
        """Nothing to free."""


async def test_a_judge_that_is_refused_from_the_first_request_on_waits_and_is_told_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(progress, "PLAIN_EVERY_S", 0.001)
    monkeypatch.setattr(stalled, "FIRST_S", 1e-6)
    out, meter, teacher = io.StringIO(), Meter(), Refusing()
    with Ledger.open(tmp_path) as ledger:
        retry = RetrySettings(attempts=1, base_s=0)
        asking = Asker(teacher, ledger, SamplingParams(), seed=0, retry=retry, meter=meter)
        meter.watch(asking.counts, None)
        with Display(Console(file=out, width=400)).sampling("judging", Counts(), meter):
            asked = asyncio.create_task(asking.ask(user("rate"), about="t"))
            while "limit is 0" not in out.getvalue():  # noqa: ASYNC110 - the display tells nobody
                await asyncio.sleep(0)
            assert not asked.done()
            teacher.open = True
            assert (await asked).text == "4"
        assert ledger.totals().failures == 0
    assert asking.counts.refused == teacher.calls - 1
    assert asking.counts.refused_since is None
