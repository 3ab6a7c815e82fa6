"""A real LiteLLM proxy between the teacher and the fake server: limits are obeyed to the end, and nothing is bought twice.

What LiteLLM 1.108.7 does, as seen by hand on 2026-11-30: it asks twice more by itself, after a second or two, whatever the server
said; a refusal's headers come under `llm_provider-`, its words quoted in `error.message`; of an end that it does not
know it makes `stop`, with the word in `provider_specific_fields.native_finish_reason`; it answers 500 where the server
behind it sent content in parts, counts of 12.5, or half a surrogate pair.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from stillroom.common.records import Attempt, Outcome, SamplingParams, Task, user
from stillroom.sampling.core import Core
from stillroom.sampling.counts import Counts
from stillroom.sampling.fake_server.habits.content import THOUGHT
from stillroom.sampling.fake_server.server import FakeServer
from stillroom.sampling.ledger import Ledger
from stillroom.sampling.policy import Until
from stillroom.sampling.scorers.none import FinishedScorer
from stillroom.sampling.teachers.openai import OpenAISettings
from stillroom.sampling.teachers.openai.teacher import OpenAITeacher
from tests.sampling.fake_server.environment import CannotInstall, environment

LITELLM = "litellm[proxy]==1.108.7"
SETTINGS = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # no list of prices off the net
    "LITELLM_DANGEROUSLY_PERMIT_WEAK_OR_UNSET_MASTER_KEY": "true",  # on loopback
    "NO_PROXY": "127.0.0.1",
}
pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def programs(pytestconfig: pytest.Config) -> Path:
    """The environment with LiteLLM, which is kept between calls."""
    cache = pytestconfig.cache
    if cache is None:
        pytest.skip("pytest runs without its cache, in which the environment is kept")
    try:
        return environment(cache.mkdir("litellm"), LITELLM)
    except CannotInstall as reason:
        pytest.skip(str(reason))


@asynccontextmanager
async def proxy_to(models: Mapping[str, str], programs: Path, folder: Path) -> AsyncIterator[str]:
    """The address of a proxy to these models, each at its address."""
    listed = [
        {"model_name": name, "litellm_params": {"model": "openai/fake", "api_base": url, "api_key": "none"}}
        for name, url in models.items()
    ]
    config = folder / "config.yaml"
    config.write_text(json.dumps({"model_list": listed}), encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    words = [programs / "litellm", "--config", config, "--host", "127.0.0.1", "--port", port]
    process = await asyncio.create_subprocess_exec(
        *map(str, words),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=os.environ | SETTINGS,
        cwd=folder,
    )
    assert process.stdout is not None
    lines = []
    while line := await process.stdout.readline():
        lines.append(line.decode("utf-8", "replace"))
        if b"Uvicorn running" in line:
            break
    else:
        pytest.fail("the proxy did not start:\n" + "".join(lines[-30:]))
    drained = asyncio.create_task(process.stdout.read())
    try:
        yield f"http://127.0.0.1:{port}/v1"
    finally:
        process.terminate()
        await process.wait()
        await drained


class Ran(NamedTuple):
    """What came of a run."""

    counts: Counts
    attempts: list[Attempt]


async def run(url: str, folder: Path, tasks: int, **settings: Any) -> Ran:
    """Runs sums through `url`."""
    outcomes: list[Outcome] = []
    teacher = OpenAITeacher(OpenAISettings(kind="openai", base_url=url, concurrency=8, **settings))
    with Ledger.open(folder) as ledger:
        core = Core(
            teacher,
            FinishedScorer(),
            Until(per_task=1, max_attempts=1),
            ledger,
            sampling=SamplingParams(),
            seed=0,
        )
        asked = (Task(str(i), user(f"What is {i} + 40?"), None, "test") for i in range(tasks))
        try:
            await core.run(asked, outcomes.append)
        finally:
            await teacher.close()
    return Ran(core.counts, [scored.attempt for outcome in outcomes for scored in outcome.attempts])


async def test_a_real_proxy(programs: Path, tmp_path: Path) -> None:
    """Two servers behind one proxy, which takes long to start."""
    grudging = FakeServer(["limit_5_a_minute"], minute_s=3.0)
    odd = FakeServer(["retry_after_seconds", "reasoning_details", "usage_missing", "refuses_seed"], minute_s=1.0)
    await grudging.start()
    await odd.start()
    async with proxy_to({"grudging": grudging.url, "odd": odd.url}, programs, tmp_path) as url:
        limited = await run(url, tmp_path / "limited", 15, model="grudging")
        ran = [await run(url, tmp_path / str(stream), 6, model="odd", stream=stream) for stream in (False, True)]
    await grudging.close()
    await odd.close()
    _obeyed(limited, grudging)
    for each in ran:
        _read_as_if_no_proxy_were_there(each)


def _obeyed(ran: Ran, server: FakeServer) -> None:
    """A limit that is named in the body alone: the run waits and ends, with each answer bought once."""
    counts = ran.counts
    assert (counts.satisfied, counts.failed, counts.gave_up) == (15, 0, 0)
    assert counts.refused > 0
    assert "Rate limit reached: limit 5 / min. Please try again in" in counts.last_refusal
    answered = [seen.at_s for seen in server.seen if seen.status == 200 and seen.prompt]
    assert len(answered) == 15
    assert all(later - first >= 2.99 for first, later in zip(answered, answered[5:], strict=False))


def _read_as_if_no_proxy_were_there(ran: Ran) -> None:
    assert (ran.counts.satisfied, ran.counts.failed) == (6, 0)
    assert {attempt.reasoning for attempt in ran.attempts} == {THOUGHT}
    for attempt in ran.attempts:
        assert attempt.text.endswith(f"#### {int(attempt.task_id) + 40}")
        assert attempt.completion_tokens > 0
