"""Files of tasks as people have them: each is read by the name of its layout and without it, and its wrong twin is
refused with a message that says what to correct."""

from __future__ import annotations

import bz2
import json
import lzma
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.feather
import pyarrow.parquet
import pytest

from stillroom.errors import InputError
from stillroom.traces.tasks import JsonlTasks, TaskSet, load_tasks
from stillroom.traces.tasks.detect import detected

FOLDER = Path(__file__).parent / "tasks"


class Shape(NamedTuple):
    """`layout`: None where the fields are read. `turns`: the conversation of the first task. `wrong`: what is said of
    the wrong twin."""

    file: str
    layout: str | None
    turns: list[tuple[str, str]]
    reference: str
    wrong: str
    answer_type: str = ""


def asked(*texts: str) -> list[tuple[str, str]]:
    """User and assistant in turns."""
    return [(("user", "assistant")[number % 2], text) for number, text in enumerate(texts)]


BRIEF = ("system", "Be brief.")
SUM = asked("2 + 2?")
SHAPES = [
    Shape("messages.jsonl", "messages", SUM, "4", r"wrong\.jsonl:2: wrong_type: .*turn 1 has no role and content"),
    Shape("messages_system.jsonl", "messages", [BRIEF, *SUM], "4", r":2: empty_prompt: .*no user turn"),
    Shape("messages_turns.jsonl", "messages", asked("I have 2.", "Noted.", "And 2 more?"), "4", "turn 2 is of 'tool'"),
    Shape("messages_parts.jsonl", "messages", SUM, "4", "not_text: .*part of the type 'image_url': only texts"),
    Shape("messages_answer.jsonl", "messages", SUM, "4", r"no answer in answer or the last turn .*tasks\.reference"),
    Shape("sharegpt.json", "sharegpt", SUM, "4", r"wrong\.json:2: the item that begins here is not JSON"),
    Shape("sharegpt_system.jsonl", "sharegpt", [BRIEF, *SUM], "4", "turn 1 is of 'narrator': expected one of system"),
    Shape("alpaca.json", "alpaca", asked("Add them up.\n\n2 and 2"), "4", r"wrong\.json:7: .*no answer in output"),
    Shape("verl.jsonl", "prompt_messages", SUM, "4", "no answer in reward_model.ground_truth or"),
    Shape("trl_prompt.jsonl", "prompt_messages", [BRIEF, *SUM], "4", "no user turn"),
    Shape("gsm8k.jsonl", "gsm8k", asked("Tom has 2 and gets 2. How many?"), "4", "nothing follows '####'"),
    Shape("math.jsonl", "math", asked("What is $2+2$?"), "4", r"'solution' has no \\boxed"),
    Shape("math500.jsonl", "math", asked("Halve $1$."), r"\frac{1}{2}", "'problem' is empty"),
    Shape("numina_cot.jsonl", "numina", asked("What is $2+2$?"), "4", r"'solution' has no \\boxed"),
    Shape("numina15.jsonl", "numina", asked("What is $2+2$?"), "4", "the answer is 'proof'"),
    Shape("mmlu.jsonl", "choices", asked("2 + 2?\n\nA. 4\nB. 0\nC. 2\nD. 1"), "A", "the answer '4' is none of the 4 choices", "choice"),
    Shape("mmlu_pro.jsonl", "choices", asked("2 + 2?\n\nA. 3\nB. 4\nC. 5"), "B", "the answer 'J' is none of the 3", "choice"),
    Shape("arc.jsonl", "choices", asked("What melts?\n\nA. stone\nB. ice"), "B", "no answer in answerKey or answer", "choice"),
    Shape("aqua.jsonl", "choices", asked("2 + 2?\n\nA. 3\nB. 4\nC. 5"), "B", "'options' is not a list of 2 to 26", "choice"),
    Shape("medqa.jsonl", "choices", asked("Which bone is the longest?\n\nA. femur\nB. ulna"), "A", "'rib' is none of", "choice"),
    Shape("hellaswag.jsonl", "choices", asked("She opens the door and\n\nA. walks in.\nB. flies."), "A", "no answer in", "choice"),
    Shape("commonsense_qa.jsonl", "choices", asked("Where do fish live?\n\nA. sky\nB. water"), "B", "text of choice A and the number of another: give letters", "choice"),
    Shape("alpaca_history.json", "alpaca", [BRIEF, *asked("I have 2.", "Noted.", "And 2 more?")], "4", "'history' is not a list of pairs"),
    Shape("conversations_roles.jsonl", "sharegpt", SUM, "4", "turn 2 has no role and content"),
    Shape("messages_columns.jsonl", "messages", SUM, "4", "not a list of turns"),
    Shape("race.jsonl", "choices", asked("Tom has 2 and gets 2.\n\nHow many?\n\nA. 3\nB. 4"), "B", "'E' is none of the 2 choices", "choice"),
    Shape("choices_text.csv", "choices", asked("2 + 2?\n\nA. 3\nB. 4"), "B", "'choices' is a text, not a list of choices: write it as JSON", "choice"),
    Shape("choices_letters.csv", "choices", asked("2 + 2?\n\nA. 3\nB. 4\nC. 5\nD. 6"), "B", "the answer 'E' is none of the 4 choices", "choice"),
    Shape("medmcqa.jsonl", "choices_from_0", asked("2 + 2?\n\nA. 3\nB. 4\nC. 5\nD. 6"), "B", r"'-1' is none of the 4 choices \(A to D, or a number from 0\)", "choice"),
    Shape("winogrande.jsonl", "choices_from_1", asked("Tom is _.\n\nA. red\nB. tall"), "B", "no list of choices in .*, nor a column for each", "choice"),
    Shape("piqa.jsonl", "choices_from_0", asked("Boil an egg.\n\nA. Cool it.\nB. Heat it."), "B", "'2' is none of the 2 choices", "choice"),
    Shape("choices_columns.csv", "choices", asked("2 + 2?\n\nA. 3\nB. 4\nC. 5"), "B", "'option_c' is none of the 2 choices", "choice"),
    Shape("choices_numbers.csv", "choices", asked("2 + 2?\n\nA. 3\nB. 4\nC. 5"), "B", "counted from 0 or from 1: set tasks.layout: choices_from_0 or", "choice"),
    Shape("openbookqa.jsonl", "choices", asked("What melts?\n\nA. stone\nB. ice"), "B", "no answer in answerKey", "choice"),
    Shape("wrapped.json", None, SUM, "4", r"rows in 'train' and 'test': .*jq -c '\.train\[\]'"),
    Shape("columns.json", None, SUM, "4", "wrong_type: the field 'question' is a list, not text"),
    Shape("plain.jsonl", None, SUM, "4", "no field 'answer' .*did you mean 'anser'"),
    Shape("plain.csv", None, asked("What is\n2 + 2?"), "4", r"wrong\.csv:4: wrong_cells: 1 cell, the header has 2"),
    Shape("semicolons.csv", None, asked("2 + 2, please?"), "4", r"wrong\.csv:2: not UTF-8: byte 0xdf .*WINDOWS-1252"),
    Shape("plain.tsv", None, SUM, "4", "no field 'question' .*did you mean 'qestion'"),
    Shape("separator.jsonl", None, asked("2\u2028+ 2?"), "4", r"wrong\.jsonl:2: not_json: Unterminated string"),
    Shape("picture.json", None, asked("How many?"), "4", "not_text: the field 'image' holds an image"),
    Shape("packed.jsonl.gz", None, SUM, "4", r"wrong\.jsonl\.gz cannot be unpacked .*cut off"),
]  # fmt: skip


def load(name: str, **given: Any) -> TaskSet:
    return load_tasks(JsonlTasks(source="jsonl", path=name, **given), base=FOLDER, seed=1)


def wrong_twin(file: str) -> str:
    name, _, ending = file.partition(".")
    return f"{name}.wrong.{ending}"


@pytest.mark.parametrize("by_name", [True, False])
@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.file)
def test_a_shape_is_read_by_name_and_by_its_content(shape: Shape, by_name: bool) -> None:
    tasks = load(shape.file, layout=shape.layout if by_name else None)
    first = tasks.train[0]
    assert [(message.role, message.content) for message in first.messages] == shape.turns
    assert (first.reference, first.answer_type) == (shape.reference, shape.answer_type)
    told = [note for note in tasks.notes if f"tasks.layout: {shape.layout}`" in note]
    assert bool(told) == (shape.layout is not None and not by_name)


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.file)
def test_its_wrong_twin_is_refused_with_what_to_correct(shape: Shape) -> None:
    with pytest.raises(InputError, match=shape.wrong) as caught:
        load(wrong_twin(shape.file), layout=shape.layout)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.file)
def test_without_references_every_shape_is_only_asked(shape: Shape) -> None:
    first = load(shape.file, layout=shape.layout, reference=None).train[0]
    assert first.reference is None
    assert [(message.role, message.content) for message in first.messages] == shape.turns


PLAIN = b'{"question": "2 + 2?", "answer": "4"}\n'


def shards(path: Path) -> None:
    path.with_name("shards-1.jsonl").write_bytes(PLAIN)
    path.with_name("shards-2.jsonl").touch()


def half_copied(path: Path) -> None:
    path.mkdir()
    (path / "state.json").write_text('{"_data_files": [{"filename": "gone.arrow"}]}')


TABLES = pa.Table.from_pylist([{"question": "2 + 2?", "answer": "4"}])
CUT = {"question": "2 + 2?"}
MADE: dict[str, tuple[Callable[[Path], Any], Callable[[Path], Any], str]] = {
    "p.parquet": (
        lambda path: pyarrow.parquet.write_table(TABLES, path),
        lambda path: pyarrow.parquet.write_table(pa.Table.from_pylist([CUT]), path),
        r"p\.parquet, row 1: missing_field: no field 'answer'",
    ),
    "p.arrow": (
        lambda path: pyarrow.feather.write_feather(TABLES, path, compression="uncompressed"),
        lambda path: path.write_bytes(b"ARROW1 and no more"),
        "not an Arrow file that can be read",
    ),
    "p.jsonl.zst": (
        lambda path: path.write_bytes(pa.compress(PLAIN, "zstd", asbytes=True)),
        lambda path: path.write_bytes(pa.compress(PLAIN * 9_999, "zstd", asbytes=True)[:50]),
        r"p\.jsonl\.zst.*(cut off|damaged)",
    ),
    "p.jsonl.xz": (
        lambda path: path.write_bytes(lzma.compress(PLAIN)),
        lambda path: path.write_bytes(lzma.compress(PLAIN)[:20]),
        r"p\.jsonl\.xz cannot be unpacked",
    ),
    "p.jsonl.bz2": (
        lambda path: path.write_bytes(bz2.compress(PLAIN)),
        lambda path: path.write_bytes(bz2.compress(PLAIN + b"{half")),
        r"p\.jsonl\.bz2:2: not_json",
    ),
    "shards-*.jsonl": (
        shards,
        lambda path: path.with_name("shard-1.jsonl").write_bytes(PLAIN),
        r"tasks\.path: no file matches .*shards-\*\.jsonl: did you mean shard-1\.jsonl",
    ),
    "saved": (
        lambda path: pytest.importorskip("datasets").Dataset(TABLES).save_to_disk(path),
        half_copied,
        r"'gone\.arrow', which is not in the folder: .*not saved or copied whole",
    ),
}


@pytest.mark.parametrize("name", MADE)
def test_a_file_that_is_made_here_is_read_and_its_wrong_twin_refused(tmp_path: Path, name: str) -> None:
    right, wrong, said = MADE[name]
    (tmp_path / "right").mkdir()
    (tmp_path / "wrong").mkdir()
    right(tmp_path / "right" / name)
    [task] = load_tasks(JsonlTasks(source="jsonl", path=name), base=tmp_path / "right", seed=1).train
    assert (task.messages[-1].content, task.reference) == ("2 + 2?", "4")
    wrong(tmp_path / "wrong" / name)
    with pytest.raises(InputError, match=said):
        load_tasks(JsonlTasks(source="jsonl", path=name), base=tmp_path / "wrong", seed=1)


def test_bytes_that_hold_a_text_are_read_as_one(tmp_path: Path) -> None:
    table = pa.Table.from_pylist([{"question": "2 + 2\u2082?".encode(), "answer": b"4", "raw": b"\x89PNG\0"}])
    pyarrow.parquet.write_table(table, tmp_path / "p.parquet")
    [task] = load_tasks(JsonlTasks(source="jsonl", path="p.parquet"), base=tmp_path, seed=1).train
    assert (task.messages[-1].content, task.metadata["raw"]) == ("2 + 2\u2082?", "<5 bytes>")


def test_a_pattern_leaves_out_what_only_describes_the_data(tmp_path: Path) -> None:
    (tmp_path / "rows.json").write_bytes(PLAIN)
    (tmp_path / "dataset_info.json").write_text('{"features": {}, "splits": {}}')
    assert len(load_tasks(JsonlTasks(source="jsonl", path="*.json"), base=tmp_path, seed=1).train) == 1


def test_a_list_as_reference_is_refused_with_a_name_for_its_item(tmp_path: Path) -> None:
    (tmp_path / "p.jsonl").write_text('{"question": "2 + 2?", "answer": ["4", "four"]}\n')
    with pytest.raises(
        InputError, match=r"'answer' is a list, not text or a number: name one .* such as answer\[0\]"
    ):
        load_tasks(JsonlTasks(source="jsonl", path="p.jsonl"), base=tmp_path, seed=1)
    [task] = load_tasks(
        JsonlTasks(source="jsonl", path="p.jsonl", reference="answer[0]"), base=tmp_path, seed=1
    ).train
    assert task.reference == "4"


def test_every_file_is_in_the_table() -> None:
    names = {name for shape in SHAPES for name in (shape.file, wrong_twin(shape.file))}
    assert {path.name for path in FOLDER.iterdir()} == names


@pytest.mark.parametrize(
    ("file", "given"),
    [
        ("mmlu.jsonl", {"layout": "fields"}),
        ("mmlu.jsonl", {"prompt": "subject"}),
        ("math.jsonl", {"prompt": "problem", "reference": "level"}),
    ],
)
def test_fields_that_are_named_are_read_and_nothing_is_detected(file: str, given: dict[str, Any]) -> None:
    tasks = load(file, **given)
    assert tasks.notes == ()
    assert "\n" not in tasks.train[0].messages[-1].content


def test_an_unknown_layout_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match=r"no layout 'sharegtp'; did you mean 'sharegpt'\?.*alpaca, choices"):
        load("sharegpt.json", layout="sharegtp")


def test_rows_of_two_layouts_are_read_by_neither(tmp_path: Path) -> None:
    text = (FOLDER / "messages.jsonl").read_text() + (FOLDER / "sharegpt_system.jsonl").read_text()
    (tmp_path / "mixed.jsonl").write_text(text)
    with pytest.raises(InputError, match="no field 'question'"):
        load_tasks(JsonlTasks(source="jsonl", path="mixed.jsonl"), base=tmp_path, seed=1)


def test_template_system_and_ids_apply_to_a_layout_too() -> None:
    task = load("messages_turns.jsonl", system="Count.", template="Q: {prompt}").train[0]
    assert [message.content for message in task.messages] == ["Count.", "I have 2.", "Noted.", "Q: And 2 more?"]
    assert load("sharegpt.json").train[0].id == load("plain.jsonl").train[0].id  # the same prompt, the same task
    assert load("mmlu_pro.jsonl", id="question_id").train[0].id == "1"


A_TO_D = {"A": "red", "B": "blue", "C": "pink", "D": "grey"}
NUMBERS = {"A": "3", "B": "4", "C": "5", "D": "61"}
TWO = {"answer1": "a", "answer2": "b"}


@pytest.mark.parametrize(
    ("rows", "layout"),
    [
        ([{"question": "?", **A_TO_D, "answer": "B"}], "choices"),
        ([{"question": "?", **A_TO_D, "answer": "pink"}], "choices"),
        ([{"question": "?", **NUMBERS, "answer": "4"}, {"question": "!", **NUMBERS, "answer": 0}], "choices_from_0"),
        ([{"question": "?", **NUMBERS, "answer": 61}, {"question": "!", **NUMBERS, "answer": 3}], "choices"),
        ([{"question": "?", **A_TO_D, "answer": 4}], "choices_from_1"),
        ([{"question": "?", **A_TO_D, "answer": 0}, {"question": "!", **A_TO_D, "answer": 2}], "choices_from_0"),
        ([{"question": "?", **A_TO_D, "answer": 0}, {"question": "!", **A_TO_D, "answer": 4}], None),  # contradictory
        ([{"question": "?", "A": "x", "B": "y", "answer": "B"}], "choices"),
        ([{"question": "?", "A": "x", "B": "y", "answer": "z"}], None),  # two columns may be anything
        ([{"question": "?", "B": "x", "C": "y", "D": "z", "answer": "B"}], None),  # no A
        ([{"question": "?", **TWO, "label": 0}, {"question": "!", **TWO, "label": 1}], None),  # two answers compared
        ([{"question": "?", **A_TO_D, "option1": "x", "option2": "y", "answer": "B"}], None),  # two sets
        ([{"question": "?", "A": ["x"], "B": ["y"], "C": ["z"], "answer": "B"}], None),
        ([{**A_TO_D, "answer": "B"}], None),  # nothing is asked
    ],
)
def test_choices_in_columns_are_detected_only_where_they_are_unmistakable(
    rows: list[dict[str, Any]], layout: str | None
) -> None:
    assert detected(rows, JsonlTasks(source="jsonl", path="x")) == layout


def test_a_number_may_be_the_text_of_a_choice(tmp_path: Path) -> None:
    def first(answer: Any) -> str | None:
        (tmp_path / "t.json").write_text(json.dumps([{"question": "?", **NUMBERS, "answer": answer}]))
        return load_tasks(JsonlTasks(source="jsonl", path="t.json"), base=tmp_path, seed=1).train[0].reference

    assert (first("61"), first(5)) == ("D", "C")
    with pytest.raises(InputError, match=r"the answer 4 is a number, .*: set tasks\.layout: choices_from_0"):
        first("4")


def test_where_a_number_counts_from_is_asked_for_where_no_row_tells_it(tmp_path: Path) -> None:
    rows = [{"question": f"{n}?", **A_TO_D, "answer": 1} for n in range(3)]
    (tmp_path / "t.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def first(**given: Any) -> str | None:
        return (
            load_tasks(JsonlTasks(source="jsonl", path="t.jsonl", **given), base=tmp_path, seed=1).train[0].reference
        )

    with pytest.raises(InputError, match=r"the answer 1 is a number, .*: set tasks\.layout: choices_from_0 or"):
        first()
    assert [first(layout=f"choices_from_{n}") for n in (0, 1)] == ["B", "A"]


def test_columns_of_choices_are_not_kept_twice_and_a_passage_comes_first(tmp_path: Path) -> None:
    row = {"Context": "It rained.", "Question": "What is wet?", **A_TO_D, "Correct": "(c)", "topic": "rain"}
    (tmp_path / "t.json").write_text(json.dumps([row]))
    task = load_tasks(JsonlTasks(source="jsonl", path="t.json"), base=tmp_path, seed=1).train[0]
    assert task.messages[0].content == "It rained.\n\nWhat is wet?\n\nA. red\nB. blue\nC. pink\nD. grey"
    assert (task.reference, dict(task.metadata)) == ("C", {"Correct": "(c)", "topic": "rain"})
