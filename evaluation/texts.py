"""Held-out text for perplexity: short everyday texts that come with Stillroom, or a JSON Lines file of one's own.

    everyday_texts()["soup"]
    read_texts(Path("letters.jsonl"), field="text", limit=200)["letters.jsonl:1"]

The everyday texts are written for this purpose, in plain English: small talk, letters, instructions with their
answers, explanations, news, a little code. They are no benchmark: few and short, they show whether a student still
speaks as it did, and perplexities on them are comparable with each other only. A file is refused with the line that
cannot be read; nothing of it is passed over but empty lines.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

from stillroom.common.files import storable
from stillroom.errors import InputError, MissingFile

FILE = "everyday.jsonl"


def everyday_texts() -> dict[str, str]:
    """The texts that come with Stillroom, by name."""
    lines = files("stillroom.evaluation").joinpath(FILE).read_text(encoding="utf-8").splitlines()
    return {row["id"]: row["text"] for row in map(json.loads, lines)}


def read_texts(path: Path, field: str = "text", limit: int | None = None) -> dict[str, str]:
    """The texts under `field` of a JSON Lines file, by file name and line; `limit`: so many from the start.

    Raises MissingFile, or InputError for a line without the text, or a file without a line.
    """
    texts: dict[str, str] = {}
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, text in _texts(file, path, field):
                texts[f"{path.name}:{number}"] = text
                if len(texts) == limit:
                    break
    except OSError as error:
        raise MissingFile(f"the texts {path} cannot be read ({error.strerror}): correct texts.path") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 (byte {error.start:,}): convert it") from None
    if not texts:
        raise InputError(f"{path} holds no text: give JSON Lines with {field!r}, or texts: everyday")
    return texts


def _texts(lines: Iterable[str], path: Path, field: str) -> Iterator[tuple[int, str]]:
    """Line numbers from 1, and texts."""
    for number, line in enumerate(lines, 1):
        if line.strip():
            yield number, storable(_text(_row(line, f"{path}:{number}"), field, f"{path}:{number}"))


def _row(line: str, where: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where} is no JSON ({error}): give one object a line") from None
    if not isinstance(row, dict):
        raise InputError(f'{where} is a {type(row).__name__}: give an object such as {{"text": "…"}}')
    return row


def _text(row: dict[str, Any], field: str, where: str) -> str:
    text = row.get(field)
    if isinstance(text, str) and text.strip():
        return text
    if text is None:
        names = ", ".join(repr(str(key)[:30]) for key in list(row)[:8]) or "nothing"
        raise InputError(f"{where} has no {field!r} (it has {names}): name the field of the text in texts.field")
    raise InputError(
        f"{where}: {field!r} is {'empty' if isinstance(text, str) else 'no text'}: correct or remove the line"
    )
