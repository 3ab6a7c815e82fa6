"""A function of the user's as a filter."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from stillroom.common.records import Attempt, State, Task, Verdict, user
from stillroom.errors import InputError, RecipeError
from stillroom.sampling import plugins
from stillroom.traces.filters import RejectFiles
from stillroom.traces.trace import Trace
from tests.traces.filters.filtering import Filtered, apply_filters, build_filters

TASK = Task("t", user("2 + 2?"), "4", "by hand")


@pytest.fixture(autouse=True)
def _nothing_is_trusted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "_trusted", set())


def traces(*texts: str) -> list[Trace]:
    verdict = Verdict(State.ACCEPTED, "equal")
    return [
        Trace(TASK, Attempt("t", n, text, None, "stop", 1, 1, None, 0.1, "m"), verdict)
        for n, text in enumerate(texts)
    ]


def applied(
    folder: Path, code: str, entry: Any = "mine.py:keep", *, texts: tuple[str, ...] = ("a", "bb")
) -> Filtered:
    (folder / "mine.py").write_text(code)
    filters: Any = build_filters([{"python": entry}])
    plugins.require_trust([filters[0].code(folder, "filters.1")], trust=True)
    return apply_filters(traces(*texts), filters, test=(), base=folder)


def test_a_function_keeps_or_drops_with_a_reason(tmp_path: Path) -> None:
    code = """
def keep(trace, most=1):
    if trace.answer == "": return False
    return True if len(trace.answer) <= most else "too  wordy"
"""
    found = applied(tmp_path, code, {"path": "mine.py:keep", "most": 2}, texts=("a", "bb", "ccc", ""))
    assert [trace.answer for trace in found.kept] == ["a", "bb"]
    assert [(reject.filter, reject.reason) for reject in found.rejects] == [
        ("python_keep", "too wordy"),
        ("python_keep", "dropped"),
    ]
    assert found.counts == [("python_keep", 4, 2)]


@pytest.mark.parametrize(
    ("body", "reason", "said"),
    [
        ("return 1 / 0", "error", "mine.py:2: ZeroDivisionError"),
        ("return None", "error", "returned None, expected True, False or a reason"),
        ("return 1", "error", "returned 1, expected True"),
        ("exit()", "error", "mine.py:2: SystemExit"),
        ("while True: pass", "timeout", "no reply within 0.3 s"),
    ],
)
def test_a_trace_that_could_not_be_looked_at_is_dropped(tmp_path: Path, body: str, reason: str, said: str) -> None:
    found = applied(tmp_path, f"def keep(trace):\n {body}", {"path": "mine.py:keep", "timeout_s": 0.3}, texts=("a",))
    [reject] = found.rejects
    assert reject.reason == reason
    assert said in reject.detail


def test_rejects_of_a_function_are_kept_and_removed_like_others(tmp_path: Path) -> None:
    rejects = tmp_path / "rejects"
    found = applied(tmp_path, "def keep(trace): return False")
    with RejectFiles(rejects) as files:
        for reject in found.rejects:
            files.add(reject)
    [path] = rejects.iterdir()
    assert path.name == "python_keep.jsonl"
    assert json.loads(path.read_text().splitlines()[0])["reason"] == "dropped"
    with RejectFiles(rejects):
        pass
    assert list(rejects.iterdir()) == []


def test_nothing_runs_without_trust(tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def keep(trace): return True")
    with pytest.raises(InputError, match="not trusted"):
        apply_filters(traces("a"), build_filters([{"python": "mine.py:keep"}]), test=(), base=tmp_path)


def test_it_has_to_be_a_plain_function(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="a plain function: write `def keep"):
        applied(tmp_path, "async def keep(trace): return True")


@pytest.mark.parametrize("entry", ["python", {"python": "mine.py"}, {"python": {"most": 3}}])
def test_a_filter_names_its_function(entry: Any) -> None:
    with pytest.raises(ValidationError) as refused:
        build_filters([entry])
    assert refused.value.errors()[0]["loc"] == (0, "python", "path")
