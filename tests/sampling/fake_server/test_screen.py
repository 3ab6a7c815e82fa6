"""Whole runs against the fake server: what is on the screen, in run.json and in the rows."""

from __future__ import annotations

import asyncio
import io
import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from stillroom import export, run
from stillroom.common.printing import Terminal
from stillroom.errors import StillroomError
from stillroom.pipeline.run.progress import ODD, UNCOUNTED, Display
from stillroom.sampling.fake_server.habits.content import THOUGHT
from stillroom.sampling.fake_server.server import FakeServer
from tests.conftest import write_sums


@contextmanager
def serving(*habits: str) -> Iterator[FakeServer]:
    """A server in a thread, since a run has its own loop."""
    loop, server = asyncio.new_event_loop(), FakeServer(habits, minute_s=0.06)
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    asyncio.run_coroutine_threadsafe(server.start(), loop).result(30)
    try:
        yield server
    finally:
        asyncio.run_coroutine_threadsafe(server.close(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


class Shown(NamedTuple):
    """A row: what is said, and what the rows come to. `rows`: how many, by task one at most."""

    habit: str
    said: str
    rows: int = 6
    thought: str = ""
    teacher: dict[str, Any] = {}  # noqa: RUF012 - never changed


TABLE = [
    Shown("usage_missing", UNCOUNTED),
    Shown("usage_negative", ODD),
    Shown("logprobs_neg_inf", ODD, teacher={"sampling": {"logprobs": True}}),
    Shown("reasoning_details", "6 accepted", thought=THOUGHT),
    Shown("think_tag_closed_only", "6 accepted", thought=THOUGHT),
    Shown("403_for_one_prompt", "failed", rows=5),
    Shown("finish_length_words", "6 unscored", rows=0),
    Shown("finish_native_only", "6 unscored", rows=0),
    Shown("limit_5_a_minute", "6 accepted"),
    Shown("404_model", "HTTP 404: The model `fake` does not exist.", rows=0),
]


@pytest.mark.parametrize("row", TABLE, ids=[row.habit for row in TABLE])
def test_a_run_says_what_it_met(row: Shown, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    screen = io.StringIO()
    with serving(row.habit) as server:
        teacher = {"kind": "openai", "model": "fake", "base_url": server.url, "retry": {"attempts": 2}, **row.teacher}
        keep = {"per_task": 1, "max_attempts": 1}
        recipe = write_sums(tmp_path, tasks=6, teacher=teacher, keep=keep, scorer={"kind": "none"}, filters=[])
        said = _ended(lambda: run(recipe, out=tmp_path / "run", display=Display(Terminal(file=screen, width=1000))))
    assert row.said in screen.getvalue() + said
    if not row.rows:
        assert said, "a run without rows says so"
        return
    export(tmp_path / "run", rows="messages", out=tmp_path / "rows.jsonl")
    rows = [json.loads(line)["messages"] for line in (tmp_path / "rows.jsonl").read_text("utf-8").splitlines()]
    assert len(rows) == row.rows
    for messages in rows:
        total = sum(int(part) for part in messages[0]["content"].rstrip("?").split() if part.isdecimal())
        assert messages[-1]["content"].endswith(f"#### {total}")
        assert (row.thought in messages[-1]["content"]) if row.thought else ("think" not in messages[-1]["content"])


def _ended(call: Callable[[], object]) -> str:
    """What ended a run, "" where nothing did."""
    try:
        call()
    except StillroomError as error:
        return str(error)
    return ""
