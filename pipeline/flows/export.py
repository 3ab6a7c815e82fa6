"""Writes the rows of a run as another tool reads them, as JSON Lines.

    export("runs/math_tutor", rows="openai", out="tutor.jsonl")
    export("runs/writing_assistant", rows="kto").write(sys.stdout.buffer)

Only rows that may be trained on go out, unless `split="test"` asks for the held-out pairs. A row that the format
cannot hold refuses the whole export, before a line of it is written.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, NamedTuple

from stillroom.common.files import reachable, replaced, storable
from stillroom.common.labelled_rows import FOLDER
from stillroom.errors import InputError, MissingFile
from stillroom.pipeline.config.load import RecipeLike
from stillroom.pipeline.run.facts import folder_of, parts_of, refuse_chain
from stillroom.students.data.labelled import labelled_row
from stillroom.students.data.rows import pair_row, row_name, sft_row
from stillroom.students.export.formats import Format, Line, format_of

SPLITS = ("train", "test")

# What Python's str.splitlines, and readers that use it, take for the end of a line. JSON may escape them.
_LINE_ENDS = re.compile("[\x7f\x85\u2028\u2029]")


class Source(NamedTuple):
    """Files of rows. `pairs`, `labelled`: what the rows are, pairs or answers with labels; else SFT rows. `total`:
    rows in all files."""

    files: tuple[Path, ...]
    pairs: bool
    total: int
    labelled: bool = False


@dataclass(frozen=True, slots=True)
class Exported:
    """What was exported. `rows`: rows or pairs read; `lines`: lines they make. `out`: the file, None where none was
    written yet. `extra`: the second file that the tool needs. `usage`: how the tool is told to read them."""

    format: str
    source: Source
    lines: int
    out: Path | None = None
    extra: Path | None = None
    usage: str = ""

    @property
    def rows(self) -> int:
        """Rows or pairs that were read."""
        return self.source.total

    def write(self, file: IO[bytes]) -> None:
        """All lines, as JSON Lines."""
        for line in _lines(self.source, format_of(self.format)):
            file.write(line)

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        places = {"out": self.out, "extra": self.extra}
        return {
            "format": self.format,
            "pairs": self.source.pairs,
            "rows": self.rows,
            "lines": self.lines,
            **{name: None if path is None else str(path) for name, path in places.items()},
            "usage": self.usage,
        }


def export(run: RecipeLike, *, rows: str, out: str | Path | None = None, split: str = "train") -> Exported:
    """Exports SFT rows, pairs, or answers with labels. `run`: the folder of a run or the recipe whose default folder
    it is, a folder of parquet, or one parquet file. `rows`: the format, such as openai. `out`: the file to write;
    None: the caller writes. `split`: train, or test for held-out pairs.

    Raises MissingFile, or InputError for an unknown format, for rows that cannot be read, and for a row that the
    format cannot hold.
    """
    format = format_of(rows)
    if out is None and format.needs_file:
        raise InputError(f"--rows {rows} writes two files: name the first with --out, for example --out {rows}.jsonl")
    source = _source(folder_of(run), split, labels=rows == FOLDER)
    lines = sum(1 for _ in _lines(source, format))  # refuses here what cannot be held
    if not lines:
        raise InputError(f"{source.files[0]} holds no rows: there is nothing to export")
    if out is None:
        return Exported(rows, source, lines)
    path = reachable(Path(out), "the exported file (--out)")
    if path.is_dir():
        raise InputError(f"--out {path} is a folder: name a file in it, for example {path / f'{rows}.jsonl'}")
    extra = format.extra_file(path, pairs=source.pairs)
    usage = format.usage(path, pairs=source.pairs)
    found = Exported(rows, source, lines, path, None if extra is None else extra[0], usage)
    with replaced(path) as file:
        found.write(file)
    if extra is not None:
        with replaced(extra[0]) as file:
            file.write(extra[1].encode())
    return found


def _lines(source: Source, format: Format) -> Iterator[bytes]:
    """Every line, one by one: there may be more rows than the memory holds."""
    for index, row in enumerate(_read(source.files)):
        name = f"{source.files[0]}: {row_name(index, row)}" if len(source.files) == 1 else row_name(index, row)
        for line in _lines_of(name, row, source, format):
            text = storable(json.dumps(line, ensure_ascii=False))
            yield _LINE_ENDS.sub(lambda found: f"\\u{ord(found[0]):04x}", text).encode() + b"\n"


def _lines_of(name: str, row: Mapping[str, Any], source: Source, format: Format) -> list[Line]:
    if source.labelled:
        return format.answer(labelled_row(name, row))
    return format.pair(pair_row(name, row)) if source.pairs else format.sft(sft_row(name, row))


def _read(files: tuple[Path, ...]) -> Iterator[Mapping[str, Any]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for file in files:
        try:
            for batch in pq.ParquetFile(file).iter_batches(batch_size=500):
                yield from batch.to_pylist()
        except (OSError, pa.ArrowInvalid) as error:
            raise InputError(f"{file} cannot be read as parquet: {error}") from None


def _source(path: Path, split: str, *, labels: bool) -> Source:
    """The files to read, and what is in them. `labels`: of a run that wrote answers with labels, those are meant."""
    if split not in SPLITS:
        raise InputError(f"--split {split!r}: expected one of {', '.join(SPLITS)}")
    written = path / FOLDER / f"{split}.parquet"
    files = (written,) if labels and written.is_file() else _files(path, split)
    kinds = {file: _kind(file) for file in files}
    if len({kind.name for kind in kinds.values()}) > 1:
        first = next(iter(kinds))
        held = sorted({kind.name for kind in kinds.values()})
        raise InputError(f"{path} holds {' and '.join(held)}: give the folder of one kind, such as {first.parent}")
    kind = next(iter(kinds.values()))
    return Source(files, kind.pairs, sum(kind.total for kind in kinds.values()), kind.labelled)


def _files(path: Path, split: str) -> tuple[Path, ...]:
    if path.is_file():
        return (path,)
    if not path.exists():
        raise MissingFile(f"there is no {path}: give the folder of a run, or a folder or file of parquet")
    refuse_chain(path, parts_of(path))
    name = f"{split}.parquet"
    places = [each for each in (path / "sft" / name, path / "dpo" / name, path / name) if each.is_file()]
    if not places and split == "train":
        places = [each for each in sorted(path.glob("*.parquet")) if each.name != "test.parquet"]
    if places:
        return tuple(places)
    if split == "test":
        raise InputError(
            f"{path} holds no held-out pairs (test.parquet): pairs.test holds some out; try --split train"
        )
    raise InputError(
        f"{path} holds no sft/{name}, no dpo/{name} and no parquet file: run the recipe to its end first"
    )


class _Kind(NamedTuple):
    pairs: bool
    labelled: bool
    total: int

    @property
    def name(self) -> str:
        return "pairs" if self.pairs else "answers with labels" if self.labelled else "SFT rows"


def _kind(file: Path) -> _Kind:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        read = pq.ParquetFile(file)
        columns, count = set(read.schema_arrow.names), read.metadata.num_rows
        labelled = "label" in columns and read.schema_arrow.field("label").type == pa.bool_()
    except (OSError, pa.ArrowInvalid) as error:
        raise InputError(f"{file} cannot be read as parquet: {error}") from None
    if {"prompt", "chosen", "rejected"} <= columns:
        return _Kind(True, False, count)
    if {"prompt", "completion"} <= columns:
        return _Kind(False, labelled, count)
    raise InputError(
        f"{file} has the columns {', '.join(sorted(columns))[:200]}: SFT rows have prompt and completion, pairs have "
        "prompt, chosen and rejected"
    )
