from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from stillroom.common.marks import NamedMarks
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
    module = import_module("stillroom.traces.answers.pairs_file")  # the package's attribute is the function
    monkeypatch.setattr(module.Labels, "honoured", lambda *_: 1 / 0)
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


# -- other files, bad rows, and a person's labels ------------------------------------------------------------------


def _pairs_as(kind: str, path: Path) -> Path:
    rows = [{"reference": "1/2", "said": "0.5", "expected": True}, {"reference": "4", "said": "5", "expected": False}]
    if kind == "parquet":
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(rows), path / "pairs.parquet")
    else:
        between = {"csv": ",", "tsv": "\t"}[kind]
        lines = [between.join(map(str, row.values())) for row in rows]
        (path / f"pairs.{kind}").write_text("\n".join([between.join(rows[0]), *lines]) + "\n")
    return path / f"pairs.{kind}"


@pytest.mark.parametrize("kind", ["csv", "tsv", "parquet"])
def test_csv_and_parquet(kind: str, tmp_path: Path) -> None:
    summary = check_file(_pairs_as(kind, tmp_path), gold="reference", pred="said", workers=1)
    assert (summary.rows, summary.agreed, dict(summary.states)) == (2, 2, {"accepted": 1, "rejected": 1})


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "gold,pred\n1,1\n,2\n", r"a\.csv:3: 'gold' is null"),
        ("a.csv", "g,p\n1,1\n", "no field 'pred'; it has 'g', 'p'"),
        ("a.jsonl", '{"gold": null, "pred": "1"}\n', r"a\.jsonl:1: 'gold' is null.*--skip-bad-rows"),
        ("a.parquet", "PAR2", r"not a Parquet file"),
    ],
)
def test_a_bad_row_is_named(name: str, text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=message):
        check_file(tmp_path / name, workers=1)


def test_a_null_in_parquet_is_named_by_its_row(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"gold": ["1", None], "pred": ["1", "2"]}), tmp_path / "a.parquet")
    with pytest.raises(InputError, match=r"row 2: 'gold' is null"):
        check_file(tmp_path / "a.parquet", workers=1)


def test_bad_rows_can_be_skipped_and_are_counted(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"gold": "1", "pred": "1"}\nnonsense\n{"gold": "2", "pred": "2"}\n')
    summary = check_file(tmp_path / "a.jsonl", out=tmp_path / "out.jsonl", workers=1, skip_bad_rows=True)
    verdicts = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [row["verdict"] for row in verdicts] == ["accepted", None, "accepted"]
    assert verdicts[1]["reason"] == "bad_row"
    assert (summary.rows, len(summary.skipped), summary.as_dict()["skipped"]) == (2, 1, 1)


def test_a_person_labels_what_stayed_unscored(tmp_path: Path) -> None:
    pairs = [("All powers of 2", "n = 2^k, k a natural number"), ("3", "3"), ("All powers of 2", "the odd numbers")]
    text = "".join(json.dumps({"gold": gold, "pred": f"\\boxed{{{pred}}}"}) + "\n" for gold, pred in pairs)
    (tmp_path / "a.jsonl").write_text(text)
    review = tmp_path / "review.jsonl"
    first = check_file(tmp_path / "a.jsonl", review=review, workers=1)
    waiting = [json.loads(line) for line in review.read_text().splitlines()]
    assert first.states["unscored"] == len(waiting) == 2
    assert all(
        row["label"] is None and row["reason"] and row["answer"] in {pred for _, pred in pairs} for row in waiting
    )
    waiting[0]["label"], waiting[1]["label"] = True, False
    review.write_text("".join(json.dumps(row) + "\n" for row in waiting))
    second = check_file(tmp_path / "a.jsonl", review=review, workers=1)
    assert dict(second.states) == {"accepted": 2, "rejected": 1}
    assert second.reasons["reviewed"] == 2
    assert [json.loads(line)["label"] for line in review.read_text().splitlines()] == [True, False]


def test_a_line_separator_in_a_reviewed_answer_ends_no_line(tmp_path: Path) -> None:
    row = {"gold": "All powers of 2", "pred": "the odd\u2028numbers", "q": "Which\u2028numbers?"}
    path, review = written(tmp_path, json.dumps(row)), tmp_path / "review.jsonl"
    for _ in range(2):  # what the first call wrote, the second reads
        assert check_file(path, prompt="q", review=review, workers=1).states["unscored"] == 1
    assert "\u2028" in review.read_text(encoding="utf-8")


def test_a_label_never_overrules_the_rules(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"gold": "3", "pred": "4"}\n')
    (tmp_path / "review.jsonl").write_text('{"gold": "3", "answer": "4", "label": true}\n')
    assert check_file(tmp_path / "a.jsonl", review=tmp_path / "review.jsonl", workers=1).states["rejected"] == 1


@pytest.mark.parametrize("text", ["{}", "[1]", '{"gold": "1", "answer": "2", "label": "yes"}', "no"])
def test_a_review_file_that_is_none_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"gold": "3", "pred": "4"}\n')
    (tmp_path / "review.jsonl").write_text(text + "\n")
    with pytest.raises(InputError, match=r"review\.jsonl:1"):
        check_file(tmp_path / "a.jsonl", review=tmp_path / "review.jsonl", workers=1)


def test_thinking_in_marks_that_the_user_names(tmp_path: Path) -> None:
    row = {"gold": "4", "pred": "((It may be \\boxed{6}.))\n4"}
    path = written(tmp_path, json.dumps(row))
    mine = NamedMarks(open="((", close="))")
    assert check_file(path, workers=1).states["accepted"] == 0
    assert check_file(path, thinking=mine, workers=1).states["accepted"] == 1
