"""Labelled pairs: both forms, and what is wrong with a file, by line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stillroom.errors import InputError, MissingFile
from stillroom.judges.human_labels import LabelledPair, load_labelled

GOOD = {"prompt": "Say hello.", "a": "Hello.", "b": "Bye.", "label": "a"}


def written(folder: Path, *lines: Any, name: str = "labels.jsonl") -> Path:
    path = folder / name
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines), "utf-8")
    return path


def seen(pair: LabelledPair) -> tuple[str, str, str, str, str]:
    return pair.task.id, pair.task.messages[-1].content, pair.a.text, pair.b.text, pair.label


def test_a_users_own_lines_are_read(tmp_path: Path) -> None:
    path = written(tmp_path, GOOD, "", GOOD | {"label": "tie", "id": 7, "topic": "manners"})
    first, second = load_labelled(path)
    assert seen(first) == ("labels.jsonl:1", "Say hello.", "Hello.", "Bye.", "a")
    assert seen(second) == ("7", "Say hello.", "Hello.", "Bye.", "tie")
    assert (second.task.source, second.task.metadata) == ("labels.jsonl:3", {"topic": "manners"})


def test_llmbar_is_read(tmp_path: Path) -> None:
    items = [{"input": f"Q{i}", "output_1": "x\ny", "output_2": "z", "label": 2 - i} for i in range(2)]
    path = written(tmp_path, json.dumps(items, indent=1), name="LLMBar_Adversarial_GPTInst.json")
    pairs = load_labelled(path)
    assert [seen(pair) for pair in pairs] == [
        ("LLMBar/Adversarial/GPTInst/0", "Q0", "x\ny", "z", "b"),
        ("LLMBar/Adversarial/GPTInst/1", "Q1", "x\ny", "z", "a"),
    ]
    assert [pair.task.source for pair in pairs] == [f"{path.name}:2", f"{path.name}:8"]


def test_an_array_or_a_table_of_own_pairs_is_read(tmp_path: Path) -> None:
    other = GOOD | {"label": "b"}
    table = "prompt,a,b,label\n" + "\n".join(",".join(row.values()) for row in (GOOD, other))
    for content in (json.dumps([GOOD, other]), table):
        pairs = load_labelled(written(tmp_path, content))
        assert [seen(pair)[1:] for pair in pairs] == [tuple(row.values()) for row in (GOOD, other)]


BAD = {
    "no label": ([GOOD, {"prompt": "x", "a": "y", "b": "z"}], "labels.jsonl:2: label: Field required"),
    "another label": ([GOOD | {"label": "A"}], "labels.jsonl:1: label: Input should be 'a', 'b' or 'tie'"),
    "a number for a text": ([GOOD | {"a": 3}], "labels.jsonl:1: a: Input should be a valid string"),
    "an empty prompt": ([GOOD | {"prompt": ""}], "labels.jsonl:1: prompt:"),
    "no JSON": ([GOOD, GOOD, "{"], "labels.jsonl:3: not JSON"),
    "no object": ([GOOD, "[1]"], "labels.jsonl:2: an array, not an object with fields"),
    "an id twice": ([GOOD | {"id": "x"}, GOOD, GOOD | {"id": "x"}], "labels.jsonl:3: the id 'x' is that of line 1"),
    "an item of another kind": (['[{"input": "x", "output_1": "y", "output_2": "z", "label": 3}]'], "labels.jsonl:1: label: Input should be 1 or 2"),
    "an array cut off": (['[', '{"input": "x", "output_1"'], "labels.jsonl:2: the item that begins here is not JSON"),
    "an array not closed": (['[{"input": "x", "output_1": "y", "output_2": "z", "label": 1},'], "the array is not closed"),
    "no rows": ([""], "holds no labelled pairs"),
    "no items": (["[]"], "holds no labelled pairs"),
}  # fmt: skip


@pytest.mark.parametrize(("lines", "message"), BAD.values(), ids=BAD)
def test_what_is_wrong_is_named_with_file_and_line(tmp_path: Path, lines: list[Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        load_labelled(written(tmp_path, *lines))
    assert message in str(error.value)


def test_all_that_is_wrong_is_named_at_once(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"(?s)14 rows are not labelled pairs:.*:1: .*:10: .*and 4 more"):
        load_labelled(written(tmp_path, *["{}"] * 14))


def test_a_file_that_is_not_there_or_not_utf_8(tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match=r"nowhere\.jsonl"):
        load_labelled(tmp_path / "nowhere.jsonl")
    (tmp_path / "latin.jsonl").write_bytes('{"prompt": "é"}'.encode("latin-1"))
    with pytest.raises(InputError, match="not UTF-8"):
        load_labelled(tmp_path / "latin.jsonl")
