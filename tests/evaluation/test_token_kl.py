"""The KL to base and teacher: its direction, its tokens, and every position against a float64 reference."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from stillroom.common.models.resolve import load_model, load_tokenizer
from stillroom.common.records import Attempt, Message, Task, user
from stillroom.errors import InputError, TrainingError
from stillroom.evaluation import token_kl
from stillroom.evaluation.token_kl import (
    TO_BASE,
    GivenAnswer,
    TokenKl,
    TokenKls,
    first_answers,
    kl_result,
    kl_to_teacher_results,
    token_kls,
)
from tests.conftest import tiny as models

pytest.importorskip("torch")
pytest.importorskip("transformers")

END = "<|im_end|>"
ANSWERS = [
    GivenAnswer("a", user("What is 2 + 2?"), "It is 4.", None, stopped=True),
    GivenAnswer("b", user("And 3 + 3?"), "It is 6, or", None, stopped=False),
]


@pytest.fixture(scope="module")
def student(tiny: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny base with other weights."""
    import torch

    model = load_model(str(tiny), "float32", "cpu")
    torch.manual_seed(1)
    with torch.no_grad():
        for weight in model.parameters():
            weight += 0.05 * torch.randn_like(weight)
    folder = tmp_path_factory.mktemp("moved") / "student"
    model.save_pretrained(folder)
    load_tokenizer(str(tiny)).save_pretrained(folder)
    return folder


def expected(base: Path, student: Path, answer: GivenAnswer, system: str | None = None) -> TokenKl:
    """By the models' own forward pass, in float64, position by position."""
    import torch

    before = f"<|im_start|>system\n{system}<|im_end|>\n" if system else ""
    prompt = f"{before}<|im_start|>user\n{answer.messages[-1].content}<|im_end|>\n<|im_start|>assistant\n"
    tokenizer = load_tokenizer(str(base))
    first = len(tokenizer(prompt).input_ids)
    ids = tokenizer(prompt + answer.text + (END if answer.stopped else "")).input_ids
    logs = []
    for model in (base, student):
        with torch.no_grad():
            logits = load_model(str(model), "float32", "cpu")(torch.tensor([ids])).logits[0].double()
        logs.append(torch.log_softmax(logits[:, : len(tokenizer)], -1))
    p, q = logs
    each = (p.exp() * (p - q)).sum(-1)
    return TokenKl(float(each[first - 1 : len(ids) - 1].sum()), len(ids) - first)


def found(base: Path, student: Path, answers: Sequence[GivenAnswer] = ANSWERS, **how: Any) -> TokenKls:
    return token_kls(str(base), str(student), answers, dtype="float32", **how)


@pytest.mark.parametrize("system", [None, "Be brief."])
def test_every_token_of_the_answers_counts_and_no_other(tiny: Path, student: Path, system: str | None) -> None:
    measured = found(tiny, student, system=system).kls
    for answer in ANSWERS:
        wanted = expected(tiny, student, answer, system)
        assert measured[answer.task].tokens == wanted.tokens == len(answer.text) + answer.stopped
        assert measured[answer.task].nats == pytest.approx(wanted.nats, rel=1e-4)
        assert wanted.nats > 0.01


def test_the_direction_is_from_the_base(tiny: Path, student: Path) -> None:
    here, there = found(tiny, student).kls["a"].nats, found(student, tiny).kls["a"].nats
    assert abs(here - there) > 1e-4 * here
    assert here == pytest.approx(expected(tiny, student, ANSWERS[0]).nats, rel=1e-4)


def test_a_model_has_not_moved_from_itself(tiny: Path) -> None:
    assert {kl.nats for kl in found(tiny, tiny).kls.values()} == {0.0}


def test_part_by_part_it_is_the_same(tiny: Path, student: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = found(tiny, student)
    monkeypatch.setattr(token_kl, "MOST_LOGITS", 1)
    parts = found(tiny, student)
    for task, kl in whole.kls.items():
        assert parts.kls[task].nats == pytest.approx(kl.nats, rel=1e-5)


def test_rows_of_padding_in_the_head_do_not_count(tiny: Path, student: Path, tmp_path: Path) -> None:
    padded = tmp_path / "padded"
    model = load_model(str(student), "float32", "cpu")
    model.resize_token_embeddings(320, mean_resizing=False)
    model.save_pretrained(padded)
    load_tokenizer(str(tiny)).save_pretrained(padded)
    assert found(tiny, padded).kls["a"].nats == pytest.approx(found(tiny, student).kls["a"].nats, rel=1e-4)


def test_thinking_is_read_as_students_are_trained_on_it(tiny: Path, student: Path) -> None:
    thought = ANSWERS[0]._replace(reasoning="2 and 2")
    written = ANSWERS[0]._replace(text="<think>\n2 and 2\n</think>\n\nIt is 4.")
    kls = [found(tiny, student, [answer]).kls["a"] for answer in (thought, written)]
    assert kls[0] == kls[1]


def test_what_cannot_be_read_is_counted(tiny: Path) -> None:
    empty = GivenAnswer("c", user("?"), "", None, stopped=False)
    long = GivenAnswer("d", user("?"), "x" * 300, None, stopped=True)
    measured = found(tiny, tiny, [*ANSWERS, empty, long])
    assert set(measured.kls) == {"a", "b"}
    assert measured.left_out == {"empty": 1, "too_long": 1}


def saved(model: Path, folder: Path, tokenizer: Any) -> Path:
    shutil.copytree(model, folder)
    tokenizer.save_pretrained(folder)
    return folder


def test_other_tokens_or_prompts_are_refused(tiny: Path, tmp_path: Path) -> None:
    tokenizer = models.make_tokenizer()
    tokenizer.add_tokens(["wholly"])
    other = saved(tiny, tmp_path / "tokens", tokenizer)
    with pytest.raises(InputError, match="have other tokenizers"):
        found(tiny, other)
    other = saved(tiny, tmp_path / "template", models.make_tokenizer(f"{{{{ '' }}}}{models.CHATML}"))
    with pytest.raises(InputError, match="have other chat templates"):
        found(tiny, other)


def test_a_model_that_is_not_there_is_refused(tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").touch()
    with pytest.raises(InputError, match=r"tokenizer of .* cannot be loaded"):
        found(tiny, tmp_path)


def test_a_student_that_diverged_is_told(tiny: Path, tmp_path: Path) -> None:
    model = load_model(str(tiny), "float32", "cpu")
    model.model.norm.weight.data[:] = float("nan")
    model.save_pretrained(tmp_path)
    load_tokenizer(str(tiny)).save_pretrained(tmp_path)
    with pytest.raises((TrainingError, InputError)):
        found(tiny, tmp_path)


# -- the row, and what is read -------------------------------------------------------------------------------------


def test_the_mean_is_over_tokens() -> None:
    kls = {"a": TokenKl(10.0, 10), "b": TokenKl(0.0, 30)}
    row = kl_result("student_after", TO_BASE, TokenKls(kls, {"empty": 0, "too_long": 2}), seed=0)
    assert row is not None
    assert (row.who, row.metric, row.value, row.n) == ("student_after", "kl_to_base", 0.25, 2)
    assert (row.low, row.high) == (0.0, 1.0)
    assert row.model_extra == {"against": "student_before", "tokens": 40, "left_out": {"too_long": 2}}


def test_nothing_read_is_no_row() -> None:
    assert kl_result("x", TO_BASE, TokenKls({}, {"empty": 3, "too_long": 0}), seed=0) is None


def kls(*nats: float) -> TokenKls:
    """Of tasks with 10, 20, 30 … tokens."""
    return TokenKls({f"t{n}": TokenKl(each, 10 * (n + 1)) for n, each in enumerate(nats)}, {})


def test_students_of_several_trainings_are_held_against_each_other() -> None:
    trained = {
        "student_after": [kls(1, 2, 3), kls(2, 4, 6)],
        "student_hard": [kls(2, 4, 6), kls(4, 8, 12)],
        "student_before": [kls(30, 60, 90)],
    }
    found = {
        (row.who, row.metric, (row.model_extra or {})["against"]): row
        for row in kl_to_teacher_results(trained, seed=0)
    }
    own, hard, before = (found[who, "kl_to_teacher", "teacher"] for who in trained)
    assert (own.value, hard.value, before.value) == pytest.approx((0.15, 0.3, 3.0))
    assert (own.model_extra or {})["each"] == pytest.approx((0.1, 0.2))
    assert (own.model_extra or {})["tokens"] == 60
    assert "each" not in (before.model_extra or {})
    ratio = found["student_after", "kl_to_teacher_ratio", "student_hard"]
    assert ratio.value == pytest.approx(0.5)
    assert ratio.low < 0.5 < ratio.high  # two trainings that differ by a factor of 2
    assert found["student_after", "kl_to_teacher_ratio", "student_before"].high < 0.1


def test_a_student_whose_trainings_agree_has_a_narrow_ratio() -> None:
    trained = {"student_after": [kls(1, 2, 3)] * 3, "student_hard": [kls(2, 4, 6)] * 3}
    ratio = kl_to_teacher_results(trained, seed=0)[-1]
    assert (ratio.low, ratio.value, ratio.high) == pytest.approx((0.5, 0.5, 0.5))


def test_of_a_student_that_nothing_was_read_of_there_is_no_row() -> None:
    found = kl_to_teacher_results({"student_after": [kls()], "student_hard": [kls(1.0)]}, seed=0)
    assert [(row.who, row.metric) for row in found] == [("student_hard", "kl_to_teacher")]


def test_nothing_over_nothing_is_no_ratio() -> None:
    found = kl_to_teacher_results({"student_after": [kls(1.0)], "student_hard": [kls(0.0)]}, seed=0)
    assert [row.metric for row in found] == ["kl_to_teacher"] * 2


def test_the_first_answers_are_read() -> None:
    tasks = [Task(f"t{n}", (Message("user", "?"),), None, "x") for n in range(80)]
    answers = {
        task.id: Attempt(task.id, 0, task.id, None, "length" if task.id == "t2" else "stop", 1, 1, None, 0.0, "m")
        for task in tasks[1:]
    }
    read = first_answers(tasks, answers)
    assert [answer.task for answer in read] == [f"t{n}" for n in range(1, 51)]
    assert [answer.task for answer in read if not answer.stopped] == ["t2"]
