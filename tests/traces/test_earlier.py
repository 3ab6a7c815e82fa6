"""Rows of earlier runs and of other files: in which shapes they are taken, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stillroom.errors import InputError, MissingFile
from stillroom.traces.earlier import check_earlier, earlier_rows

ASKED, SAID = {"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}


def write(folder: Path, *rows: Any, name: str = "rows.jsonl") -> Path:
    path = folder / name
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [ASKED, SAID]},
        {"conversations": [{"from": "human", "value": "2 + 2?"}, {"from": "gpt", "value": "4"}]},
        {"prompt": [ASKED], "completion": [SAID]},
        {"prompt": "2 + 2?", "completion": "4"},
        {"messages": json.dumps([ASKED, SAID])},
    ],
)
def test_conversations_of_any_shape_are_rows(tmp_path: Path, row: dict[str, Any]) -> None:
    path = write(tmp_path, row, {**row, "task_id": 7, "index": 2})
    check_earlier(path)
    first, second = earlier_rows(path)
    assert (first["prompt"], first["completion"]) == ([ASKED], [SAID])
    assert (first["task_id"], first["index"]) == (f"{path}:1", 0)
    assert (second["task_id"], second["index"]) == ("7", 2)


def test_a_pattern_names_several_files(tmp_path: Path) -> None:
    for number in (10, 9):
        write(tmp_path, {"prompt": str(number), "completion": "a"}, name=f"p-{number}.jsonl")
    assert [row["prompt"][0]["content"] for row in earlier_rows(tmp_path / "p-*.jsonl")] == ["9", "10"]


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ('{"messages": [{"role"', r"rows\.jsonl:2: Expecting|rows\.jsonl:2: .*EOF|rows\.jsonl:2: Expect"),
        ({"mesages": [ASKED, SAID]}, r"rows\.jsonl:2: no messages, .*did you mean 'mesages'"),
        ({"messages": [ASKED]}, "does not end with an answer"),
        ({"prompt": "2 + 2?", "completion": None}, "a conversation without a turn"),
        ({"completion": "4"}, "no field 'prompt'"),
        ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}, SAID]}, "part of the type 'image_url'"),
    ],
)
def test_what_is_not_a_row_is_refused_with_its_place(tmp_path: Path, row: Any, said: str) -> None:
    path = write(tmp_path, {"messages": [ASKED, SAID]}, row)
    with pytest.raises(InputError, match=f"earlier: .*({said})"):
        check_earlier(path)


def test_what_is_not_there_or_empty_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no row"):
        check_earlier(write(tmp_path, name="empty.jsonl"))
    with pytest.raises(MissingFile, match=r"earlier: there is no file .*did you mean empty\.jsonl"):
        check_earlier(tmp_path / "emty.jsonl")
    with pytest.raises(MissingFile, match=r"there are no rows in .*: name the sft/ folder of a run"):
        check_earlier(tmp_path)
