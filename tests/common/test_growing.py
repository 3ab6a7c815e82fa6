"""Files that grow: the bytes of a file that was written at once, whole or not at all, and errors told apart."""

from __future__ import annotations

import io
import random
from pathlib import Path
from typing import Any

import pytest

from stillroom.common import datasets as growing
from stillroom.common.datasets import ParquetRows
from stillroom.common.files import Growing
from stillroom.common.records import Attempt, State, Task, Verdict, user
from stillroom.errors import LedgerError, RunError
from stillroom.traces.filters import Reject, RejectFiles
from stillroom.traces.rows import DATA_FILE, _schema, read_sft, sft_file
from stillroom.traces.trace import Trace


def row(number: int, words: int = 20) -> dict[str, Any]:
    said = " ".join(f"w{random.Random(number).randrange(9**6)}" for _ in range(number % words))
    turns = [{"role": "user", "content": f"question {number}"}, {"role": "user", "content": "?"}]
    return {
        "prompt": turns[: 1 + number % 2],
        "completion": [{"role": "assistant", "content": said}],
        "task_id": f"t{number // 3}",
        "index": number % 3,
    }


def at_once(rows: list[dict[str, Any]]) -> bytes:
    """The file as pyarrow writes it when it has all rows at once."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    table, file = pa.Table.from_pylist(rows, schema=_schema(pa)), io.BytesIO()
    pq.write_table(table, file, compression="zstd", row_group_size=10_000)
    return file.getvalue()


def write(folder: Path, count: int, error: Exception | None = None) -> None:
    """Writes so many rows, and fails then."""
    with sft_file(folder) as file:
        for number in range(count):
            file.add(row(number))
        if error is not None:
            raise error


def names(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("count", [1, 499, 500, 501, 9_999, 10_000, 10_001, 20_700])
def test_rows_one_by_one_are_the_bytes_of_rows_at_once(tmp_path: Path, count: int) -> None:
    rows = [row(n) for n in range(count)]
    with sft_file(tmp_path) as file:
        for each in rows:
            file.add(each)
    assert file.count == count
    assert (tmp_path / DATA_FILE).read_bytes() == at_once(rows)
    assert read_sft(tmp_path) == rows


def test_long_rows_end_a_group_early_and_read_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import pyarrow.parquet as pq

    monkeypatch.setattr(growing, "GROUP_BYTES", 500_000)
    rows = [row(n, words=200) for n in range(4_000)]
    with sft_file(tmp_path) as file:
        for each in rows:
            file.add(each)
    read = pq.ParquetFile(tmp_path / DATA_FILE)
    sizes = [read.metadata.row_group(n).num_rows for n in range(read.num_row_groups)]
    assert sum(sizes) == 4_000
    assert max(sizes) < 4_000
    assert read_sft(tmp_path) == rows


def test_no_rows_are_no_file_and_leave_the_old_one(tmp_path: Path) -> None:
    with sft_file(tmp_path / "new"):
        pass
    assert not (tmp_path / "new").exists()
    (tmp_path / DATA_FILE).write_text("old")
    with sft_file(tmp_path):
        pass
    assert (tmp_path / DATA_FILE).read_text() == "old"


@pytest.mark.parametrize("count", [3, 25_000])
def test_what_goes_wrong_elsewhere_leaves_the_old_file_and_is_told_as_it_is(tmp_path: Path, count: int) -> None:
    """A LedgerError is an OSError: `replaced` alone would call it a file that cannot be written."""
    (tmp_path / DATA_FILE).write_text("old")
    with pytest.raises(LedgerError, match=r"^the ledger is damaged$"):
        write(tmp_path, count, LedgerError("the ledger is damaged"))
    assert names(tmp_path) == [DATA_FILE]
    assert (tmp_path / DATA_FILE).read_text() == "old"


class Full(io.BytesIO):
    """A disk with no room after so many bytes."""

    def write(self, data: Any) -> int:
        if self.tell() + len(data) > 20_000:
            raise OSError(28, "No space left on device")
        return super().write(data)


def test_a_full_disk_is_a_run_error_that_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, mode: str = "r", **_: Any) -> Any:
        return Full()

    (tmp_path / DATA_FILE).write_text("old")
    with monkeypatch.context() as patched:
        patched.setattr(Path, "open", full)
        with pytest.raises(RunError, match=r"cannot write .*train\.parquet: No space left on device: free"):
            write(tmp_path, 30_000)
    assert names(tmp_path) == [DATA_FILE]


def test_a_file_ends_once(tmp_path: Path) -> None:
    file = Growing(tmp_path / "a")
    with file.writing() as out:
        out.write(b"1")
    file.keep()
    file.discard()
    file.keep()
    assert (tmp_path / "a").read_bytes() == b"1"
    other = Growing(tmp_path / "b")
    other.discard()
    other.keep()
    assert names(tmp_path) == ["a"]


def test_nothing_of_a_parquet_file_is_loaded_before_its_first_rows(tmp_path: Path) -> None:
    def never(_: Any) -> Any:
        raise AssertionError

    with ParquetRows(tmp_path / "x.parquet", never):
        pass


# -- rejects -----------------------------------------------------------------------------------------------------


def reject(name: str, number: int) -> Reject:
    attempt = Attempt("t", number, f"text {number}", None, "stop", 1, 2, None, 0.1, "m")
    trace = Trace(Task("t", user("q"), "1", "p:1"), attempt, Verdict(State.ACCEPTED, "equal"))
    return Reject(trace, name, "reason", "detail")


def test_rejects_of_several_filters_are_in_the_order_of_their_traces(tmp_path: Path) -> None:
    with RejectFiles(tmp_path) as files:
        for number in range(10):
            files.add(reject(("dedup", "finished")[number % 2], number))
        assert not (tmp_path / "dedup.jsonl").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dedup.jsonl", "finished.jsonl"]
    assert [line.split('"index": ')[1][0] for line in (tmp_path / "finished.jsonl").read_text().splitlines()] == list(
        "13579"
    )


def test_rejects_of_a_run_that_fails_leave_the_earlier_ones(tmp_path: Path) -> None:
    for name in ("dedup", "finished"):
        (tmp_path / f"{name}.jsonl").write_text("old")

    def fail() -> None:
        with RejectFiles(tmp_path) as files:
            files.add(reject("dedup", 0))
            raise LedgerError("gone")

    with pytest.raises(LedgerError, match="gone"):
        fail()
    assert names(tmp_path) == ["dedup.jsonl", "finished.jsonl"]
    assert (tmp_path / "dedup.jsonl").read_text() == "old"
