"""Recordings as other tools write them: what is replayed, how the rows are joined to tasks, and what is refused."""

from __future__ import annotations

import asyncio
import json
import zipfile
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from pydantic import ValidationError

from stillroom.common.records import Attempt, Completion, Request, SamplingParams, Task, Usage, user
from stillroom.errors import InputError
from stillroom.sampling.scorers.base import Place
from stillroom.sampling.scorers.recorded import RecordedScorerSettings
from stillroom.sampling.teachers.recorded import RecordedSettings, RecordedTeacher

FOLDER = Path(__file__).parent / "recordings"


class Shape(NamedTuple):
    """`tokens`: of the first answer; None where they are estimated. `wrong`: what is said of the wrong twin."""

    file: str
    layout: str
    tokens: int | None
    wrong: str


SHAPES = [
    Shape("openai_batch.jsonl", "openai_batch", 3, r"wrong\.jsonl:2: not an output line of a batch"),
    Shape("vllm_batch.jsonl", "openai_batch", 2, r"wrong\.jsonl:2: the body of the reply has no choices"),
    Shape("batch_completions.jsonl", "openai_batch", 2, r"wrong\.jsonl:2: not JSON: .*column"),
    Shape("batch_responses.jsonl", "openai_batch", 2, "the output of the reply has no message"),
    Shape("anthropic_batch.jsonl", "anthropic_batch", 2, r"wrong\.jsonl:2: the result of the batch has no message"),
    Shape("lm_eval.jsonl", "lm_eval", None, r"wrong\.jsonl:2: resps holds log-likelihoods of choices, not answers"),
    Shape("lm_eval_repeats.jsonl", "lm_eval", None, "resps holds no answer"),
    Shape("lm_eval_filters.jsonl", "lm_eval", None, r"wrong\.jsonl:2: not a sample of lm-evaluation-harness"),
    Shape("inspect_scores.json", "inspect", 2, r"wrong\.json, item 2: a choice of the output has no message"),
    Shape("inspect.json", "inspect", 2, r"wrong\.json, item 2: the output calls a tool"),
    Shape("distilabel.jsonl", "distilabel", 2, r"wrong\.jsonl:2: answer 1 is a number, not a text"),
    Shape("distilabel_list.jsonl", "distilabel", None, "1 finish_reasons, but 2 answers"),
    Shape("curator_cache.jsonl", "curator", 2, r"wrong\.jsonl:2: a request of curator without an answer"),
    Shape("curator.jsonl", "curator", None, r"wrong\.jsonl:2: .*no field 'response' .*did you mean 'respons'"),
    Shape("openr1.jsonl", "openr1", 2, "1 correctness_math_verify, but 2 answers"),
    Shape("attempts.jsonl", "attempts", None, "1 thinking, but 2 answers: each needs its reasoning"),
    Shape("choices.jsonl", "attempts", None, "answer 2 is a number, not a text, nor an object with one"),
    Shape(
        "alpaca.jsonl",
        "alpaca",
        None,
        r"wrong\.jsonl:2: not an instruction .*no field 'output' .*did you mean 'ouput'",
    ),
    Shape("messages.jsonl", "messages", 2, r"wrong\.jsonl:1: .*does not end with a question and its answer"),
    Shape("messages_text.csv", "messages", None, r"wrong\.csv:2: not a list of turns"),
    Shape("graded.csv", "curator", None, r"wrong\.csv:3: 3 cells, the header has 4"),
    Shape("openthoughts.jsonl", "messages", None, "turn 2 has no role and content, or from and value"),
]


def opened(file: str, **given: Any) -> RecordedTeacher:
    return RecordedTeacher(RecordedSettings(kind="recorded", path=file, **given), base=FOLDER)


def wrong_twin(file: str) -> str:
    name, _, ending = file.partition(".")
    return f"{name}.wrong.{ending}"


def draw(teacher: RecordedTeacher, index: int = 0, task: str = "t1", question: str = "2 + 2?") -> Completion:
    request = Request(task, index, user(question), SamplingParams(), 0)
    return asyncio.run(teacher.sample(request, Usage()))


def told(teacher: RecordedTeacher, *tasks: tuple[str, str]) -> str:
    return teacher.matched([Task(name, user(text), None, "") for name, text in tasks or [("t1", "2 + 2?")]])


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.file)
def test_a_recording_is_replayed_by_name_and_by_its_content(shape: Shape) -> None:
    found = draw(opened(shape.file, layout=shape.layout))
    assert (found.text.strip(), (found.reasoning or "").strip(), found.finish_reason) == ("4", "hm", "stop")
    assert shape.tokens is None or found.completion_tokens in (shape.tokens, 1)
    detected = opened(shape.file)
    assert draw(detected) == found
    assert told(detected).startswith(f"recording: read with teacher.layout: {shape.layout}, ")


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.file)
def test_its_wrong_twin_is_refused_with_what_to_correct(shape: Shape) -> None:
    with pytest.raises(InputError, match=shape.wrong) as caught:
        opened(wrong_twin(shape.file), layout=shape.layout)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.file)
def test_a_field_that_no_row_has_is_refused(shape: Shape) -> None:
    with pytest.raises(InputError, match="no field 'other'"):
        opened(shape.file, task_id="other")
    with pytest.raises(InputError, match="no field 'other'"):
        opened(shape.file, layout=shape.layout, prompt="other")


def test_every_file_is_in_the_table() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {n for s in SHAPES for n in (s.file, wrong_twin(s.file))}


@pytest.mark.parametrize(
    ("file", "ends", "grades"),
    [
        ("openr1.jsonl", ["stop", "length"], [True, False]),
        ("attempts.jsonl", ["stop", "length"], [True, False]),
        ("distilabel_list.jsonl", ["stop", "length"], [True, False]),
        ("choices.jsonl", ["stop", "stop"], [None, None]),
        ("lm_eval_repeats.jsonl", ["stop"] * 3, [None] * 3),
    ],
)
def test_several_attempts_of_one_row_keep_their_ends_and_grades(
    file: str, ends: list[str], grades: list[bool | None]
) -> None:
    teacher = opened(file)
    assert [draw(teacher, number).finish_reason for number in range(len(ends))] == ends
    assert [teacher.grade("t1", user("2 + 2?"), number) for number in range(len(ends))] == grades


@pytest.mark.parametrize(
    ("file", "grade", "verdicts"),
    [
        ("lm_eval_filters.jsonl", "exact_match,strict-match", ["rejected graded 0.0"]),
        ("lm_eval_filters.jsonl", "exact_match,flexible-extract", ["accepted graded 1.0"]),
        ("lm_eval_filters.jsonl", "f1,strict-match", ["unscored partial 0.5"]),
        ("inspect.json", None, ["accepted graded 1.0"]),
        ("inspect_scores.json", "match", ["accepted graded 1.0", "rejected graded 0.0"]),
        ("inspect_scores.json", "rubric.clear", ["accepted graded 1.0", "rejected graded 0.0"]),
        ("inspect_scores.json", "rubric.short", ["unscored partial 0.5", "unscored no_answer None"]),
        ("openr1.jsonl", None, ["accepted graded 1.0", "unscored truncated None"]),
        ("graded.csv", None, ["accepted graded 1.0", "unscored unknown_grade None"]),
    ],
)
def test_the_grades_of_a_log_can_be_the_verdicts(file: str, grade: str | None, verdicts: list[str]) -> None:
    teacher = opened(file)
    settings = RecordedScorerSettings(kind="recorded", grade=grade, recording=teacher.settings)
    scorer, found = settings.make(Place(None, FOLDER)), []
    for question in ("2 + 2?", "3 + 1?"):
        task = Task("t1", user(question), None, "")
        for index in teacher.draws_of("t1", task.messages):
            request = Request("t1", index, task.messages, SamplingParams(), 0)
            said = asyncio.run(teacher.sample(request, Usage()))
            attempt = Attempt("t1", index, said.text, said.reasoning, said.finish_reason, 0, 0, None, 0.0, "t")
            verdict = asyncio.run(scorer.score(task, attempt))
            found.append(f"{verdict.state.value} {verdict.reason} {verdict.score}")
    assert found == verdicts


@pytest.mark.parametrize(
    ("file", "counts"),
    [
        ("openai_batch.jsonl", "1 of 1 attempts are of 1 of the 2 tasks to learn from; 2 rows hold no answer"),
        ("vllm_batch.jsonl", "1 of 1 attempts are of 1 of the 2 tasks to learn from; 3 rows hold no answer"),
        ("anthropic_batch.jsonl", "1 of 1 attempts are of 1 of the 2 tasks to learn from; 2 rows hold no answer"),
        ("curator_cache.jsonl", "1 of 1 attempts are of 1 of the 2 tasks to learn from; 1 rows hold no answer"),
        ("inspect.json", "1 of 2 attempts are of 1 of the 2 tasks to learn from; 1 rows hold no answer"),
        ("openr1.jsonl", "2 of 2 attempts are of 1 of the 2 tasks to learn from"),
        ("lm_eval.jsonl", "1 of 1 attempts are of 1 of the 2 tasks to learn from; 1 rows repeat the answers of another"),
    ],
)  # fmt: skip
def test_what_matched_is_told_and_what_failed_is_counted(file: str, counts: str) -> None:
    assert counts in told(opened(file), ("t1", "2 + 2?"), ("t9", "other"))


@pytest.mark.parametrize(
    ("file", "question"),
    [
        ("lm_eval.jsonl", "Question: 2 + 2?\nAnswer:"),
        ("lm_eval.jsonl", "2 + 2?"),
        ("curator_cache.jsonl", "Answer: 2 + 2?"),
        ("inspect.json", "Answer the question: 2 + 2?"),
    ],
)
def test_a_task_is_found_by_the_prompt_that_was_sent_and_by_the_text_it_was_made_from(
    file: str, question: str
) -> None:
    assert draw(opened(file), question=question).text == "4"


@pytest.mark.parametrize(
    ("file", "named", "task", "question"),
    [
        ("lm_eval.jsonl", {"task_id": "doc_id"}, "0", "?"),
        ("lm_eval.jsonl", {"prompt": "doc.answer"}, "?", "2 + 2 = 4\n#### 4"),
        ("inspect.json", {"task_id": "id"}, "1", "?"),
        ("vllm_batch.jsonl", {"task_id": "id"}, "vllm-t1", "?"),
        ("curator_cache.jsonl", {"task_id": "generic_request.original_row_idx"}, "0", "?"),
    ],
)
def test_a_recipe_may_say_what_rows_are_joined_by(file: str, named: dict[str, str], task: str, question: str) -> None:
    assert draw(opened(file, **named), task=task, question=question).text == "4"


def test_a_text_of_several_tasks_joins_none(tmp_path: Path) -> None:
    rows = [
        {"doc_id": n, "doc": {"question": "same?"}, "arguments": [[f"{n}: same?"]], "resps": [[str(n)]]}
        for n in (1, 2)
    ]
    (tmp_path / "r.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    teacher = RecordedTeacher(RecordedSettings(kind="recorded", path="r.jsonl"), base=tmp_path)
    assert draw(teacher, question="2: same?").text == "2"
    assert "0 of 2 attempts" in told(teacher, ("t", "same?"))


def test_a_log_of_inspect_is_read_from_its_archive_and_long_texts_are_put_back(tmp_path: Path) -> None:
    log = json.loads((FOLDER / "inspect.json").read_text())
    with zipfile.ZipFile(tmp_path / "log.eval", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("header.json", json.dumps({key: log[key] for key in log if key != "samples"}))
        for number, sample in enumerate(log["samples"]):
            archive.writestr(f"samples/{number}_epoch_1.json", json.dumps(sample))
    teacher = RecordedTeacher(RecordedSettings(kind="recorded", path="log.eval"), base=tmp_path)
    assert draw(teacher).text == "4"
    assert draw(teacher, question="A long question?").finish_reason == "length"


@pytest.mark.parametrize("given", [{"text": "t"}, {"reasoning": "r"}, {"grade": "g"}, {"columns": ({"text": "t"},)}])
def test_a_layout_leaves_no_field_of_an_answer_to_name(given: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match=f"leave out {next(iter(given))}, or layout"):
        opened("messages.jsonl", layout="messages", **given)


def test_an_unknown_layout_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ValidationError, match=r"no layout 'lmeval'; did you mean 'lm_eval'\? There are openai_batch"):
        opened("lm_eval.jsonl", layout="lmeval")


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("messages.jsonl", r"the prompt of the first task is 'other\?', the first of the recording '2 \+ 2\?'; name"),
        ("vllm_batch.jsonl", r"the id of the first task is 't9', the first of the recording 't1'; name .*tasks\.id"),
    ],
)
def test_a_recording_of_other_tasks_is_refused_with_what_both_are_called(file: str, said: str) -> None:
    opened(file).check_matched([Task("t9", user("other?"), None, ""), Task("t1", user("2 + 2?"), None, "")])
    with pytest.raises(InputError, match=said):
        opened(file).check_matched([Task("t9", user("other?"), None, "")])


# -- bad rows ----------------------------------------------------------------------------------------------------

GOOD = b'{"prompt": "2 + 2?", "response": "4"}\n'
BAD = [
    (b'{"prompt": "a", "resp', "not_json", "not JSON: Unterminated string"),
    (b'{"prompt": "a", "response": "\xff"}', "wrong_encoding", "not UTF-8: byte 0xff"),
    (b'["a"]', "not_an_object", "an array, not an object"),
    (b'{"prompt": "a"}', "not_an_attempt", "no field 'response'"),
    (b'{"prompt": "a", "response": 4}', "not_an_attempt", "holds no text"),
    (b'{"prompt": "a", "response": "b", "finish_reason": "odd"}', "not_an_attempt", "finish_reason is 'odd'"),
]


@pytest.mark.parametrize(("line", "reason", "said"), BAD)
def test_bad_rows_are_refused_or_left_out_and_counted(tmp_path: Path, line: bytes, reason: str, said: str) -> None:
    (tmp_path / "r.jsonl").write_bytes(GOOD + line + b"\n" + GOOD)
    with pytest.raises(InputError, match=rf"1 row is not an attempt:\n.*r\.jsonl:2: .*{said}.*\nFix it, or set"):
        RecordedTeacher(RecordedSettings(kind="recorded", path="r.jsonl"), base=tmp_path)
    teacher = RecordedTeacher(RecordedSettings(kind="recorded", path="r.jsonl", bad_rows="skip"), base=tmp_path)
    assert [draw(teacher, number).text for number in range(2)] == ["4", "4"]
    assert f"; 1 bad row is left out ({reason} 1), the first {tmp_path / 'r.jsonl'}:2" in told(teacher)
    counts = teacher.counts([Task("t1", user("2 + 2?"), None, "")])
    assert (counts["rows"], counts["matched_attempts"], counts["bad_rows"]) == (3, 2, {reason: 1})


def test_a_score_that_is_not_a_number_is_missing(tmp_path: Path) -> None:
    """Inspect writes NaN for samples that its scorer left out: UKGovernmentBEIS/inspect_ai/pull/4580."""
    log = json.loads((FOLDER / "inspect.json").read_text())
    log["samples"][0]["scores"]["match"]["value"] = float("nan")
    log["results"] = {"scores": [{"metrics": {"stderr": {"value": float("nan")}}}]}
    (tmp_path / "log.json").write_text(json.dumps(log))
    teacher = RecordedTeacher(RecordedSettings(kind="recorded", path="log.json"), base=tmp_path)
    settings = RecordedScorerSettings(kind="recorded", recording=teacher.settings)
    attempt = Attempt("t1", 0, draw(teacher).text, None, "stop", 0, 0, None, 0.0, "t")
    task = Task("t1", user("2 + 2?"), None, "")
    assert asyncio.run(settings.make(Place(None, tmp_path)).score(task, attempt)).reason == "no_grade"


def test_a_recording_about_a_picture_is_refused(tmp_path: Path) -> None:
    log = json.loads((FOLDER / "inspect.json").read_text())
    log["samples"][0]["input"] = [
        {"role": "user", "content": [{"type": "image", "image": "data:image/png;base64,x"}]}
    ]
    (tmp_path / "log.json").write_text(json.dumps(log))
    with pytest.raises(InputError, match=r"log\.json, item 1: turn 1 holds a part of the type 'image': only texts"):
        RecordedTeacher(RecordedSettings(kind="recorded", path="log.json"), base=tmp_path)


def test_all_bad_rows_are_told_together(tmp_path: Path) -> None:
    settings = RecordedSettings(kind="recorded", path="r.jsonl")
    (tmp_path / "r.jsonl").write_bytes(GOOD + b"x\n" * 11 + b"[]\n")
    with pytest.raises(InputError) as refused:
        RecordedTeacher(settings, base=tmp_path)
    said = str(refused.value)
    assert said.startswith("12 rows are not attempts:\n")
    assert "r.jsonl:11: not JSON" in said
    assert "r.jsonl:12" not in said
    assert "and 2 more (not_json 11, not_an_object 1 in all)" in said
    (tmp_path / "r.jsonl").write_bytes(GOOD + b"x\n" * 12)  # the same of all: once
    with pytest.raises(InputError, match=r":2, .*:3, .*r\.jsonl:4 and 9 more: not JSON: Expecting value"):
        RecordedTeacher(settings, base=tmp_path)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", r"r\.jsonl holds no row: the file is empty"),
        (b'{"prompt": "a", "respons": "b"}\n', r"no row of .*r\.jsonl is an attempt: 1 bad row is left out"),
        (b'{"prompt": "a", "response": null}\n', "none of the 1 rows .* every request had failed"),
    ],
)
def test_a_recording_without_an_attempt_is_refused(tmp_path: Path, data: bytes, said: str) -> None:
    (tmp_path / "r.jsonl").write_bytes(data)
    settings = RecordedSettings(kind="recorded", path="r.jsonl", layout="curator", bad_rows="skip")
    with pytest.raises(InputError, match=said):
        RecordedTeacher(settings, base=tmp_path)


def test_an_attempt_of_a_bad_row_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "r.jsonl").write_bytes(
        b'{"question": "2 + 2?", "responses": ["5", 7]}\n' + GOOD.replace(b"response", b"x")
    )
    settings = RecordedSettings(
        kind="recorded", path="r.jsonl", prompt="question", text="responses[*]", bad_rows="skip"
    )
    with pytest.raises(InputError, match=r"is an attempt: 2 bad rows are left out \(not_an_attempt 2\)"):
        RecordedTeacher(settings, base=tmp_path)
