"""Held-out text: what comes with Stillroom, and JSON Lines of one's own, refused with the line that is wrong."""

from __future__ import annotations

import json
import re
from itertools import combinations
from pathlib import Path

import pytest

from stillroom.errors import InputError, MissingFile
from stillroom.evaluation.forgetting import everyday_texts, read_texts


def test_the_everyday_texts_are_many_short_and_different() -> None:
    texts = everyday_texts()
    assert len(texts) == 40
    for name, text in texts.items():
        assert re.fullmatch(r"[a-z_]+", name)
        assert 60 <= len(text.split()) <= 150, name
        assert text == text.strip()
        assert text.isascii(), name  # every tokenizer reads them alike
    for one, other in combinations(texts.values(), 2):
        assert len(set(_fives(one)) & set(_fives(other))) <= 2


def _fives(text: str) -> list[tuple[str, ...]]:
    words = re.findall(r"[a-z0-9]+", text.lower())
    return [tuple(words[i : i + 5]) for i in range(len(words) - 4)]


def test_texts_are_named_by_file_and_line(tmp_path: Path) -> None:
    path = tmp_path / "letters.jsonl"
    path.write_bytes('\ufeff{"text": "one"}\n\n{"text": "two ü", "more": 1}\r\n{"text": "three"}'.encode())
    assert read_texts(path) == {"letters.jsonl:1": "one", "letters.jsonl:3": "two ü", "letters.jsonl:4": "three"}
    assert list(read_texts(path, limit=2)) == ["letters.jsonl:1", "letters.jsonl:3"]


def test_another_field_and_a_broken_character(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"body": "a \\ud800 b"}\n')
    assert read_texts(tmp_path / "t.jsonl", "body") == {"t.jsonl:1": "a \ufffd b"}


def test_what_stands_after_the_limit_is_not_looked_at(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"text": "a b"}\nnot read\n')
    assert len(read_texts(tmp_path / "t.jsonl", limit=1)) == 1


WRONG = [
    ("nothing", r"t\.jsonl:2 is not JSON"),
    ("[" * 100_000, r"t\.jsonl:2 is not JSON"),
    ("[1]", r"t\.jsonl:2 is a list: give an object"),
    ('{"txt": "a"}', r"t\.jsonl:2 has no 'text' \(it has 'txt'\): name the field"),
    ('{"text": null}', r"t\.jsonl:2 has no 'text'"),
    ("{}", r"it has nothing"),
    ('{"text": ["a"]}', r"t\.jsonl:2: 'text' is no text"),
    ('{"text": "  "}', r"t\.jsonl:2: 'text' is empty"),
]


@pytest.mark.parametrize(("line", "message"), WRONG)
def test_a_line_without_text_is_named(line: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text(json.dumps({"text": "fine"}) + "\n" + line + "\n")
    with pytest.raises(InputError, match=message):
        read_texts(tmp_path / "t.jsonl")


def test_a_file_that_is_not_there_is_empty_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match=r"no\.jsonl cannot be read"):
        read_texts(tmp_path / "no.jsonl")
    with pytest.raises(MissingFile, match="cannot be read"):
        read_texts(tmp_path)
    (tmp_path / "empty.jsonl").write_text("\n\n")
    with pytest.raises(InputError, match="holds no text"):
        read_texts(tmp_path / "empty.jsonl")
    (tmp_path / "latin.jsonl").write_bytes(b'{"text": "\xfc"}\n')
    with pytest.raises(InputError, match="is not UTF-8"):
        read_texts(tmp_path / "latin.jsonl")
