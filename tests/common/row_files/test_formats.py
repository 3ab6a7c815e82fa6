"""Every format gives the same rows, whatever the file is called and however it is packed; and what is wrong is told
with file and line."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import struct
import tracemalloc
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest

from stillroom.common.row_files import Fault, FileRow, digest_of, files_of, rows_of
from stillroom.errors import InputError, MissingFile

ROWS = [{"question": "a, \u2028 b?", "answer": "1"}, {"question": 'the "second"\nline', "answer": "2"}]


def lines(rows: list[Any]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def arrow(rows: list[Any], new: Callable[..., Any]) -> bytes:
    table, sink = pa.Table.from_pylist(rows), pa.BufferOutputStream()
    with new(sink, table.schema) as writer:
        writer.write_table(table)
    return bytes(sink.getvalue())


def parquet(rows: list[Any]) -> bytes:
    sink = pa.BufferOutputStream()
    pa.parquet.write_table(pa.Table.from_pylist(rows), sink)
    return bytes(sink.getvalue())


def table(sign: str) -> bytes:
    cells = [
        ["question", "answer"],
        *([json.dumps(r["question"], ensure_ascii=False)[1:-1].replace("\\n", "\n"), r["answer"]] for r in ROWS),
    ]
    return "\r\n".join(sign.join('"' + cell.replace('\\"', '""') + '"' for cell in row) for row in cells).encode()


FORMATS: dict[str, tuple[bytes, list[int]]] = {
    "lines": (lines(ROWS), [1, 2]),
    "lines of Windows": (lines(ROWS).replace(b"\n", b"\r\n"), [1, 2]),
    "no line feed at the end": (lines(ROWS)[:-1], [1, 2]),
    "blank lines": (b"\n" + lines(ROWS).replace(b"\n", b"\n \n"), [2, 4]),
    "array": (json.dumps(ROWS).encode(), [1, 1]),
    "array over lines": (json.dumps(ROWS, indent=2).encode(), [2, 6]),
    "objects over lines": ("\n".join(json.dumps(row, indent=1) for row in ROWS).encode(), [1, 5]),
    "csv": (table(","), [1 + 1, 3]),
    "csv of semicolons": (table(";"), [2, 3]),
    "tsv": (table("\t"), [2, 3]),
    "parquet": (parquet(ROWS), [1, 2]),
    "arrow": (arrow(ROWS, pa.ipc.new_file), [1, 2]),
    "arrow stream": (arrow(ROWS, pa.ipc.new_stream), [1, 2]),
}
TEXT = [name for name in FORMATS if name not in ("parquet", "arrow", "arrow stream")]


def zst(data: bytes) -> bytes:
    return bytes(pa.compress(data, "zstd", asbytes=True))


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zst": zst,
    "gz in two parts": lambda data: gzip.compress(data[:50], mtime=0) + gzip.compress(data[50:]),
    "zst in two parts": lambda data: zst(data[:50]) + zst(data[50:]),
}


def written(folder: Path, data: bytes, name: str = "rows.dat") -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def read(path: Path) -> tuple[list[Any], list[int]]:
    rows = list(rows_of(path))
    return [row.values for row in rows], [row.number for row in rows]


@pytest.mark.parametrize("name", FORMATS)
def test_a_format_is_known_by_its_content(tmp_path: Path, name: str) -> None:
    data, numbers = FORMATS[name]
    assert read(written(tmp_path, data)) == (ROWS, numbers)


@pytest.mark.parametrize("name", TEXT)
def test_a_byte_order_mark_is_not_part_of_the_rows(tmp_path: Path, name: str) -> None:
    data, numbers = FORMATS[name]
    assert read(written(tmp_path, b"\xef\xbb\xbf" + data)) == (ROWS, numbers)


@pytest.mark.parametrize("packed", PACKED)
@pytest.mark.parametrize("name", ["lines", "array over lines", "csv"])
def test_packed_files_are_unpacked_on_the_way(tmp_path: Path, name: str, packed: str) -> None:
    data, numbers = FORMATS[name]
    assert read(written(tmp_path, PACKED[packed](data))) == (ROWS, numbers)


@pytest.mark.parametrize("packed", ["gz", "bz2", "xz", "zst"])
def test_a_packed_file_that_breaks_off_is_told(tmp_path: Path, packed: str) -> None:
    data = PACKED[packed](lines([{"n": n, "text": str(n * 7919 % 1013)} for n in range(30_000)]))
    with pytest.raises(InputError, match=r"rows\.dat.*(damaged or cut off)"):
        list(rows_of(written(tmp_path, data[: len(data) // 2])))


def test_a_place_names_file_and_line_or_row(tmp_path: Path) -> None:
    [row, *_] = rows_of(written(tmp_path, FORMATS["lines"][0]))
    assert (row.place, row.short) == (f"{tmp_path / 'rows.dat'}:1", "rows.dat:1")
    [row, *_] = rows_of(written(tmp_path, FORMATS["parquet"][0]))
    assert (row.place, row.short) == (f"{tmp_path / 'rows.dat'}, row 1", "rows.dat, row 1")


@pytest.mark.parametrize(
    ("line", "kind", "told"),
    [
        (b'{"a": 1', "json", "Expecting"),
        (b'{"a": NaN}', "json", "NaN is not JSON: write null"),
        (b'{"a": 1, "a": 2}', "json", "the key 'a' stands twice"),
        (b'{"a": 1}{"a": 2}', "json", "a line feed is missing between two rows"),
        (b'{"a": 1},', "json", "JSON Lines has no comma after a row"),
        (b'// {"a": 1}', "json", "JSON has no comments"),
        (b"{'a': 1}", "json", "as Python prints it"),
        (b"[1]", "object", "an array, not an object"),
        (b'"text"', "object", "a text"),
        (b"7", "object", "a number"),
        (b'{"a": "\xff"}', "encoding", "byte 0xff at 7; convert the file with `iconv -f WINDOWS-1252"),
        (b"[" * 100_000, "json", "recursion"),
    ],
)
def test_a_bad_line_is_a_fault_among_the_rows(tmp_path: Path, line: bytes, kind: str, told: str) -> None:
    good = lines(ROWS[:1])
    first, bad, last = rows_of(written(tmp_path, good + line + b"\n" + good))
    assert first.values == last.values == ROWS[0]
    assert isinstance(bad.values, Fault)
    assert (bad.number, bad.values.kind) == (2, kind)
    assert told in bad.values.told


WRAPPED = {
    "under a name": {"version": "1.1", "data": ROWS},
    "of LMFlow": {"type": "text2text", "instances": ROWS},
    "by columns": {name: [row[name] for row in ROWS] for name in ROWS[0]},
    "as pandas writes it": {name: {str(n): row[name] for n, row in enumerate(ROWS)} for name in ROWS[0]},
    "a log of Inspect": {"version": 2, "status": "success", "eval": {"task": "t"}, "samples": ROWS},
}


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize("name", WRAPPED)
def test_rows_within_one_object_are_read_and_their_place_is_the_item(
    tmp_path: Path, name: str, indent: int | None
) -> None:
    path = written(tmp_path, json.dumps(WRAPPED[name], indent=indent).encode())
    assert read(path) == (ROWS, [1, 2])
    assert [row.short for row in rows_of(path)][1] == "rows.dat, item 2"


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [{"role": "user", "content": "q"}]},
        {"task_id": "a", "samples": [{"text": "4"}]},
        {"problem": "q", "generations": ["a"]},
        {"chosen": {"role": "assistant", "content": "a"}, "rejected": {"role": "assistant", "content": "b"}},
        {"question": "q", "examples": [{"a": 1}]},
    ],
)
@pytest.mark.parametrize("indent", [None, 2])
def test_the_only_row_of_a_file_is_a_row(tmp_path: Path, row: dict[str, Any], indent: int | None) -> None:
    if indent and "samples" in row:
        return  # over several lines it is taken for an object with rows in it
    assert read(written(tmp_path, json.dumps(row, indent=indent).encode())) == ([row], [1])


def log_archive(
    folder: Path, samples: list[Any], how: int = zipfile.ZIP_DEFLATED, name: str = "{}_epoch_1.json"
) -> Path:
    path = folder / "log.eval"
    with zipfile.ZipFile(path, "w", how) as archive:
        archive.writestr("_journal/start.json", "{}")
        for number, sample in enumerate(samples, 1):
            archive.writestr(f"samples/{name.format(number)}", json.dumps(sample))
        archive.writestr("header.json", "{}")
    return path


def test_the_samples_of_an_archive_of_inspect_are_rows(tmp_path: Path) -> None:
    path = log_archive(tmp_path, ROWS)
    assert read(path) == (ROWS, [1, 2])
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(InputError, match=r"log\.eval cannot be unpacked .*damaged or cut off"):
        read(path)
    with pytest.raises(InputError, match=r"each sample in several files .*inspect log convert"):
        read(log_archive(tmp_path, ROWS, name="{}_epoch_1/sample.json"))


def test_an_archive_of_inspect_may_be_packed_with_zstandard(tmp_path: Path) -> None:
    """As newer versions write it; Python's zipfile cannot, so the sizes and the method are put in by hand."""
    path, text = tmp_path / "log.eval", json.dumps(ROWS[0]).encode()
    packed = zst(text)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("samples/1_epoch_1.json", packed)
    data = path.read_bytes()
    stored = struct.pack("<HH", 20, 0) + struct.pack("<HH", 0, 0)
    data = data.replace(b"PK\x03\x04" + stored[:4] + b"\0\0", b"PK\x03\x04" + stored[:4] + struct.pack("<H", 93))
    at = data.index(b"PK\x01\x02")
    data = data[: at + 10] + struct.pack("<H", 93) + data[at + 12 :]
    path.write_bytes(data)
    assert read(path) == (ROWS[:1], [1])


@pytest.mark.parametrize(("row", "told"), [("1", "1 cell, the header has 2"), ("1,2,3", "3 cells, the header has 2")])
def test_a_row_of_csv_with_other_cells_is_a_fault(tmp_path: Path, row: str, told: str) -> None:
    first, bad = rows_of(written(tmp_path, f"a,b\n1,\n{row}\n".encode()))
    assert first.values == {"a": "1", "b": None}
    assert bad == FileRow(tmp_path / "rows.dat", 3, "line", Fault("cells", told))


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"PK\x03\x04...", "zip archive or a spreadsheet"),
        (b"\xff\xfe{\x00", "UTF-16"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", "git lfs pull"),
        (b"<!doctype html>\n<p>404", "page of HTML"),
        (b'[{"a": 1}, {"a"', r"rows\.dat:1: the item that begins here is not JSON"),
        (b'[{"a": 1},\n{"a": 2}', "not closed: the file is cut off"),
        (b'[{"a": 1}\n{"a": 2}]', r"rows\.dat:2: a comma is missing"),
        (b'[{"a": 1}]\n[{"a": 2}]', r"rows\.dat:2: something follows"),
        (b'[{"a": 1},\n{"a": "\xff"}]', r"rows\.dat:2: not UTF-8: byte 0xff"),
        (b'{"train": [{"a": 1}], "test": [{"a": 2}]}', r"rows in 'train' and 'test': .*jq -c '\.train\[\]'"),
        (b'{\n"version": 1,\n"things": [{"a": 1}]}', r"rows in 'things': .*jq -c '\.things\[\]'"),
        (b'{"id01": {"q": "1", "a": "2"}, "id02": {"q": "3", "a": "4"}}', r"under each key \(id01, id02, .*jq -c"),
        (b"a,b\r1,2\r3,4\r", r"carriage return alone.*tr '\\r' '\\n'"),
        (b'{"a": 1}\r{"a": 2}\r', "carriage return alone"),
        (b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X", "what macOS keeps of a file's attributes"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "old format of Excel"),
        (b"a.jsonl".ljust(257, b"\0") + b"ustar  \0", "tar archive"),
        (b'a,b\n1,"2\n3,4\n', r"rows\.dat:2: .*not CSV.*quote"),
        (b"a,a\n1,2\n", r"two columns are named 'a'"),
        (b"a,b\n1,\xe9\n", r"rows\.dat:2: not UTF-8: byte 0xe9.*WINDOWS-1252"),
        (b"PAR1 and no more", "not a Parquet file"),
        (b"ARROW1 and no more", "not an Arrow file"),
        (gzip.compress(FORMATS["parquet"][0], mtime=0), "unpack it"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_message(tmp_path: Path, data: bytes, told: str) -> None:
    with pytest.raises(InputError, match=told):
        list(rows_of(written(tmp_path, data)))


@pytest.mark.parametrize(
    ("name", "data", "count"),
    [
        ("p.jsonl", b"question,answer\n1 + 1,2\n", 1),  # a table beyond doubt
        ("p.jsonl", b"not a table\n", 1),
        ("p.jsonl", b"plain, text\n", 1),
        ("p.csv", lines(ROWS), 2),
        ("p.csv", b"[id],b\n1,2\n", 1),
        ("p.csv", b"only\n1\n2\n", 2),
        ("p.csv.gz", gzip.compress(b"only\n1\n2\n", mtime=0), 2),
        ("p.parquet", lines(ROWS), 2),
        ("p.json", b"", 0),
    ],
)
def test_the_name_decides_only_where_the_content_does_not(tmp_path: Path, name: str, data: bytes, count: int) -> None:
    assert len(list(rows_of(written(tmp_path, data, name)))) == count


def test_a_long_cell_and_a_long_item_are_read(tmp_path: Path) -> None:
    text = "x" * 400_000
    assert read(written(tmp_path, f'a,b\n"{text}",1\n'.encode()))[0] == [{"a": text, "b": "1"}]
    assert read(written(tmp_path, json.dumps([{"a": text}, {"a": "y"}]).encode()))[0] == [{"a": text}, {"a": "y"}]


@pytest.mark.parametrize("wrap", [lines, lambda rows: json.dumps(rows).encode()])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, wrap: Callable[[list[Any]], bytes]) -> None:
    path = written(tmp_path, gzip.compress(wrap([{"n": n, "text": "x" * 1_000} for n in range(20_000)]), 1))
    tracemalloc.start()
    try:
        count = sum(1 for _ in rows_of(path))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert count == 20_000
    assert peak < 2_000_000


# -- which files -------------------------------------------------------------------------------------------------


def test_a_pattern_names_its_files_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    for number in (10, 9, 1):
        written(tmp_path, b"{}\n", f"part-{number}.jsonl")
    found = files_of(tmp_path / "part-*.jsonl", "tasks.path")
    assert [path.name for path in found] == ["part-1.jsonl", "part-9.jsonl", "part-10.jsonl"]
    assert digest_of(found) != digest_of(found[:2]) != digest_of(found[:1])
    with pytest.raises(MissingFile, match=r"tasks\.path: no file matches .*nothing-\*"):
        files_of(tmp_path / "nothing-*", "tasks.path")


def test_a_saved_data_set_is_read_from_its_folder(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    made = datasets.Dataset.from_list(ROWS)
    made.save_to_disk(tmp_path / "one", num_shards=2)
    datasets.DatasetDict(train=made, test=made.select([1])).save_to_disk(tmp_path / "two")
    datasets.DatasetDict(a=made, b=made).save_to_disk(tmp_path / "three")

    def rows(name: str, split: str | None = None) -> list[Any]:
        return [row.values for file in files_of(tmp_path / name, "k", split=split) for row in rows_of(file)]

    assert rows("one") == rows("two") == rows("two/train") == ROWS
    assert rows("two", "test") == ROWS[1:]
    with pytest.raises(InputError, match="three has several splits: name the folder of one, a, b"):
        rows("three")
    with pytest.raises(InputError, match="two has no split 'tst'"):
        rows("two", "tst")


def test_a_saved_data_set_that_was_not_copied_whole_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state.json").write_text('{"_data_files": [{"filename": "../../elsewhere.arrow"}]}')
    with pytest.raises(InputError, match=r"elsewhere\.arrow', which is not in the folder"):
        files_of(tmp_path, "k")
    (tmp_path / "state.json").write_text("{}")
    with pytest.raises(InputError, match="not what `save_to_disk` writes"):
        files_of(tmp_path, "k")


def test_a_folder_of_other_files_is_refused_with_a_pattern(tmp_path: Path) -> None:
    written(tmp_path, b"", "b.csv")
    with pytest.raises(MissingFile, match=r"is a folder.*\(b\.csv\).*/\*\.csv"):
        files_of(tmp_path, "k")
