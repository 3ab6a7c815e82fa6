from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from stillroom.common.records import Message
from stillroom.errors import InputError, MissingFile
from stillroom.students.data.rows import read_rows, with_system

USER = [{"role": "user", "content": "2 + 2?"}]
ANSWER = [{"role": "assistant", "content": "4"}]


def test_rows_are_read_from_parquet_in_order(tmp_path: Path, row: Any) -> None:
    rows = [row(f"question {i}", f"answer {i}", task_id=f"t{i}") for i in range(5)]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "train.parquet")
    found = read_rows(tmp_path)
    assert [r.prompt[0].content for r in found] == [f"question {i}" for i in range(5)]
    assert found[3].name == "row 4 (task t3)"
    assert found == read_rows(rows)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"completion": ANSWER}, "'prompt' must be a list of messages"),
        ({"prompt": USER}, "'completion' must be a list of messages"),
        ({"prompt": [], "completion": ANSWER}, "'prompt' must be a list of messages"),
        ({"prompt": "2 + 2?", "completion": ANSWER}, "'prompt' must be a list of messages"),
        ({"prompt": ["2 + 2?"], "completion": ANSWER}, "needs a role and a content"),
        ({"prompt": [{"role": "tool", "content": "x"}], "completion": ANSWER}, "needs a role and a content"),
        ({"prompt": [{"role": "user", "content": None}], "completion": ANSWER}, "needs a role and a content"),
        ({"prompt": USER, "completion": USER}, "not the assistant's"),
        ({"prompt": USER, "completion": [{"role": "assistant", "content": " \n"}]}, "completion is empty"),
    ],
)
def test_what_is_no_row_is_refused_by_name(row: dict[str, Any], said: str) -> None:
    good = {"prompt": USER, "completion": ANSWER}
    with pytest.raises(InputError, match=f"^row 2.*{said}"):
        read_rows([good, row])


def test_no_rows_at_all() -> None:
    with pytest.raises(InputError, match="no row to train on"):
        read_rows([])


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match="nowhere"):
        read_rows(tmp_path / "nowhere")


def test_a_folder_without_rows(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no parquet"):
        read_rows(tmp_path)


def test_a_file_that_is_no_parquet(tmp_path: Path) -> None:
    (tmp_path / "train.parquet").write_bytes(b"PAR1 and then nothing")
    with pytest.raises(InputError, match="cannot be read"):
        read_rows(tmp_path)


def test_the_students_system_prompt_replaces_any_other() -> None:
    asked = (Message("system", "old"), Message("user", "hello"))
    assert with_system(asked, None) == asked
    assert with_system(asked, "new") == (Message("system", "new"), Message("user", "hello"))
    assert with_system(asked[1:], "") == (Message("system", ""), Message("user", "hello"))
    assert with_system(with_system(asked, "new"), "new") == with_system(asked, "new")
