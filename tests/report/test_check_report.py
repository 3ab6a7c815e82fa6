"""`stillroom check --against` as a person and as a program read it; a model's text reaches no terminal as it is."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillroom.cli.show import CELL, SHOWN_DIFFERENCES, show_against
from stillroom.common.printing import shown
from stillroom.common.records import Verdict
from stillroom.traces.answers import Reason, state_of
from stillroom.traces.answers.math_verify.compare import AgainstSummary, Disagreement
from stillroom.traces.answers.math_verify.disagreements import Theirs, Why
from stillroom.traces.answers.pairs_file import Row
from tests.conftest import stillroom

HOSTILE = "[b]x[/b]\x1b[2J\u202e\ud800\r\n 4"


def pairs(folder: Path, *rows: dict[str, Any]) -> Path:
    path = folder / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def differing(count: int, expected: bool | None = None) -> AgainstSummary:
    """A summary of pairs that only Math-Verify accepts."""
    summary, verdict = AgainstSummary(seconds=1.0), Verdict(state_of(Reason.DIFFERENT), Reason.DIFFERENT)
    for line in range(1, count + 1):
        summary.add(Row("4t", HOSTILE, expected), verdict, Theirs.ACCEPTED)
        summary.disagreements.append(Disagreement(line, "4t", HOSTILE, verdict, Theirs.ACCEPTED, Why.UNITS, expected))
    return summary


def test_the_tables(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    show_against(differing(3, expected=False), tmp_path / "out.jsonl")
    said = capsys.readouterr().out
    assert "[b]x[/b]\\x1b[2J\\u202e\\ud800 4" in said
    assert "\x1b" not in said
    assert "\u202e" not in said
    assert "as expected, of 3 labelled pairs: ours 3 (100.0 % [43.9, 100.0]), Math-Verify 0 (0.0 %" in said
    assert "of 3 labelled pairs: ours on 3, Math-Verify on 0 (McNemar p = 0.25)" in said
    assert "out.jsonl" in said
    assert "differ on 3 of 3 pairs" in said


def test_a_long_list_says_what_it_leaves_out(capsys: pytest.CaptureFixture[str]) -> None:
    show_against(differing(SHOWN_DIFFERENCES + 7), None)
    said = capsys.readouterr().out
    assert "and 7 more" in said
    assert "labelled" not in said


def test_an_empty_file(capsys: pytest.CaptureFixture[str]) -> None:
    show_against(AgainstSummary(), None)
    assert "differ on 0 of 0 pairs" in capsys.readouterr().out


@given(st.text(st.characters(codec=None)), st.booleans())
def test_a_cell_is_one_short_line_that_a_terminal_only_shows(text: str, end: bool) -> None:
    cell = shown(text, CELL, end=end)
    assert len(cell) <= CELL
    assert cell.isprintable()
    if text.isprintable() and len(text) <= CELL:
        assert cell == " ".join(text.split())


def test_the_end_of_a_long_text_is_kept_where_asked() -> None:
    text = "a" * 400 + "end"
    assert shown(text, 10) == "a" * 9 + "…"
    assert shown(text, 10, end=True) == "…aaaaaaend"


# -- the command -------------------------------------------------------------------------------------------------


def test_against_math_verify(tmp_path: Path) -> None:
    pytest.importorskip("math_verify")
    path = pairs(tmp_path, {"gold": "4t", "pred": HOSTILE, "expected": False}, {"gold": "5", "pred": "5"})
    out = tmp_path / "out.jsonl"
    ended = stillroom("check", path, "--against", "math-verify", "--workers", "1", "--json", "--out", out)
    assert (ended.returncode, ended.stderr) == (0, "")
    figures = json.loads(ended.stdout)
    assert figures["table"]["accepted"]["accepted"] == 1
    assert [(d["line"], d["pred"], d["why"]) for d in figures["differences"]] == [(1, HOSTILE, "units")]
    assert [json.loads(line) for line in out.read_text().splitlines()] == figures["differences"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--policy", "rounding"], "write NAME=VALUE"),
        (["--policy", "rounding=sometimes"], "choose one of significant"),
        (["--policy", "roundng=never"], "there is no policy 'roundng'"),
        (["--against", "nobody"], "'nobody' is not one of 'math-verify'"),
    ],
)
def test_bad_options(tmp_path: Path, options: list[str], said: str) -> None:
    ended = stillroom("check", pairs(tmp_path, {"gold": "5", "pred": "5"}), *options)
    assert ended.returncode == 2
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr
