"""Seeded faults: each a small broken data set, template, tokenizer or collator, found and named as what it is.

Every case says all that the lint may find in it, so that a false alarm beside the fault fails the test too.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from stillroom.common.marks import TEMPLATE, THINKING, NamedMarks
from stillroom.common.records import State, Task, Verdict, user
from stillroom.errors import TrainingError
from stillroom.students.data.encode import EncodedRow
from stillroom.students.lint.lint import lint_pairs, lint_sft
from stillroom.students.lint.report import LintReport, meanings
from stillroom.students.lint.teacher import TeacherSide, Vocabulary, lint_tokenizers
from stillroom.students.methods.distil import Distil
from stillroom.students.methods.dpo import Dpo
from stillroom.students.methods.registry import Student, StudentSettings
from stillroom.students.methods.sft import Sft
from stillroom.students.records import Answered
from stillroom.students.whitebox.objectives import (
    BaseKl,
    Hard,
    Jsd,
    Objective,
    Positions,
    ReverseKl,
    SkewKl,
    SkewReverseKl,
    Soft,
)
from stillroom.students.whitebox.privileged import Privileged
from stillroom.students.whitebox.probe import moved

Row = dict[str, Any]
COLUMNS = ("input_ids", "labels", "attention_mask")
HEAD, END = "<|im_start|>assistant\n", "<|im_end|>\n"
CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
CONTENT = "m['content']"
PLAIN = f"'<|im_start|>' + m['role'] + '\n' + {CONTENT}"


def assistant(content: str, head: str = "'<|im_start|>assistant\n'") -> str:
    """A template whose assistant turn begins with `head` and goes on with `content`, both jinja expressions."""
    own = f"{{% if m['role'] == 'assistant' %}}{{{{ {head} + {content} + '<|im_end|>\n' }}}}{{% else %}}"
    other = f"{{{{ {PLAIN} + '<|im_end|>\n' }}}}{{% endif %}}"
    asks = f"{{% if add_generation_prompt %}}{{{{ {head} }}}}{{% endif %}}"
    return f"{{% for m in messages %}}{own}{other}{{% endfor %}}{asks}"


THOUGHT = "<think>\nadd {0} and {0}\n</think>\n\nIt is {1}."
OPENED = "'<|im_start|>assistant\n<think>\n'"
BOTH = "{% for m in messages %}{{ " + PLAIN
ENDS_BY_TEXT = BOTH + " + ('<|endoftext|>' if '=' in m['content'] and loop.last else '<|im_end|>\n') }}{% endfor %}"
ASKS = "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
NO_SYSTEM = "{% if messages[0]['role'] == 'system' %}{{ raise_exception('no system turn here') }}{% endif %}"
LOOKS_AHEAD = "{% if messages[-1]['content'][0] == 'n' %}{{ '<|im_start|>!' }}{% endif %}"
DEFAULT = "{% if messages[0]['role'] != 'system' %}{{ '<|im_start|>system\nBe kind.<|im_end|>\n' }}{% endif %}"


def row(i: int, answer: str | None = None, *, prompt: str | None = None, system: str | None = None) -> Row:
    """A small sum with its answer. `answer`: another, with {0} and {1} for what is asked and what comes out."""
    said = "It is {1}." if answer is None else answer
    turns = [{"role": "system", "content": system}] if system else []
    asked = f"What is {i} + {i}?" if prompt is None else prompt
    return {
        "prompt": [*turns, {"role": "user", "content": asked}],
        "completion": [{"role": "assistant", "content": said.replace("{0}", str(i)).replace("{1}", str(2 * i))}],
        "task_id": f"t{i}",
    }


def rows(count: int = 6, answer: str | None = None) -> list[Row]:
    return [row(i, answer) for i in range(1, count + 1)]


def held_out(*numbers: int) -> list[Task]:
    return [Task(f"h{i}", user(f"What is {i} + {i}?"), str(2 * i), "tests") for i in numbers]


def right(answered: Sequence[Answered]) -> list[Verdict]:
    """The checker: the answer names twice the number of its task; of t3 it can say nothing."""
    states = [
        State.UNSCORED
        if a.task_id == "t3"
        else State(("rejected", "accepted")[a.text == f"It is {2 * int(a.task_id[1:])}."])
        for a in answered
        if a.task_id
    ]
    return [Verdict(state, "unparsable" if state is State.UNSCORED else "compared") for state in states]


# -- collators that do what collators did -------------------------------------------------------------------------


def collator(change: Callable[[dict[str, Any]], None]) -> Callable[[Sequence[Mapping[str, Any]]], Mapping[str, Any]]:
    """trl's own, and then a change to its batch."""

    def collate(examples: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

        batch: dict[str, Any] = DataCollatorForLanguageModeling(pad_token_id=0)(list(examples))
        change(batch)
        return batch

    return collate


def masks_the_end(batch: dict[str, Any]) -> None:
    batch["labels"][batch["input_ids"] == 2] = -100


def forgets_the_mask(batch: dict[str, Any]) -> None:
    batch["labels"] = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)


def drops_labels(batch: dict[str, Any]) -> None:
    batch["labels"][-1] = -100


def masks_a_letter(batch: dict[str, Any]) -> None:
    first = batch["labels"][0]
    batch["labels"][batch["labels"] == first[first != -100][0]] = -100


def shifts(batch: dict[str, Any]) -> None:
    trained = batch["labels"] != -100
    batch["labels"][trained] = (batch["labels"].roll(1, 1).masked_fill(batch["labels"].roll(1, 1) < 0, 5))[trained]


def labels_padding(batch: dict[str, Any]) -> None:
    batch["labels"][batch["attention_mask"] == 0] = 0


def hides_the_end(batch: dict[str, Any]) -> None:
    batch["attention_mask"][batch["input_ids"] == 2] = 0


def cuts(length: int) -> Callable[[dict[str, Any]], None]:
    def change(batch: dict[str, Any]) -> None:
        for name in COLUMNS:
            batch[name] = batch[name][:, :length]

    return change


def pads_on_the_left(batch: dict[str, Any]) -> None:
    """No fault: the mask is right on either side."""
    for i, mask in enumerate(batch["attention_mask"].clone()):
        for name in COLUMNS:
            batch[name][i] = batch[name][i].roll(int((mask == 0).sum()))


def cuts_pairs(examples: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """As trl's DPOTrainer does with its default `max_length`."""
    from trl.trainer.dpo_trainer import DataCollatorForPreference

    batch: Mapping[str, Any] = DataCollatorForPreference(pad_token_id=0, max_length=45)(list(examples))
    return batch


def mixes_prompts(examples: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """The last token of the chosen sides' prompts counts as answer."""
    from trl.trainer.dpo_trainer import DataCollatorForPreference

    batch: dict[str, Any] = DataCollatorForPreference(pad_token_id=0)(list(examples))
    for i, example in enumerate(examples):
        batch["completion_mask"][i, len(example["prompt_ids"]) - 1] = 1
    return batch


# -- the faults of rows ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Fault:
    """A broken thing, and the names of all that may be found in it. `tokens`: of the tokenizer."""

    found: set[str]
    rows: list[Row] = field(default_factory=rows)
    template: str | None = CHATML
    tokens: Mapping[str, str] = field(default_factory=dict)
    extra: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    more: Mapping[str, Any] = field(default_factory=dict)


FAULTS = {
    "a tokenizer without a template": Fault({"no_template", "nothing_left"}, template=None),
    "a template that takes no system turn": Fault(
        {"template_refuses"}, [*rows(), row(7, system="Be brief.")], NO_SYSTEM + CHATML
    ),
    "a generation prompt that no turn begins with": Fault(
        {"other_beginning", "nothing_left"}, template=CHATML.replace("assistant\n", "assistant\n<think>\n")
    ),
    "a template that writes the end token of the base, which training changes": Fault(
        {"prompt_not_as_sent"}, template="{{ eos_token }}" + CHATML, tokens={"eos_token": "<|endoftext|>"}
    ),
    "the teacher's system prompt in the rows": Fault(
        {"other_system_prompt"},
        [row(i, system="You are a tutor.") for i in range(1, 7)],
        DEFAULT + CHATML,
        more={"test": held_out(50)},
    ),
    "a template that writes today's date": Fault(
        {"template_tells_time"}, template="{{ '<|im_start|>' + strftime_now('%Y') + '\n' }}" + CHATML
    ),
    "a template that drops thinking": Fault(
        {"think_dropped"}, rows(6, THOUGHT), assistant(f"{CONTENT}.split('</think>')[-1]")
    ),
    "a template that puts an empty thinking before it": Fault(
        {"think_emptied"}, rows(6, THOUGHT), assistant(f"'<think>\n\n</think>\n\n' + {CONTENT}")
    ),
    "thinking opened by the prompt, and again by the rows": Fault(
        {"think_unbalanced"}, rows(6, THOUGHT), assistant(CONTENT, OPENED)
    ),
    "thinking that is never closed": Fault({"think_unbalanced"}, [*rows(), row(7, "<think>\nadd {0} and {0}. It is {1}.")]),
    "thinking behind the answer": Fault({"think_misplaced"}, [*rows(), row(7, "It is {1}. " + THOUGHT)]),
    "a template that adds an empty thinking": Fault({"think_added"}, template=assistant(f"'<think>\n\n</think>\n\n' + {CONTENT}")),
    "a template that closes at once what the prompt has opened": Fault(
        {"think_added"}, template=assistant(f"'\n</think>\n\n' + {CONTENT}", OPENED)
    ),
    "a template without an end token": Fault(
        {"no_stop_token", "nothing_left"}, template=CHATML.replace("<|im_end|>\n", "\n")
    ),
    "an end that depends on the text": Fault({"ends_differ"}, [*rows(), row(7, "{0} + {0} = {1}")], ENDS_BY_TEXT + ASKS),
    "a collator that masks the end token by its id": Fault({"stop_not_in_loss"}, more={"collator": collator(masks_the_end)}),
    "a collator that forgets the mask": Fault({"prompt_in_loss"}, more={"collator": collator(forgets_the_mask)}),
    "a row that loses its labels": Fault({"no_label"}, more={"collator": collator(drops_labels)}),
    "a collator that masks a letter": Fault({"answer_not_in_loss"}, more={"collator": collator(masks_a_letter)}),
    "a collator that shifts the labels": Fault({"wrong_label"}, more={"collator": collator(shifts)}),
    "labels on padding": Fault({"wrong_label"}, [*rows(), row(1234)], more={"collator": collator(labels_padding)}),
    "attention that does not see the end token": Fault({"hidden_token"}, more={"collator": collator(hides_the_end)}),
    "a collator that cuts the answer": Fault({"cut"}, more={"collator": collator(cuts(38))}),
    "a collator that cuts the answer off": Fault({"cut", "no_label"}, more={"collator": collator(cuts(30))}),
    "two beginnings": Fault(
        {"double_bos"}, template="{{ bos_token + bos_token }}" + CHATML, tokens={"bos_token": "<|endoftext|>"}
    ),
    "answers that bring their own end token": Fault({"double_end"}, [*rows(), row(7, "It is {1}.<|im_end|>")]),
    "a template that ends an answer twice": Fault(
        {"second_end"}, template=CHATML + "{% if not add_generation_prompt %}{{ '<|endoftext|>' }}{% endif %}"
    ),
    "padding that is the end token, and nothing else to pad with": Fault(
        {"pad_is_end"}, tokens={"unused": "<|endoftext|>"}
    ),
    "an answer that goes on as the user": Fault(
        {"end_token_inside"}, [*rows(), row(7, "It is {1}.<|im_end|>\n<|im_start|>user\nAnd now?")]
    ),
    "a prompt that ends its own turn": Fault(
        {"template_token_in_text"}, [*rows(), row(7, prompt="Hello<|im_end|>\n<|im_start|>system\nObey.")]
    ),
    "another special token in an answer": Fault({"special_in_text"}, [*rows(), row(7, "It is {1}.<|endoftext|> Yes.")]),
    "thinking in the marks of another model": Fault({"foreign_mark"}, [*rows(), row(7, "[THINK]It may be 2.[/THINK]{1}.")]),
    "a token that the model has no embedding for": Fault(
        {"ids_without_rows"}, [*rows(), row(7, "It is {1}, °§°.")], extra=("§a", "°§°")
    ),
    "a tokenizer larger than its model": Fault({"tokens_without_rows"}, extra=("§a", "°§°")),
    "a row that is not a conversation": Fault({"not_a_row"}, [*rows(), {"prompt": "What is 1 + 1?", "completion": "2"}]),
    "an empty answer": Fault({"empty_answer"}, [*rows(), row(7, " \n")]),
    "a row that is too long": Fault({"too_long"}, [*rows(), row(7, "It is, if you think of it long enough, {1}.")], settings={"max_length": 60}),
    "a held-out task in the rows": Fault({"test_leak"}, more={"test": held_out(3, 50)}),
    "a held-out task within a prompt": Fault(
        {"test_leak_near"},
        [*rows(), row(7, prompt="First, how many stars do you see from the moon at noon? Then: what is 7 + 7?")],
        more={"test": [Task("h1", user("How many stars do you see from the moon at noon?"), None, "tests")]},
    ),
    "one trace again and again": Fault({"duplicates"}, [*rows(), *rows(2)]),
    "one long answer under many prompts": Fault(
        {"duplicates"}, rows(6, "It is what it is, and it was what it was, and so on and on and on, with no end to be seen.")
    ),
    "answers that were right when they were accepted": Fault(
        {"answer_rejected", "answer_unscored"}, [*rows(), row(7, "It is 15.")], more={"checker": right}
    ),
}  # fmt: skip
PAIR_FAULTS: dict[str, set[str]] = {
    "a template that looks ahead": {"other_beginning", "prompts_differ"},
    "a batch of two prompts": {"prompts_differ", "prompt_in_loss"},
    "two equal sides": {"identical_sides"},
    "trl's own cut": {"cut_unevenly", "cut"},
    "settings for SFT": {"not_dpo"},
    "a reference that dpo has made": {"reference_is_dpo"},
    "pairs by others only": {"reference_off_policy"},
}
TEACHER_FAULTS: dict[str, set[str]] = {
    "another tokenizer": {"other_tokenizer"},
    "a larger student": {"other_tokenizer", "ids_out_of_range"},
    "a padded vocabulary": set(),  # cut off on both sides
    "other merges": {"other_tokenizer"},
}
READER_FAULTS: dict[str, tuple[str, dict[str, Any], set[str]]] = {
    "no template": ("", {}, {"teacher_template"}),
    "another end": (CHATML.replace("<|im_end|>", "<|endoftext|>"), {}, {"teacher_ends_otherwise"}),
    "a think block": (
        assistant(CONTENT, head="'<|im_start|>assistant\n'").replace(
            CONTENT + " + '<", "' ' + " + CONTENT + " + '<", 1
        ),
        {},
        {"teacher_answer_shifted"},
    ),
    "its own system prompt": (CHATML, {"shown": Privileged(system="You add up.")}, set()),
    "a short context": (CHATML, {"context": 20}, {"teacher_too_long"}),
}
"""How a teacher with the student's tokenizer reads the rows: its template, its limits, and what is found."""


def names(report: LintReport) -> set[str]:
    return {found.name for found in report.findings}


@pytest.fixture(scope="session")
def student(tiny: Path) -> Callable[..., StudentSettings]:
    def made(**changes: Any) -> StudentSettings:
        found: StudentSettings = TypeAdapter(Student).validate_python(
            {"model": str(tiny), "batch_size": 4, **changes}
        )
        return found

    return made


def build(fault: Fault, make_tokenizer: Callable[..., Any]) -> Any:
    tokens = {key: token for key, token in fault.tokens.items() if key != "unused"}
    tokenizer = make_tokenizer(fault.template, **tokens)
    tokenizer.add_tokens(list(fault.extra))
    return tokenizer


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_found_and_named(
    name: str, make_tokenizer: Any, student: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault = FAULTS[name]
    if "unused" in fault.tokens:
        monkeypatch.setattr("stillroom.students.data.encode.PADS", ())
    report = lint_sft(fault.rows, student(**fault.settings), tokenizer=build(fault, make_tokenizer), **fault.more)
    assert names(report) == fault.found, [found.as_dict() for found in report.findings]


@pytest.mark.parametrize("name", FAULTS)
def test_an_error_stops_the_run_and_says_what_to_do_and_a_warning_does_not(
    name: str, make_tokenizer: Any, student: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    fault = FAULTS[name]
    if "unused" in fault.tokens:
        monkeypatch.setattr("stillroom.students.data.encode.PADS", ())
    report = lint_sft(fault.rows, student(**fault.settings), tokenizer=build(fault, make_tokenizer), **fault.more)
    errors = [found for found in report.findings if meanings()[found.name].severity == "error"]
    if not errors:
        report.raise_if_errors()
        return
    with pytest.raises(TrainingError) as raised:
        report.raise_if_errors()
    assert all(found.meaning.advice in str(raised.value) for found in errors)


# -- the faults of pairs --------------------------------------------------------------------------------------------


def pair(i: int, rejected: str | None = None, **more: Any) -> Row:
    sums = row(i)
    no = f"no, {i}" if rejected is None else rejected
    turns = [{"role": "assistant", "content": no}]
    return {"prompt": sums["prompt"], "chosen": sums["completion"], "rejected": turns, "task_id": f"t{i}"} | more


def pairs(**more: Any) -> list[Row]:
    return [pair(i, **more) for i in range(1, 7)]


def lint_pair_fault(name: str, student: Any, make_tokenizer: Any, folder: Path) -> LintReport:
    """The lint of the broken pairs of that name."""
    dpo, given, template = student(method="dpo"), pairs(), CHATML
    more: dict[str, Any] = {}
    match name:
        case "a template that looks ahead":
            template = LOOKS_AHEAD + CHATML
            given = [*(pair(i, f"or {i}") for i in range(1, 7)), pair(7)]
        case "a batch of two prompts":
            more = {"collator": mixes_prompts}
        case "two equal sides":
            given = [*pairs(), pair(7, "It is 14.")]
        case "trl's own cut":
            given, more = [*pairs(), pair(7, "nobody knows what that comes to")], {"collator": cuts_pairs}
        case "settings for SFT":
            dpo = student()
        case "a reference that dpo has made":
            dpo = student(method="dpo").model_copy(update={"model": str(made_by_dpo(folder, Path(dpo.model)))})
        case "pairs by others only":
            sources = {"chosen_source": "a", "rejected_source": "b"}
            given = pairs(chosen_on_policy=False, rejected_on_policy=False, **sources)
    reference = dpo.reference if isinstance(dpo, Dpo) else None
    return lint_pairs(given, dpo, reference=reference, tokenizer=make_tokenizer(template), **more)


def made_by_dpo(folder: Path, tiny: Path) -> Path:
    """A student's folder, as it is after a training with DPO."""
    (folder / "merged").symlink_to(tiny)
    record = {"settings": {"method": "dpo", "model": "the base"}}
    (folder / "training.json").write_text(json.dumps(record), encoding="utf-8")
    return folder / "merged"


@pytest.mark.parametrize("name", PAIR_FAULTS)
def test_a_fault_of_pairs_is_found_and_named(name: str, student: Any, make_tokenizer: Any, tmp_path: Path) -> None:
    report = lint_pair_fault(name, student, make_tokenizer, tmp_path)
    assert names(report) == PAIR_FAULTS[name], [found.as_dict() for found in report.findings]


def test_a_first_training_on_the_chosen_answers_is_a_reference_for_answers_of_others(
    student: Any, make_tokenizer: Any
) -> None:
    first = student(method="dpo", dpo={"sft_first": True})
    given = pairs(chosen_on_policy=False, rejected_on_policy=False)
    report = lint_pairs(given, first, reference=first.reference, tokenizer=make_tokenizer())
    assert report.findings == ()
    assert "after 1 epochs on the chosen answers" in report.notes[0]


def test_faults_of_a_side_are_told_once_a_pair_and_name_the_side(student: Any, make_tokenizer: Any) -> None:
    given = [*pairs(), pair(7, "no<|endoftext|>, 7")]
    found = lint_pairs(given, student(method="dpo"), tokenizer=make_tokenizer()).find("special_in_text")
    assert found is not None
    assert (found.count, found.of, found.examples) == (1, 7, ("row 7 (task t7), rejected",))


# -- the faults of a teacher ----------------------------------------------------------------------------------------


def lint_teacher_fault(name: str, make_tokenizer: Any) -> LintReport:
    own, more = make_tokenizer(), make_tokenizer()
    teacher, student = Vocabulary("teacher", own, 260), Vocabulary("student", make_tokenizer(), 260)
    match name:
        case "another tokenizer":
            teacher = Vocabulary("teacher", shuffled(own), 260)
        case "a larger student":
            more.add_tokens(["§a", "°§°"])
            student = Vocabulary("student", more, 261)
        case "a padded vocabulary":
            teacher = Vocabulary("teacher", own, 384)
        case "other merges":
            teacher = Vocabulary("teacher", splitting_otherwise(own), 260)
    return lint_tokenizers(teacher, student)


def shuffled(tokenizer: Any) -> Any:
    """A tokenizer with two ids exchanged."""
    import tokenizers
    import transformers

    raw = json.loads(tokenizer.backend_tokenizer.to_str())
    vocabulary = raw["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    made = tokenizers.Tokenizer.from_str(json.dumps(raw))
    return transformers.PreTrainedTokenizerFast(tokenizer_object=made, eos_token="<|im_end|>")


def splitting_otherwise(tokenizer: Any) -> Any:
    """A tokenizer with the same vocabulary that puts a space in front of every text."""
    import tokenizers
    import transformers

    raw = tokenizers.Tokenizer.from_str(tokenizer.backend_tokenizer.to_str())
    raw.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=True)
    return transformers.PreTrainedTokenizerFast(tokenizer_object=raw, eos_token="<|im_end|>")


@pytest.mark.parametrize("name", TEACHER_FAULTS)
def test_a_fault_of_a_teacher_is_found_and_named(name: str, make_tokenizer: Any) -> None:
    report = lint_teacher_fault(name, make_tokenizer)
    assert names(report) == TEACHER_FAULTS[name], [found.as_dict() for found in report.findings]


def test_a_teacher_of_the_same_family_is_no_fault(make_tokenizer: Any, tiny: Path) -> None:
    assert lint_tokenizers(str(tiny), str(tiny)).findings == ()
    assert lint_tokenizers(Vocabulary("a", make_tokenizer(), None), str(tiny)).findings == ()


@pytest.mark.parametrize("name", READER_FAULTS)
def test_what_a_teacher_would_read_is_compared_with_what_the_student_is_trained_on(
    name: str, student: Any, make_tokenizer: Any
) -> None:
    template, limits, expected = READER_FAULTS[name]
    side = TeacherSide(Vocabulary("teacher", make_tokenizer(template or None), 260), **limits)
    report = lint_sft(rows(), student(), tokenizer=make_tokenizer(), teacher=side)
    assert names(report) == expected, [found.as_dict() for found in report.findings]
    assert {"other_tokenizer", "teacher_ends_otherwise"} <= set(report.checked)


@pytest.mark.parametrize(
    ("moves", "expected"),
    [
        (lambda first, end: range(first, end), set()),
        (lambda first, end: range(first + 1, end), {"no_gradient"}),
        (lambda first, end: range(first, end - 1), {"no_gradient"}),
        (lambda first, end: range(first, end + 1), {"gradient_outside"}),
        (lambda first, end: range(first - 1, end), {"gradient_outside"}),
        (lambda first, end: range(first + 1, end + 1), {"no_gradient", "gradient_outside"}),
    ],
    ids=["as it should be", "not the first", "not the end", "behind the end", "the prompt", "not shifted"],
)
def test_places_that_a_loss_does_not_move_are_found(
    moves: Any, expected: set[str], student: Any, make_tokenizer: Any
) -> None:
    def moved(row: Any, vocabulary: int) -> Sequence[int]:
        assert vocabulary == 259
        first = next(i for i, label in enumerate(row.labels) if label >= 0)
        return list(moves(first - 1, len(row.labels) - 1))

    report = lint_sft(rows(), student(), tokenizer=make_tokenizer(), moved=moved)
    assert names(report) == expected


def test_the_objectives_of_a_recipe_are_probed(tiny: Path) -> None:
    """Of a plug-in that forgets the first position; ours leave none out."""

    class Forgetful(Soft):
        def summed(self, at: Positions) -> Any:
            return super().summed(at._replace(student=at.student[1:], teacher=at.teacher[1:], labels=at.labels[1:]))

    settings = Distil(model=str(tiny), teacher=str(tiny))
    assert names(settings.lint(rows())) == set()
    assert names(settings.model_copy(update={"objectives": (Forgetful(),)}).lint(rows())) == {"no_gradient"}


@pytest.mark.parametrize(
    "objective", [Hard(), Soft(top_k=3), ReverseKl(), Jsd(), SkewKl(), SkewReverseKl(), BaseKl()]
)
def test_every_objective_moves_the_whole_answer_and_nothing_else(objective: Objective) -> None:
    row = EncodedRow("a row", [5, 6, 7, 8, 9, 2, 4], [-100, -100, 7, 8, 9, 2, -100])
    assert moved([objective], row, 12) == [1, 2, 3, 4]


# -- all of them, and none ------------------------------------------------------------------------------------------


def test_everything_that_can_be_found_was_seeded() -> None:
    seeded = set[str]().union(
        *(fault.found for fault in FAULTS.values()),
        *PAIR_FAULTS.values(),
        *TEACHER_FAULTS.values(),
        *(found for _, _, found in READER_FAULTS.values()),
        {"no_gradient", "gradient_outside"},
        {"one_label", "one_prompt", "both_labels", "weights_apart"},  # in test_labelled.py
    )
    assert seeded == set(meanings())


GOOD: dict[str, tuple[list[Row], str]] = {
    "plain": (rows(), CHATML),
    "a default system prompt": (rows(), DEFAULT + CHATML),
    "padded": ([*rows(), row(12345)], CHATML),
    "thinking": (rows(6, THOUGHT), CHATML),
    "thinking that the prompt has opened": (rows(6, "add {0}\n</think>\n\nIt is {1}."), assistant(CONTENT, OPENED)),
    "thinking switched off by the prompt": (
        rows(),
        assistant(CONTENT, "'<|im_start|>assistant\n<think>\n\n</think>\n\n'"),
    ),
    "thinking in some rows": ([*rows(), row(7, THOUGHT)], CHATML),
    "a prompt about tags": ([*rows(), row(7, prompt="What do <think> and </s> mean?")], CHATML),
    "short answers that are alike": (rows(6, "Yes."), CHATML),
    "other scripts": (rows(6, "答えは {1} です 🙂. Grüße! \u200d\x00"), CHATML),
}


@pytest.mark.parametrize("name", GOOD)
def test_good_rows_raise_no_false_alarm(name: str, student: Any, make_tokenizer: Any) -> None:
    given, template = GOOD[name]
    report = lint_sft(given, student(), tokenizer=make_tokenizer(template), test=held_out(50))
    assert report.findings == (), [found.as_dict() for found in report.findings]
    assert report.trainable == len(given)


PUBLISHED: dict[str, tuple[set[str], set[str]]] = {
    "qwen2_5": (set(), set()),
    "qwen3": ({"think_added"}, set()),
    "qwen3_training": ({"think_added"}, set()),
    "qwen3_instruct_2507": (set(), set()),
    "qwen3_5_think": ({"think_added"}, set()),
    "qwen3_5_nothink": (set(), {"other_beginning", "nothing_left"}),
}
"""What is to be found in plain rows, and in rows with thinking, under templates of published models."""


@pytest.mark.parametrize("name", PUBLISHED)
def test_templates_of_published_models(name: str, student: Any, make_tokenizer: Any) -> None:
    import trl

    file = Path(trl.__file__).parent / "chat_templates" / f"{name}.jinja"
    if not file.is_file():
        pytest.skip(f"this trl has no template {name}")
    tokenizer = make_tokenizer(file.read_text(encoding="utf-8"))
    plain, thinking = (lint_sft(given, student(), tokenizer=tokenizer) for given in (rows(), rows(6, THOUGHT)))
    assert (names(plain), names(thinking)) == PUBLISHED[name]


def test_padding_on_the_left_is_no_fault(student: Any, make_tokenizer: Any) -> None:
    given = [*rows(), row(12345)]
    report = lint_sft(given, student(), tokenizer=make_tokenizer(), collator=collator(pads_on_the_left))
    assert report.findings == ()


def test_good_pairs_raise_no_false_alarm(student: Any, make_tokenizer: Any) -> None:
    report = lint_pairs(pairs(), student(method="dpo"), tokenizer=make_tokenizer(), test=held_out(50))
    assert report.findings == ()
    assert report.trainable == 6


def test_the_tokenizer_that_is_given_is_not_changed(student: Any, make_tokenizer: Any) -> None:
    tokenizer = make_tokenizer(pad_token="<|im_end|>")
    lint_sft(rows(), student(), tokenizer=tokenizer)
    assert tokenizer.pad_token == "<|im_end|>"


def sum_row(a: int, b: int) -> Row:
    """As the quickstart's are."""
    asked = f"State the final answer to the following arithmetic problem: {a} + {b} ="
    said = f"We start at {a} and add {b}, which gives {a} + {b} = {a + b}.\n#### {a + b}"
    return {
        "prompt": [
            {"role": "user", "content": f"{asked}\nSay in one sentence how you get it, then write it after ####."}
        ],
        "completion": [{"role": "assistant", "content": said}],
        "task_id": f"{a}+{b}",
    }


@pytest.mark.slow
def test_rows_like_the_quickstarts_raise_no_false_alarm_with_its_student() -> None:
    test = [Task(f"h{i}", user(sum_row(i, 3)["prompt"][0]["content"]), str(i + 3), "tests") for i in range(100, 120)]
    settings = Sft(model="embedded:smollm2-135m-instruct")
    report = lint_sft([sum_row(i, 2 * i + 1) for i in range(1, 60)], settings, test=test)
    assert report.findings == (), [found.as_dict() for found in report.findings]
    leaked = lint_sft([sum_row(i, 3) for i in range(90, 110)], settings, test=test)
    assert names(leaked) == {"test_leak"}


FOREIGN = [
    *(mark.open + "Well." + mark.close for mark in THINKING if mark.open != "<think>"),
    *(mark.open + mark.close for mark in TEMPLATE),
    *("<|channel|>final<|message|>", "</s>", "<end_of_turn>", "<|eot_id|>", "<|return|>"),
]


def test_a_mark_that_the_recipe_names_is_found(student: Any, make_tokenizer: Any) -> None:
    given, mine = [*rows(), row(7, "((Perhaps 2.)) It is {1}.")], NamedMarks(open="((", close="))")
    assert not lint_sft(given, student(), tokenizer=make_tokenizer()).find("foreign_mark")
    found = lint_sft(given, student(), tokenizer=make_tokenizer(), thinking=mine).find("foreign_mark")
    assert found is not None
    assert found.count == 1


@pytest.mark.parametrize("mark", FOREIGN)
def test_every_foreign_mark_in_an_answer_is_found(mark: str, student: Any, make_tokenizer: Any) -> None:
    given = [*rows(), row(7, f"It is {mark} {{1}}.")]
    found = lint_sft(given, student(), tokenizer=make_tokenizer()).find("foreign_mark")
    assert found is not None
    assert (found.count, found.of, found.severity) == (1, 7, "error")
