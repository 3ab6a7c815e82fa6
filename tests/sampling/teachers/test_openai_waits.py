"""When a server wants a refused request again, and what a run does meanwhile: it waits, and never gives up on it.

That whole runs come back when they are told is in the table of the fake server's habits.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stillroom.common.records import Completion, Request, SamplingParams, Task, Usage, user
from stillroom.errors import RequestFailed, TeacherDown
from stillroom.sampling.core import Core
from stillroom.sampling.ledger import Ledger
from stillroom.sampling.policy import Until
from stillroom.sampling.rate_limit import MAX_RETRY_AFTER_S
from stillroom.sampling.requests import FAILURES_IN_A_ROW, PUT_OFF_IN_A_ROW
from stillroom.sampling.scorers.none import FinishedScorer
from stillroom.sampling.teachers.base import RetrySettings, Teacher
from stillroom.sampling.teachers.openai.waits import when_again

NOW = 1_700_000_000.0  # 2023-11-14T22:13:20Z
RETRY_INFO = {
    "error": {
        "code": 429,
        "status": "RESOURCE_EXHAUSTED",
        "details": [{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "26s"}],
    }
}
OF_A_PROXY = {"error": {"message": f"litellm.RateLimitError: {json.dumps(RETRY_INFO)}", "code": "429"}}


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "26"}, 26.0),
        ({"retry-after": "26.42s"}, 26.42),
        ({"retry-after": "Tue, 14 Nov 2023 22:13:46 GMT"}, 26.0),
        ({"retry-after": "2023-11-14T22:13:46Z"}, 26.0),
        ({"retry-after-ms": "120"}, 0.12),
        ({"retry-after-ms": "120", "retry-after": "1"}, 0.12),
        ({"x-ms-retry-after-ms": "120"}, 0.12),
        ({"llm_provider-retry-after": "26"}, 26.0),
        ({"retry-after": "", "llm_provider-retry-after-ms": "260"}, 0.26),
        ({"x-ratelimit-reset-requests": "6m0s"}, 360.0),
        ({"x-ratelimit-reset-tokens": "120ms"}, 0.12),
        ({"x-ratelimit-reset-requests": "1h2m3.5s"}, 3723.5),
        ({"llm_provider-x-ratelimit-reset-requests": "26.42s"}, 26.42),
        ({"x-ratelimit-reset-requests": "120ms", "x-ratelimit-reset-tokens": "6m0s"}, 360.0),
        (
            {
                "x-ratelimit-reset-requests": "120ms",
                "x-ratelimit-remaining-requests": "0",
                "x-ratelimit-reset-tokens": "6m0s",
                "x-ratelimit-remaining-tokens": "9000",
            },
            0.12,
        ),
        ({"anthropic-ratelimit-requests-reset": "2023-11-14T22:13:46Z"}, 26.0),
        ({"x-ratelimit-reset": "1700000026"}, 26.0),
        ({"x-ratelimit-reset": "1700000026000"}, 26.0),
        ({"x-ratelimit-reset": "26"}, 26.0),
        ({"x-ratelimit-limit-requests": "5"}, None),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "9" * 4000}, None),
        ({"x-ratelimit-reset-requests": "\xff"}, None),
        ({}, None),
    ],
)
def test_headers(headers: dict[str, str], seconds: float | None) -> None:
    assert when_again(headers, "", NOW) == (None if seconds is None else pytest.approx(seconds))


@pytest.mark.parametrize(
    ("body", "seconds"),
    [
        (RETRY_INFO, 26.0),
        ([RETRY_INFO], 26.0),
        (OF_A_PROXY, 26.0),
        ({"error": {"message": "Rate limit reached for m. Please try again in 26.42s. Visit x"}}, 26.42),
        ({"error": {"message": "Please try again in 6m0s."}}, 360.0),
        ({"error": {"message": "try again in 120ms"}}, 0.12),
        ({"error": {"message": "Please retry after 26 seconds."}}, 26.0),
        ({"error": {"message": "Please retry in 26.4s."}}, 26.4),
        ({"error": {"message": "Wait for 1 minute and 5 seconds"}}, 65.0),
        ({"error": {"message": "slow down", "retry_after": 26}}, 26.0),
        ({"retry_after_ms": 120}, 0.12),
        ({"error": "limit: 5 requests per minute"}, 12.0),
        ({"error": "you have 5 requests/min"}, 12.0),
        ({"error": "try again in a while"}, None),
        ({"error": "try again in 3 models"}, None),
        ("a" * 100_000 + "try again in 3s", None),
        ("retry after " * 10_000, None),
    ],
)
def test_bodies(body: Any, seconds: float | None) -> None:
    text = body if isinstance(body, str) else json.dumps(body)
    assert when_again({}, text, NOW) == (None if seconds is None else pytest.approx(seconds))


def test_what_stands_in_every_answer_says_nothing_of_a_server_that_is_down() -> None:
    assert when_again({"x-ratelimit-reset-requests": "6m0s"}, "5 requests per minute", NOW, resets=False) is None
    assert when_again({"retry-after": "7"}, "", NOW, resets=False) == 7.0


# -- a run ------------------------------------------------------------------------------------------------------


class Grudging:
    """Refuses `times` times, then answers."""

    identity, concurrency = "grudging", 4

    def __init__(self, times: int, after_s: float | None = None) -> None:
        self.left, self.after_s, self.calls = times, after_s, 0

    async def sample(self, request: Request, usage: Usage) -> Completion:
        self.calls += 1
        if self.left > 0:
            self.left -= 1
            raise RequestFailed("HTTP 429: no", retryable=True, retry_after_s=self.after_s, too_many=True)
        return Completion("4", "stop", 1, 1)

    async def close(self) -> None:
        """Nothing to free."""


async def run(folder: Path, teacher: Teacher, tasks: int = 20) -> Core:
    with Ledger.open(folder) as ledger:
        core = Core(
            teacher,
            FinishedScorer(),
            Until(per_task=1, max_attempts=1),
            ledger,
            sampling=SamplingParams(),
            seed=0,
            retry=RetrySettings(attempts=2, base_s=0),
        )
        try:
            await core.run((Task(str(i), user(f"q{i}"), None, "test") for i in range(tasks)), lambda outcome: None)
        finally:
            await teacher.close()
    return core


async def test_refusals_without_a_date_use_up_no_tries(tmp_path: Path) -> None:
    teacher = Grudging(10 * FAILURES_IN_A_ROW)
    counts = (await run(tmp_path, teacher)).counts
    assert (counts.satisfied, counts.failed, counts.refused) == (20, 0, 10 * FAILURES_IN_A_ROW)
    assert teacher.calls == 20 + 10 * FAILURES_IN_A_ROW
    assert counts.last_refusal == "HTTP 429: no"


async def test_a_wait_longer_than_a_run_waits_ends_it_and_says_how_long(tmp_path: Path) -> None:
    teacher = Grudging(1000, MAX_RETRY_AFTER_S * 24)
    with pytest.raises(TeacherDown, match=r"come back in 24 h 00 min.*HTTP 429: no.*is kept"):
        await run(tmp_path, teacher)
    assert teacher.calls <= PUT_OFF_IN_A_ROW + teacher.concurrency


async def test_one_that_is_put_off_is_that_requests_failure(tmp_path: Path) -> None:
    counts = (await run(tmp_path, Grudging(PUT_OFF_IN_A_ROW - 1, MAX_RETRY_AFTER_S + 1))).counts
    assert (counts.satisfied, counts.failed) == (20, PUT_OFF_IN_A_ROW - 1)
