"""Held-out text: what comes with Stillroom, and JSON Lines of one's own, refused with the line that is wrong."""

from __future__ import annotations

import gzip
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


def test_texts_may_be_a_table_packed_in_shards_or_deeper_in_a_row(tmp_path: Path) -> None:
    for number, name in enumerate(("b", "a"), 1):
        (tmp_path / name).mkdir()
        (tmp_path / name / "t.csv.gz").write_bytes(gzip.compress(f'id,text\n{number},"line\u2028 {name}"\n'.encode()))
    found = read_texts(tmp_path / "*" / "t.csv.gz")
    assert list(found.values()) == ["line\u2028 a", "line\u2028 b"]
    assert list(found) == ["t.csv.gz:2", f"{tmp_path / 'b' / 't.csv.gz'}:2"]
    (tmp_path / "t.jsonl").write_text('{"messages": [{"content": "deep"}]}\n')
    assert read_texts(tmp_path / "t.jsonl", "messages[-1].content") == {"t.jsonl:1": "deep"}


def test_what_stands_after_the_limit_is_not_looked_at(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text('{"text": "a b"}\nnot read\n')
    assert len(read_texts(tmp_path / "t.jsonl", limit=1)) == 1


WRONG = [
    ("nothing", r"t\.jsonl:2: not JSON"),
    ("[" * 100_000, r"t\.jsonl:2: not JSON"),
    ("[1]", r"t\.jsonl:2: an array, not an object"),
    ('{"txt": "a"}', r"t\.jsonl:2: no field 'text' \(the row has: 'txt'; did you mean 'txt'\?\): name the field"),
    ('{"text": null}', r"t\.jsonl:2: no field 'text'"),
    ("{}", r"the row has: none"),
    ('{"text": ["a"]}', r"t\.jsonl:2: the field 'text' is an array, not text"),
    ('{"text": "  "}', r"t\.jsonl:2: the field 'text' is empty"),
    ('{"text": "half', r"t\.jsonl:2: not JSON: Unterminated string"),
]


@pytest.mark.parametrize(("line", "message"), WRONG)
def test_a_line_without_text_is_named(line: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text(json.dumps({"text": "fine"}) + "\n" + line + "\n")
    with pytest.raises(InputError, match=message):
        read_texts(tmp_path / "t.jsonl")


def test_a_file_that_is_not_there_is_empty_or_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match=r"texts\.path: there is no file .*no\.jsonl"):
        read_texts(tmp_path / "no.jsonl")
    with pytest.raises(MissingFile, match="is a folder, a file is needed"):
        read_texts(tmp_path)
    (tmp_path / "empty.jsonl").write_text("\n\n")
    with pytest.raises(InputError, match="holds no text"):
        read_texts(tmp_path / "empty.jsonl")
    (tmp_path / "latin.jsonl").write_bytes(b'{"text": "\xfc"}\n')
    with pytest.raises(InputError, match="not UTF-8: byte 0xfc"):
        read_texts(tmp_path / "latin.jsonl")
