"""Files are written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from stillroom.common.datasets import ParquetRows
from stillroom.common.files import remove, replaced, share, storable
from stillroom.errors import RunError


def test_a_file_appears_when_it_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.txt"
    with replaced(path) as file:
        file.write(b"whole")
        assert not path.exists()
    assert path.read_bytes() == b"whole"


def test_what_goes_wrong_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_bytes(b"old")

    def half() -> None:
        with replaced(path) as file:
            file.write(b"half")
            raise KeyError("on the way")

    with pytest.raises(KeyError):
        half()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.skipif(os.name == "nt", reason="has no such rights")
@pytest.mark.parametrize(("mask", "rights"), [(0o022, 0o644), (0o077, 0o600), (0o002, 0o664)])
def test_a_file_is_shared_as_a_new_one_would_be(tmp_path: Path, mask: int, rights: int) -> None:
    path = tmp_path / "weights"
    path.touch(0o600)
    before = os.umask(mask)
    try:
        share(path)
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == rights
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_cannot_be_is_a_run_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with (
        pytest.raises(RunError, match=r"cannot write .*choose another folder"),
        replaced(tmp_path / "file" / "a") as file,
    ):
        file.write(b"")
    remove(tmp_path / "file" / "a")  # no such folder, so nothing to remove


def test_the_same_rows_are_the_same_parquet(tmp_path: Path) -> None:
    def schema(pa: Any) -> Any:
        return pa.schema([("text", pa.string()), ("score", pa.float64())])

    rows = [{"text": f"row {i}", "score": i / 3 if i % 2 else None} for i in range(100)]
    for name in ("a", "b"):
        with ParquetRows(tmp_path / name, schema) as file:
            for row in rows:
                file.add(row)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()

    import pyarrow.parquet as pq

    assert pq.read_table(tmp_path / "a").to_pylist() == rows


def test_text_that_no_file_can_hold() -> None:
    assert storable("a\ud800b\udfff因") == "a�b�因"
