"""Tasks from JSON Lines: what is read, what is refused, and that all of it is refused at once."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from stillroom.errors import MissingFile, TaskError
from stillroom.traces.tasks import JsonlTasks, Problem, TaskSet, TaskSettings, load_tasks


def settings(**given: Any) -> JsonlTasks:
    return JsonlTasks(source="jsonl", path="p.jsonl", **given)


def load(folder: Path, content: str | bytes, **given: Any) -> TaskSet:
    raw = content.encode() if isinstance(content, str) else content
    (folder / "p.jsonl").write_bytes(raw)
    return load_tasks(settings(**given), base=folder, seed=1)


def lines(*rows: Any) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


def row(number: int, **other: Any) -> dict[str, Any]:
    return {"question": f"What is {number} + 1?", "answer": str(number + 1), **other}


def test_a_row_becomes_a_task(tmp_path: Path) -> None:
    [task] = load(tmp_path, lines(row(1, level=3)), system="Be brief.", template="Q: {prompt}\nA:").train
    assert [message.as_dict() for message in task.messages] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Q: What is 1 + 1?\nA:"},
    ]
    assert (task.reference, task.source, dict(task.metadata)) == ("2", "p.jsonl:1", {"level": 3})


def test_what_an_instruction_is_about_follows_it(tmp_path: Path) -> None:
    rows = lines(row(1, input=" 7 and 8 "), row(2, input=""), row(3, input=None))
    tasks = load(tmp_path, rows, input="input").train
    prompts = [task.messages[0].content for task in tasks]
    assert prompts == ["What is 1 + 1?\n\n7 and 8", "What is 2 + 1?", "What is 3 + 1?"]
    assert tasks[0].id != load(tmp_path, lines(row(1, input="9")), input="input").train[0].id
    with pytest.raises(TaskError, match="field 'input' is a list"):
        load(tmp_path, lines(row(1, input=["a"])), input="input")


def test_the_template_substitutes_once_and_leaves_other_braces(tmp_path: Path) -> None:
    rows = lines({"question": "{prompt} {answer} {0} %s", "answer": "4"})
    [task] = load(tmp_path, rows, template=r"{prompt} End with \boxed{answer}.").train
    assert task.messages[0].content == r"{prompt} {answer} {0} %s End with \boxed{answer}."


@pytest.mark.parametrize(
    ("field", "path", "expected"),
    [
        ({"a": {"b": "deep"}}, "a.b", "deep"),
        ({"a.b": "flat", "a": {"b": "deep"}}, "a.b", "flat"),
        ({"n": 5}, "n", "5"),
        ({"n": -2.5}, "n", "-2.5"),
    ],
)
def test_references_are_found_by_name_or_path(tmp_path: Path, field: Any, path: str, expected: str) -> None:
    [task] = load(tmp_path, lines({"question": "q", **field}), reference=path).train
    assert task.reference == expected


def test_the_reference_after_the_last_marker(tmp_path: Path) -> None:
    solution = "#### is a marker\n2 + 2 = 4\n#### 1,004\n"
    [task] = load(tmp_path, lines({"question": "q", "answer": solution}), reference_after="####").train
    assert task.reference == "1,004"
    assert task.metadata["answer"] == solution


def test_tasks_without_a_reference(tmp_path: Path) -> None:
    [task] = load(tmp_path, lines({"question": "Write a poem."}), reference=None).train
    assert task.reference is None


@pytest.mark.parametrize(
    ("bad", "reason", "said"),
    [
        (b'{"question": "q"', Problem.NOT_JSON, "column"),
        (b"plain text", Problem.NOT_JSON, "Expecting value"),
        (b'{"question": "q", "answer": NaN}', Problem.NOT_JSON, "NaN is not JSON"),
        (b'{"question": "q", "answer": ' + b"9" * 5000 + b"}", Problem.NOT_JSON, "limit"),
        (b'"a string"', Problem.NOT_AN_OBJECT, "a text"),
        (b"null", Problem.NOT_AN_OBJECT, "null"),
        (b'{"question": "q \xff", "answer": "4"}', Problem.WRONG_ENCODING, "byte 0xff at 16"),
        (b'{"question": "q"}', Problem.MISSING_FIELD, "no field 'answer'"),
        (b'{"question": "q", "anwser": "4"}', Problem.MISSING_FIELD, "did you mean 'anwser'?"),
        (b'{"question": 7, "answer": "4"}', Problem.WRONG_TYPE, "'question' is int"),
        (b'{"question": null, "answer": "4"}', Problem.WRONG_TYPE, "'question' is null"),
        (b'{"question": "q", "answer": true}', Problem.WRONG_TYPE, "'answer' is true or false"),
        (b'{"question": "q", "answer": ["4"]}', Problem.WRONG_TYPE, "'answer' is a list"),
        (b'{"question": "q", "answer": null}', Problem.WRONG_TYPE, "'answer' is null"),
        (b'{"question": "q", "answer": 1e999}', Problem.WRONG_TYPE, "not a finite number"),
        (b'{"question": " \\n ", "answer": "4"}', Problem.EMPTY_PROMPT, "'question' is empty"),
        (b'{"question": "q", "answer": "  "}', Problem.EMPTY_REFERENCE, "'answer' is empty"),
        (b'{"question": "q\\u0000", "answer": "4"}', Problem.BAD_CHARACTER, "NUL at character 1"),
        (b'{"question": "q", "answer": "\\ud800"}', Problem.BAD_CHARACTER, "U+D800"),
        (b'{"question": "q", "answer": "4", "x": [{"y": "\\udfff"}]}', Problem.BAD_CHARACTER, "field 'x'"),
    ],
)
def test_bad_rows_are_refused_with_file_line_and_reason(
    tmp_path: Path, bad: bytes, reason: Problem, said: str
) -> None:
    content = lines(row(1)).encode() + b"\n" + bad + b"\n" + lines(row(2)).encode()
    with pytest.raises(TaskError) as refused:
        load(tmp_path, content)
    [line] = [line for line in str(refused.value).splitlines() if "p.jsonl:3" in line]
    assert f": {reason.value}: " in line
    assert said in line
    skipped = load(tmp_path, content, bad_rows="skip")
    assert len(skipped.train) == 2
    assert [(item.source, item.reason) for item in skipped.left_out] == [("p.jsonl:3", reason)]


def test_deep_nesting_is_a_bad_row_and_no_crash(tmp_path: Path) -> None:
    deep = b'{"question": "q", "answer": ' + b"[" * 100_000 + b"]" * 100_000 + b"}\n"
    with pytest.raises(TaskError, match=r"p\.jsonl:1"):
        load(tmp_path, deep)


def test_a_typo_is_told_with_the_nearest_name_even_where_bad_rows_are_skipped(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"missing_field 2.*p\.jsonl:1: no field 'qestion'.*did you mean 'question'"):
        load(tmp_path, lines(row(1), row(2)), prompt="qestion", bad_rows="skip")


@pytest.mark.parametrize(
    ("prompt", "expected"), [("turns[0].text", "one"), ("turns.1.text", "two"), ("turns[*].text", "one\n\ntwo")]
)
def test_fields_within_lists_are_named(tmp_path: Path, prompt: str, expected: str) -> None:
    rows = lines({"turns": [{"text": "one"}, {"text": "two"}], "answers": ["4"]})
    [task] = load(tmp_path, rows, prompt=prompt, reference="answers[*]").train
    assert (task.messages[0].content, task.reference) == (expected, "4")


def test_all_bad_rows_are_refused_together(tmp_path: Path) -> None:
    bad: list[dict[str, Any]] = [{"question": "q"}] * 9 + [{"question": "", "answer": "1"}] * 4
    with pytest.raises(TaskError) as refused:
        load(tmp_path, lines(row(1), *bad))
    said = str(refused.value)
    assert said.startswith("13 rows are not tasks:")
    assert "p.jsonl:2" in said
    assert "p.jsonl:11" in said
    assert "p.jsonl:12" not in said
    assert "and 3 more (missing_field 9, empty_prompt 4 in all)" in said
    assert "tasks.bad_rows: skip" in said


@pytest.mark.parametrize(
    ("start", "said"),
    [
        (b"\xff\xfe{", "UTF-16"),
        (b"\x1f\x8b\x08", "cannot be unpacked"),
        (b'[\n{"question"', r"p\.jsonl:2: the item that begins here"),
        (b"\xef\xbb\xbf [", r"p\.jsonl:2: the item that begins here"),
    ],
)
def test_files_of_another_kind_are_named_once(tmp_path: Path, start: bytes, said: str) -> None:
    with pytest.raises(TaskError, match=said):
        load(tmp_path, start + b"\nx\nx\n", bad_rows="skip")


def test_a_byte_order_mark_windows_lines_and_blank_lines_are_fine(tmp_path: Path) -> None:
    content = b"\xef\xbb\xbf" + lines(row(1)).replace("\n", "\r\n").encode() + b"\r\n  \n" + lines(row(2)).encode()
    tasks = load(tmp_path, content)
    assert [task.source for task in tasks.train] == ["p.jsonl:1", "p.jsonl:4"]


@pytest.mark.parametrize(
    ("content", "places"),
    [
        (json.dumps([row(1), row(2)], indent=1), ["p.jsonl:2", "p.jsonl:6"]),
        ("question,answer\nWhat is 1 + 1?,2\nWhat is 2 + 1?,3\n", ["p.jsonl:2", "p.jsonl:3"]),
        (gzip.compress(lines(row(1), row(2)).encode(), mtime=0), ["p.jsonl:1", "p.jsonl:2"]),
    ],
)
def test_other_formats_give_the_same_tasks(tmp_path: Path, content: str | bytes, places: list[str]) -> None:
    tasks = load(tmp_path, content).train
    assert [(task.id, task.reference) for task in tasks] == [
        (task.id, task.reference) for task in load(tmp_path, lines(row(1), row(2))).train
    ]
    assert [task.source for task in tasks] == places


def test_half_a_row_of_csv_is_a_bad_row(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"p\.jsonl:3: wrong_cells: 1 cell, the header has 2"):
        load(tmp_path, "question,answer\nq,1\nr\n")


def test_shards_are_read_in_order(tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / f"s-{number}.jsonl").write_text(lines(row(number)))
    tasks = load_tasks(JsonlTasks(source="jsonl", path="s-*.jsonl"), base=tmp_path, seed=1)
    assert [task.source for task in tasks.train] == ["s-1.jsonl:1", "s-2.jsonl:1"]


@pytest.mark.parametrize("content", ["", "\n\n"])
def test_an_empty_file_has_too_few_tasks(tmp_path: Path, content: str) -> None:
    with pytest.raises(TaskError, match="0 usable tasks"):
        load(tmp_path, content)


def test_a_missing_file_is_named_with_near_names(tmp_path: Path) -> None:
    (tmp_path / "problems.jsonl").touch()
    given = JsonlTasks(source="jsonl", path="problem.jsonl")
    with pytest.raises(MissingFile, match=r"tasks\.path: .*did you mean problems\.jsonl\?"):
        load_tasks(given, base=tmp_path, seed=1)
    with pytest.raises(MissingFile, match=r"the folder .*nowhere does not exist"):
        load_tasks(JsonlTasks(source="jsonl", path="nowhere/p.jsonl"), base=tmp_path, seed=1)
    with pytest.raises(MissingFile, match=r"is a folder.*problems\.jsonl"):
        load_tasks(JsonlTasks(source="jsonl", path="."), base=tmp_path, seed=1)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"template": "no field"}, r"template has no \{prompt\}"),
        ({"limit": 0}, "greater than or equal to 1"),
        ({"test": -1}, "greater than or equal to 0"),
        ({"promt": "q"}, "Extra inputs"),
        ({"reference": None, "reference_after": "####"}, "needs a reference field"),
        ({"source": "jsonll"}, "source"),
    ],
)
def test_wrong_settings_are_refused(given: dict[str, Any], said: str) -> None:
    adapter: TypeAdapter[Any] = TypeAdapter(TaskSettings)
    with pytest.raises(ValidationError, match=said):
        adapter.validate_python({"source": "jsonl", "path": "p", **given})


def test_worked_solutions_as_references_are_noted(tmp_path: Path) -> None:
    rows = lines({"question": "q", "answer": "2 + 2 = 4\n#### 4"})
    [note] = load(tmp_path, rows, layout="fields").notes
    assert 'tasks.reference_after: "####"' in note
    assert load(tmp_path, rows, reference_after="####").notes == ()


def test_a_limit_larger_than_the_file_is_noted(tmp_path: Path) -> None:
    tasks = load(tmp_path, lines(row(1), row(2)), limit=5)
    assert len(tasks.train) == 2
    assert "there are 2 training tasks" in tasks.notes[0]


def test_a_row_may_say_what_its_answer_is(tmp_path: Path) -> None:
    rows = lines(row(1), row(2, type="number"), row(3, type=None))
    assert [task.answer_type for task in load(tmp_path, rows).train] == ["", "", ""]
    found = load(tmp_path, lines(row(1, type=""), row(2, type="number"), row(3, type=None)), **TYPED).train
    assert [task.answer_type for task in found] == ["integer", "number", "integer"]


def test_an_unknown_answer_type_in_a_row_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match=r"the field 'type' is numeric: an answer type is one of integer"):
        load(tmp_path, lines(row(1, type="numeric")), **TYPED)


TYPED: dict[str, Any] = {"answer_type": "integer", "answer_type_field": "type"}
