from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from stillroom.errors import InputError, MissingFile
from stillroom.traces.answers import check_file

ROWS: list[dict[str, Any]] = [
    {"gold": "18", "pred": "#### 18", "expected": True},
    {"gold": "18", "pred": "#### 19", "expected": False},
    {"gold": "10%", "pred": "10", "expected": None},
    {"gold": 2.50, "pred": 2.5, "expected": True},
    {"gold": "5", "pred": None, "expected": True},
    {"gold": "5", "pred": "5", "expected": False, "more": [1, {"a": "\ud800"}]},
]


def written(folder: Path, *lines: str | bytes) -> Path:
    path = folder / "pairs.jsonl"
    path.write_bytes(b"".join((line if isinstance(line, bytes) else line.encode()) + b"\n" for line in lines))
    return path


def test_one_verdict_a_line_in_order(tmp_path: Path) -> None:
    path, out = written(tmp_path, *map(json.dumps, ROWS)), tmp_path / "v.jsonl"
    summary = check_file(path, out=out)
    verdicts = [json.loads(line) for line in out.read_text().splitlines()]
    assert [(v["verdict"], v["reason"]) for v in verdicts] == [
        ("accepted", "equal"),
        ("rejected", "different"),
        ("unscored", "needs_policy"),
        ("accepted", "equal"),
        ("unscored", "no_answer"),
        ("accepted", "equal"),
    ]
    assert all(set(v) == {"verdict", "reason", "detail", "seconds"} and v["seconds"] >= 0 for v in verdicts)
    figures = summary.as_dict()
    assert figures["verdicts"] == {"accepted": 3, "rejected": 1, "unscored": 2}
    assert figures["expected"] == {
        "labelled": 5,
        "agreed": 3,
        "true": {"accepted": 2, "rejected": 0, "unscored": 1},
        "false": {"accepted": 1, "rejected": 1, "unscored": 0},
    }
    assert json.loads(json.dumps(figures)) == figures
    assert sum(figures["reasons"].values()) == figures["rows"] == 6


def test_numbers_are_taken_as_they_stand(tmp_path: Path) -> None:
    path = written(tmp_path, '{"gold": 0.1000000000000000055, "pred": 0.1}', '{"gold": 1e3, "pred": 1000}')
    assert check_file(path).as_dict()["verdicts"] == {"accepted": 1, "rejected": 0, "unscored": 1}


def test_other_fields_and_a_byte_order_mark(tmp_path: Path) -> None:
    path = written(tmp_path, b'\xef\xbb\xbf{"answer": "5", "text": "A: 5"}')
    summary = check_file(path, gold="answer", pred="text")
    assert summary.states["accepted"] == 1
    assert summary.as_dict()["expected"] is None


def test_an_empty_file_has_no_verdicts(tmp_path: Path) -> None:
    out = tmp_path / "v.jsonl"
    assert check_file(written(tmp_path), out=out).rows == 0
    assert out.read_text() == ""


GOOD = '{"gold": "1", "pred": "1"}'


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("{", "not JSON"),
        ("", "empty line"),
        ("[1]", "an array"),
        ('{"gold": "1"}', "no field 'pred'"),
        ('{"pred": "1"}', "no field 'gold'"),
        ('{"gold": null, "pred": "1"}', "null"),
        ('{"gold": true, "pred": "1"}', "a boolean"),
        ('{"gold": "1", "pred": ["1"]}', "an array"),
        ('{"gold": NaN, "pred": "1"}', "NaN"),
        ('{"gold": "1", "pred": "1", "expected": "yes"}', "expected"),
        ('{"gold": "1", "pred": "1", "expected": 1}', "expected"),
        (b'{"gold": "1", "pred": "\xff"}', "not UTF-8"),
        ('{"gold": ' + "[" * 100_000, "not JSON"),
    ],
)
def test_a_bad_line_is_named_before_anything_is_written(tmp_path: Path, line: str | bytes, what: str) -> None:
    path, out = written(tmp_path, GOOD, line, GOOD), tmp_path / "v.jsonl"
    with pytest.raises(InputError, match=what) as caught:
        check_file(path, out=out)
    assert f"{path}:2" in str(caught.value)
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_the_old_output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, out = written(tmp_path, GOOD), tmp_path / "v.jsonl"
    out.write_text("old")
    module = import_module("stillroom.traces.answers.check_file")  # the package's attribute is the function
    monkeypatch.setattr(module, "_line", lambda verdict: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        check_file(path, out=out)
    assert out.read_text() == "old"
    assert sorted(tmp_path.iterdir()) == [path, out]


def test_files_that_cannot_be_used(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD)
    with pytest.raises(MissingFile, match="absent"):
        check_file(tmp_path / "absent.jsonl")
    with pytest.raises(InputError, match="regular file"):
        check_file(tmp_path)
    for out in (tmp_path, path, tmp_path / "absent" / "v.jsonl"):
        with pytest.raises(InputError, match="cannot be written"):
            check_file(path, out=out)
    assert path.read_text() == GOOD + "\n"
