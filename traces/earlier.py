"""Rows of earlier runs, or of any other file, to train on as well: `earlier: [runs/first/sft, "letters-*.jsonl"]`.

A row is a conversation that ends with the answer to learn: `messages`, `conversations`, or `prompt` and `completion`
(each a text or a list of turns). Files are read as all others (`common/row_files`); a folder is that of a run's rows,
or one that `save_to_disk` wrote.

    list(earlier_rows(Path("runs/first/sft")))[0]["completion"]     # [{"role": "assistant", "content": "4"}]
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from stillroom.common.fields import no_field
from stillroom.common.files import storable
from stillroom.common.outside import read_json
from stillroom.common.row_files import Fault, files_of, rows_of
from stillroom.common.row_files.find import SPLITS, STATE
from stillroom.common.turns import turns_in
from stillroom.errors import InputError, MissingFile
from stillroom.traces.rows import DATA_FILE, SftRow

_KEY = "earlier"


def check_earlier(path: Path) -> None:
    """Reads all rows, before anything is paid for. Raises MissingFile, and InputError for what is not a row."""
    if not sum(1 for _ in earlier_rows(path)):
        raise InputError(f"{_KEY}: {path} holds no row")


def earlier_rows(path: Path) -> Iterator[SftRow]:
    """The rows that `path` names. Raises MissingFile, and InputError for what is not a row, with file and line."""
    for file in _files(path):
        for row in rows_of(file, read_json):
            if isinstance(row.values, Fault):
                raise InputError(f"{_KEY}: {row.place}: {row.values.told}")
            try:
                yield _row(row.values, row.place)
            except InputError as error:
                raise InputError(f"{_KEY}: {row.place}: {error}") from None


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        if (path / DATA_FILE).is_file():
            return [path / DATA_FILE]
        if not any((path / name).is_file() for name in (STATE, SPLITS)):
            raise MissingFile(
                f"{_KEY}: there are no rows in {path}: name the sft/ folder of a run that wrote some, or a file"
            )
    elif not path.suffix and not path.exists() and "*" not in path.name:
        raise MissingFile(f"{_KEY}: there are no rows in {path}: name the sft/ folder of a run that wrote some")
    return files_of(path, _KEY)


def _row(values: Mapping[str, Any], place: str) -> SftRow:
    """Raises InputError for what is not a conversation that ends with an answer."""
    if "completion" in values:
        turns = (*_turns(values, "prompt", "user"), *_turns(values, "completion", "assistant"))
    else:
        field = next((name for name in ("messages", "conversations") if name in values), None)
        if field is None:
            raise InputError(f"no messages, conversations, or prompt and completion: {no_field(values, 'messages')}")
        turns = _turns(values, field, "user")
    if len(turns) < 2 or turns[-1]["role"] != "assistant":
        raise InputError("the conversation does not end with an answer")
    task, index = values.get("task_id"), values.get("index")
    return {
        "prompt": list(turns[:-1]),
        "completion": [turns[-1]],
        "task_id": str(task) if task is not None else place,
        "index": index if isinstance(index, int) else 0,
    }


def _turns(values: Mapping[str, Any], field: str, role: str) -> tuple[dict[str, str], ...]:
    """The turns in a field; a text is one turn of `role`."""
    if field not in values:
        raise InputError(no_field(values, field))
    given = values[field]
    if isinstance(given, str) and not given.lstrip().startswith("["):
        given = [{"role": role, "content": given}]
    return tuple({key: storable(text) for key, text in turn.as_dict().items()} for turn in turns_in(given))
