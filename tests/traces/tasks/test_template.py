"""Templates: which fields are put in, which braces stay, and what is refused before anything is paid for."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stillroom.errors import TaskError
from stillroom.traces.tasks import JsonlTasks, TaskSet, load_tasks
from stillroom.traces.tasks.template import Template

ROW = {
    "question": "2 + {x}?",
    "answer": "4",
    "choices": ["3", "4"],
    "meta": {"unit": "m", "tags": [{"name": "a"}, {"name": "b"}]},
    "level": 3,
    "hard": True,
    "note": None,
    "Correct Answer": "four",
}


def load(folder: Path, *rows: dict[str, Any], **given: Any) -> TaskSet:
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return load_tasks(JsonlTasks(source="jsonl", path="rows.jsonl", **given), base=folder, seed=1)


@pytest.mark.parametrize(
    ("template", "asked"),
    [
        ("Q: {prompt}\nA:", "Q: 2 + {x}?\nA:"),
        ("{question} ({meta.unit})", "2 + {x}? (m)"),
        ("{prompt}\n{choices[*]}", "2 + {x}?\n3\n4"),
        ("{choices}", "3\n4"),
        ("{choices[-1]} {meta.tags[*].name} {meta.tags.0.name}", "4 a\nb a"),
        ("{level} {hard} [{note}]", "3 true []"),
        ("{Correct Answer}", "four"),
        (r"{prompt} End with \boxed{answer}.", r"2 + {x}? End with \boxed{answer}."),
        (r"{prompt} \frac{level}{hard} \text{prompt}", r"2 + {x}? \frac{level}{hard} \text2 + {x}?"),
        ('{prompt} as {"answer": {"value": 1}} {} {0} {a, b}', '2 + {x}? as {"answer": {"value": 1}} {} {0} {a, b}'),
        ("{prompt} {{answer}} {{meta.unit}}", "2 + {x}? {answer} {meta.unit}"),
    ],
)
def test_fields_are_put_in_and_other_braces_stay(tmp_path: Path, template: str, asked: str) -> None:
    [task] = load(tmp_path, ROW, template=template, layout="fields").train
    assert task.messages[-1].content == asked
    assert task.reference == "4"


def test_what_a_field_holds_is_not_read_again(tmp_path: Path) -> None:
    [task] = load(tmp_path, {"question": "{answer} {prompt}", "answer": "4"}, template="{question}|{prompt}").train
    assert task.messages[-1].content == "{answer} {prompt}|{answer} {prompt}"


@pytest.mark.parametrize(
    ("template", "said"),
    [
        ("{prompt} {meta.unti}", r"no field 'meta\.unti' .*did you mean 'meta\.unit'.*write \{\{meta\.unti\}\}"),
        ("{prompt} {your name}", r"no field 'your name' .*write \{\{your name\}\}"),
        ("{prompt} {meta}", r"wrong_type: .*\{meta\}, which is not a text: name a field inside it, as \{meta\.…\}"),
        ("{meta.tags}", r"as \{meta\.tags\[\*\]\.…\}"),
        ("{note}", "empty_prompt: all fields that the template names are empty"),
    ],
)
def test_a_field_that_the_rows_do_not_have_is_refused(tmp_path: Path, template: str, said: str) -> None:
    with pytest.raises(TaskError, match=rf"rows\.jsonl:1: .*{said}"):
        load(tmp_path, ROW, template=template, layout="fields")
    with pytest.raises(TaskError, match=said.partition(": ")[2] or said):
        load(tmp_path, ROW, template=template, layout="fields", bad_rows="skip")


def test_a_field_that_no_row_has_is_told_once(tmp_path: Path) -> None:
    rows = [{**ROW, "question": str(number)} for number in range(12)]
    with pytest.raises(
        TaskError, match=r"rows\.jsonl:1, rows\.jsonl:2, rows\.jsonl:3 and 9 more: missing_field: "
    ) as told:
        load(tmp_path, *rows, template="{prompt} {nit}", layout="fields")
    assert str(told.value).count("the template names") == 1


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"template": "Solve it."}, r"template has no \{prompt\}, nor another field"),
        ({"template": "{{prompt}}"}, r"template has no \{prompt\}, nor another field"),
        ({"template": "{prompt} {answer}"}, r"the field of the reference: the answer would .* write \{\{answer\}\}"),
        ({"template": "{gold.text}", "reference": "gold"}, "the field of the reference"),
        ({"template": "{question}", "prompt": "problem"}, r"tasks\.prompt is not used: write \{prompt\}"),
        ({"template": "{question}", "input": "context"}, r"tasks\.input is not used"),
    ],
)
def test_a_template_that_leaves_out_what_is_named_or_shows_the_answer_is_refused(
    given: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValueError, match=said):
        JsonlTasks(source="jsonl", path="rows.jsonl", **given)


def test_rows_that_differ_only_in_a_field_of_the_template_are_different_tasks(tmp_path: Path) -> None:
    rows = [{"question": "How far?", "from": place, "answer": n} for n, place in enumerate(("A", "B"))]
    tasks = load(tmp_path, *rows, template="{prompt} From {from}.").train
    assert [task.messages[-1].content for task in tasks] == ["How far? From A.", "How far? From B."]
    assert len({task.id for task in tasks}) == 2
    with pytest.raises(TaskError, match="contradicting_reference"):
        load(tmp_path, *rows)


def test_the_id_of_a_task_does_not_follow_the_words_around_its_prompt(tmp_path: Path) -> None:
    [plain] = load(tmp_path, ROW, layout="fields").train
    [framed] = load(tmp_path, ROW, layout="fields", template="Q: {prompt}").train
    assert plain.id == framed.id


def test_a_template_without_the_prompt_says_itself_what_is_asked(tmp_path: Path) -> None:
    """Nothing is detected: of multiple choice, the answer stays what the row says."""
    row = {"question": "2 + 2?", "choices": ["3", "4"], "answer": 1}
    tasks = load(tmp_path, row, template="{question} {choices[0]} or {choices[1]}?")
    assert tasks.train[0].messages[-1].content == "2 + 2? 3 or 4?"
    assert (tasks.train[0].reference, tasks.notes) == ("1", ())
    [kept] = load(tmp_path, row, template="{prompt}\nAnswer with a letter.").train
    assert (kept.messages[-1].content, kept.reference) == ("2 + 2?\n\nA. 3\nB. 4\nAnswer with a letter.", "B")


def test_names_are_in_their_order_and_once() -> None:
    assert Template(r"{b} {prompt} {a} {b} \x{c}").names == ("b", "prompt", "a")
