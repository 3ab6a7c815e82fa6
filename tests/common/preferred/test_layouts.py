"""Layouts that are not in `tests/data_shapes`: how their rows are read, what they refuse, and what is never lost."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stillroom.common.preferred import PreferenceRows, Reading, layouts, read_preferences
from stillroom.errors import InputError, MissingFile


def user(text: Any) -> dict[str, Any]:
    return {"role": "user", "content": text}


def said(text: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def part(text: str, kind: str = "text") -> list[dict[str, str]]:
    return [{"type": kind, "text": text}]


def read(folder: Path, content: list[Any] | str, **how: Any) -> PreferenceRows:
    path = folder / ("rows.csv" if isinstance(content, str) else "rows.jsonl")
    lines = content if isinstance(content, str) else "".join(json.dumps(row) + "\n" for row in content)
    path.write_text(lines, encoding="utf-8")
    return read_preferences(path, "the pairs", Reading(**how))


def told(found: PreferenceRows) -> tuple[list[str], list[tuple[str, float | None]], str | None]:
    """The texts of the first prompt, its answers, and the winner."""
    what = found.rows[0].what
    return [turn.content for turn in what.prompt], [(a.text, a.score) for a in what.answers], what.winner


BATTLE = {"model_a": "m", "model_b": "n", "winner": "model_b", "turn": 1}
XY = [("x", None), ("y", None)]
READ: dict[str, tuple[Any, str, Any]] = {
    "the turn that MT-bench judges": (
        BATTLE | {"conversation_a": [user("q"), said("x"), user("r"), said("2")], "conversation_b": [user("q"), said("y"), user("r"), said("4")]},
        "arena", (["q"], XY, "b"),
    ),
    "content in parts": (
        BATTLE | {"winner": "both_bad", "conversation_a": [user(part("q")), said(part("x"))], "conversation_b": [user(part("q")), said(part("y"))]},
        "arena", (["q"], XY, "tie"),
    ),
    "OpenAI's preference format": (
        {"input": {"messages": [user("q")], "tools": []}, "preferred_output": [said("x")], "non_preferred_output": [said("y")]},
        "pairs", (["q"], XY, "a"),
    ),
    "instruction with its input, system and history": (
        {"instruction": "Add.", "input": "2 and 2", "chosen": "x", "rejected": "y", "system": "S", "history": [["h", "i"]]},
        "pairs", (["S", "h", "i", "Add.\n\n2 and 2"], XY, "a"),
    ),
    "turns as JSON in a cell": (
        'prompt,chosen,rejected\nq,"[{""role"":""assistant"",""content"":""x""}]","[{""role"":""assistant"",""content"":""y""}]"\n',
        "pairs", (["q"], XY, "a"),
    ),
    "headings of a spreadsheet": ("Question,Response A,Response B,Winner\nq,x,y,B\n", "comparison", (["q"], XY, "b")),
    "two scores next to each other": (
        {"question": {"full_text": "q"}, "answer_0": "x", "answer_1": "y", "score_0": -1, "score_1": 1},
        "comparison", (["q"], [("x", -1.0), ("y", 1.0)], None),
    ),
    "a choice from 0": (
        {"info": {"post": "q"}, "summaries": [{"text": "x"}, {"text": "y"}], "choice": 1}, "comparison", (["q"], XY, "b"),
    ),
    "preferences of HelpSteer 2": (
        {"prompt": "q", "response_1": "x", "response_2": "y", "preference_strength": -2, "preference_statement": "…"},
        "helpsteer", (["q"], XY, "a"),
    ),
    "ratings next to both sides": (
        {"instruction": "q", "chosen-rating": 4.5, "rejected-rating": 2.0, "chosen": [user("q"), said("x")], "rejected": [user("q"), said("y")]},
        "ultrafeedback", (["q"], [("x", 4.5), ("y", 2.0)], "a"),
    ),
    "ranks in a list, the lowest best": ({"prompt": "q", "answers": ["x", "y"], "ranks": [2, 1]}, "scores", (["q"], [("x", -2.0), ("y", -1.0)], None)),
    "an answer without a rating": ({"prompt": "q", "generations": ["x", "y"], "ratings": [4, None]}, "scores", (["q"], [("x", 4.0), ("y", None)], None)),
    "labels of 1 and 0": ("prompt,completion,label\nq,x,1\nq,y,0\n", "kto", (["q"], [("x", 1.0), ("y", 0.0)], None)),
    "line ends of Windows": (
        {"chosen": "\r\n\r\nHuman: q\r\n\r\nAssistant: x", "rejected": "\r\n\r\nHuman: q\r\n\r\nAssistant: y"},
        "hh_rlhf", (["q"], XY, "a"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", READ)
def test_a_row_is_read(tmp_path: Path, name: str) -> None:
    content, layout, wanted = READ[name]
    found = read(tmp_path, content if isinstance(content, str) else [content])
    assert (found.layout, told(found)) == (layout, wanted)


REFUSED: dict[str, tuple[Any, str]] = {
    "an image": ({"image": {"bytes": "<3 bytes>", "path": None}, "question": "q", "chosen": "x", "rejected": "y"}, "not_text: the field 'image' holds an image"),
    "turns written as Python": ("prompt,chosen,rejected\nq,[{'role': 'user'}],y\n", "looks like turns, but is not JSON: write them with json.dumps"),
    "a call of a tool": ({"chosen": [user("q"), {"role": "tool", "content": "x"}], "rejected": [user("q"), said("y")]}, "turn 2 is of 'tool'"),
    "a history of another kind": ({"prompt": "q", "history": ["h"], "chosen": "x", "rejected": "y"}, "'history' is not a list of questions with their answers"),
    "no rejected side": ({"prompt": "q", "chosen": "x", "rejected": None}, "empty_text: the field 'rejected' is null"),
    "a row of a task": ({"question": "q", "answer": "x"}, r"cannot be told: the first rows are of none \(row 1 has: 'question', 'answer'\)"),
    "a label with a heading of its own": ("q,x\n", "cannot be told|holds no preference"),
    "prompts that are more than the answers": ({"prompt": '["q", "r"]', "response_a": '["x"]', "response_b": '["y"]', "winner_model_a": 1, "winner_model_b": 0, "winner_tie": 0}, "2 prompts, but 1 answers in 'response_a'"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_a_row_is_refused(tmp_path: Path, name: str) -> None:
    content, message = REFUSED[name]
    with pytest.raises(InputError, match=message):
        read(tmp_path, content if isinstance(content, str) else [content])


def test_a_text_of_line_ends_alone_takes_no_time(tmp_path: Path) -> None:
    text = f"\n\nHuman: q\n\nAssistant: {chr(10) * 200_000}x"
    found = read(tmp_path, [{"chosen": text, "rejected": "\n\nHuman: q\n\nAssistant: y"}])
    assert told(found)[0] == ["q"]


def test_a_column_of_labels_may_be_named(tmp_path: Path) -> None:
    table = "Prompt,Response A,Response B,Which is better?\nq,x,y,B\n"
    with pytest.raises(
        InputError, match="two answers, but no column of labels that is known by its name: give it with"
    ):
        read(tmp_path, table)
    assert told(read(tmp_path, table, prefer="Which is better?"))[2] == "b"
    with pytest.raises(InputError, match=r"rows\.csv:2: missing_field: no field 'Which is bettr\?' .*did you mean"):
        read(tmp_path, table, prefer="Which is bettr?", layout="comparison")
    other = "prompt,a,b,label,Winner\nq,x,y,A,B\n"
    assert told(read(tmp_path, other, prefer="Winner"))[2] == "b"


def test_several_files_are_one_and_a_missing_one_is_named(tmp_path: Path) -> None:
    row = {"prompt": "q", "chosen": "x", "rejected": "y"}
    for number in range(2):
        (tmp_path / f"part-{number}.jsonl").write_text(json.dumps(row | {"prompt": f"q{number}"}) + "\n")
    found = read_preferences(tmp_path / "part-*.jsonl", "the pairs")
    assert ([row.what.prompt[-1].content for row in found.rows], found.seen) == (["q0", "q1"], 2)
    with pytest.raises(MissingFile, match=r"did you mean part-0\.jsonl"):
        read_preferences(tmp_path / "part0.jsonl", "the pairs")


def test_a_row_in_the_middle_that_is_of_another_kind_is_named_not_dropped(tmp_path: Path) -> None:
    good = {"prompt": "q", "chosen": "x", "rejected": "y"}
    rows = [good | {"prompt": f"q{n}"} for n in range(30)] + [{"prompt": "q", "completion": "x", "label": True}]
    with pytest.raises(InputError, match=r"rows\.jsonl:31: missing_field: no field 'chosen'"):
        read(tmp_path, rows)


@pytest.mark.parametrize("name", sorted(layouts))
def test_an_empty_row_is_refused_by_every_layout(tmp_path: Path, name: str) -> None:
    prefer = "better" if name == "pku" else None
    assert not layouts[name]().fits({})
    with pytest.raises(InputError, match=r"rows\.jsonl:1: missing_field: "):
        read(tmp_path, [{}], layout=name, prefer=prefer)
