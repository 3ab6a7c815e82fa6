"""Labelled pairs: both forms, and what is wrong with a file, by line."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stillroom.common.preferred import Reading
from stillroom.errors import InputError, MissingFile
from stillroom.judges.human_labels import LabelledPair, load_labelled, read_labelled

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
    other = GOOD | {"prompt": "Hello?", "label": "b"}
    table = "prompt,a,b,label\n" + "\n".join(",".join(row.values()) for row in (GOOD, other))
    for content in (json.dumps([GOOD, other]), table):
        pairs = load_labelled(written(tmp_path, content))
        assert [seen(pair)[1:] for pair in pairs] == [tuple(row.values()) for row in (GOOD, other)]


BAD = {
    "no label": ([GOOD, {"prompt": "x", "a": "y", "b": "z"}], "labels.jsonl:2: missing_field: no field 'label' (the row has: 'prompt', 'a', 'b')"),
    "a blank label": ([GOOD | {"label": " "}], "labels.jsonl:1: no_label: no label: it may be A, B or tie, 1 or 2, left or right, or the name"),
    "another label": ([GOOD | {"label": "C"}], "labels.jsonl:1: unknown_label: the label is 'C', which is not understood: it may be A, B or tie"),
    "a zero": ([GOOD | {"label": 0}], "labels.jsonl:1: a label is 0, and nobody can tell whether that is the first answer or a tie"),
    "a number for a text": ([GOOD | {"a": 3}], "labels.jsonl:1: wrong_type: the field 'a' is a number, not text"),
    "an empty prompt": ([GOOD | {"prompt": ""}], "labels.jsonl:1: empty_text: the field 'prompt' is empty"),
    "equal answers": ([GOOD | {"b": "Hello.  "}], "labels.jsonl:1: same_text: both answers are the same text: 'Hello.'"),
    "no JSON": ([GOOD, GOOD, "{"], "labels.jsonl:3: not_read: not JSON"),
    "no object": ([GOOD, "[1]"], "labels.jsonl:2: not_read: an array, not an object with fields"),
    "an id twice": ([GOOD | {"id": "x"}, GOOD, GOOD | {"id": "x", "b": "?"}], "labels.jsonl:3: duplicate_id: the id 'x' is that of labels.jsonl:1"),
    "a typo in a field": ([GOOD, GOOD, {"promt": "x", "a": "y", "b": "z", "label": "a"}], "labels.jsonl:3: missing_field: no field 'prompt' (the row has: 'promt', 'a', 'b', 'label'; did you mean 'promt'?)"),
    "an item of another kind": (['[{"input": "x", "output_1": "y", "output_2": "z", "label": 3}]'], "labels.jsonl:1: label: Input should be 1 or 2"),
    "an array cut off": (['[', '{"input": "x", "output_1"'], "labels.jsonl:2: the item that begins here is not JSON"),
    "an array not closed": (['[{"input": "x", "output_1": "y", "output_2": "z", "label": 1},'], "the array is not closed"),
    "nothing to compare": ([{"prompt": "x", "response": "y", "score": 3}], "holds no labelled pairs: each prompt has a single answer"),
    "no rows": ([""], "holds no preference: it is empty"),
    "no items": (["[]"], "holds no preference: it is empty"),
}  # fmt: skip


@pytest.mark.parametrize(("lines", "message"), BAD.values(), ids=BAD)
def test_what_is_wrong_is_named_with_file_and_line(tmp_path: Path, lines: list[Any], message: str) -> None:
    with pytest.raises(InputError) as error:
        load_labelled(written(tmp_path, *lines))
    assert message in str(error.value)


def test_all_that_is_wrong_is_named_at_once(tmp_path: Path) -> None:
    for row in (GOOD | {"label": "?"}, {"input": "x", "output_1": "y", "output_2": "z", "label": 7}):
        with pytest.raises(InputError, match=r"(?s)14 rows are not .*:1: .*:10: .*and 4 more"):
            load_labelled(written(tmp_path, *[row] * 14))


def test_bad_rows_are_left_out_and_counted_where_asked(tmp_path: Path) -> None:
    skip = Reading(bad_rows="skip")
    found = read_labelled(written(tmp_path, GOOD, GOOD | {"label": "?"}, "{", GOOD | {"prompt": "x"}), skip)
    assert [pair.task.id for pair in found.pairs] == ["labels.jsonl:1", "labels.jsonl:4"]
    assert found.counts["left_out"] == {"not_read": 1, "unknown_label": 1}
    assert "2 rows left out: not read 1, unknown label 1 (such as labels.jsonl:2)" in found.notes
    items = [{"input": f"Q{i}", "output_1": "x", "output_2": "z", "label": i} for i in range(1, 4)]
    bar = read_labelled(written(tmp_path, *items, name="LLMBar_Natural.json"), skip)
    assert ([pair.task.id for pair in bar.pairs], bar.counts["left_out"]) == (
        ["LLMBar/Natural/0", "LLMBar/Natural/1"],
        1,
    )


def test_several_people_decide_together_also_where_the_answers_are_exchanged(tmp_path: Path) -> None:
    other = GOOD | {"a": "Bye.", "b": "Hello.", "label": "b"}
    found = read_labelled(written(tmp_path, GOOD, other, GOOD | {"label": "b"}, GOOD | {"prompt": "x", "label": "b"}))
    assert [seen(pair)[2:] for pair in found.pairs] == [("Hello.", "Bye.", "a"), ("Hello.", "Bye.", "b")]
    assert (found.counts["voted"], found.counts["split"], found.counts["joined"]) == (1, 1, 2)
    own = [GOOD | {"id": n, "label": "ab"[n]} for n in range(2)]
    assert len(load_labelled(written(tmp_path, *own))) == 2  # two items of one text
    people = [row | {"annotator": name} for row, name in zip(own, ("Ann", "Bob"), strict=True)]
    assert [pair.label for pair in load_labelled(written(tmp_path, *people))] == ["tie"]


def test_an_answer_never_meets_itself(tmp_path: Path) -> None:
    rows = [{"prompt": "q", "response": text, "score": n} for n, text in enumerate(["x", "x ", "y"])]
    (pair,) = load_labelled(written(tmp_path, *rows))
    assert {pair.a.text.strip(), pair.b.text.strip()} == {"x", "y"}
    with pytest.raises(InputError, match="holds no labelled pairs"):
        load_labelled(written(tmp_path, *rows[:2]))


def test_of_many_scored_answers_one_pair_is_taken_and_neither_always_the_best(tmp_path: Path) -> None:
    rows = [
        {"prompt": f"Q{n}", "responses": [f"{n}{x}" for x in "uvwxyz"], "scores": [1, 2, 3, 4, 5, 6]}
        for n in range(40)
    ]
    pairs = load_labelled(written(tmp_path, *rows))
    gaps = {abs("uvwxyz".index(pair.a.text[-1]) - "uvwxyz".index(pair.b.text[-1])) for pair in pairs}
    assert (len(pairs), gaps) == (40, {1, 2, 3, 4, 5})
    assert all(
        ("uvwxyz".index(pair.a.text[-1]) > "uvwxyz".index(pair.b.text[-1])) == (pair.label == "a") for pair in pairs
    )


def test_a_file_that_is_not_there_or_not_utf_8(tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match=r"nowhere\.jsonl"):
        load_labelled(tmp_path / "nowhere.jsonl")
    (tmp_path / "latin.jsonl").write_bytes('{"prompt": "é"}'.encode("latin-1"))
    with pytest.raises(InputError, match="not UTF-8"):
        load_labelled(tmp_path / "latin.jsonl")
