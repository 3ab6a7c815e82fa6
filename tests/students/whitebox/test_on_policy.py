"""On-policy distillation: which rows are replaced, whose answers they are, what they are divided by, what they leave
untouched, and that a killed training ends with the same student."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from stillroom.common.models.resolve import load_model, load_tokenizer
from stillroom.common.records import Attempt, Messages, State, Task, Verdict, user
from stillroom.errors import RecipeError, TrainingError
from stillroom.sampling.ledger import Ledger
from stillroom.students.data.encode import IGNORED, special_ids
from stillroom.students.methods.distil import Distil
from stillroom.students.records import Gate, TrainingPlace
from stillroom.students.whitebox import rollouts
from stillroom.students.whitebox.answers import answer_row
from stillroom.students.whitebox.feed import Feed
from stillroom.students.whitebox.loss import WhiteBoxLoss
from stillroom.students.whitebox.on_policy import OnPolicy, is_replaced
from stillroom.students.whitebox.order import Order
from stillroom.students.whitebox.rollouts import Due, Rollouts, blocks
from tests.conftest import tiny as tiny_models


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another random model with the tiny student's tokenizer, which is surer of what it says."""
    folder = tmp_path_factory.mktemp("models") / "teacher"
    model = tiny_models.make_model(hidden_size=48, intermediate_size=96, num_hidden_layers=3)
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(3)
    model.save_pretrained(folder)
    tiny_models.make_tokenizer().save_pretrained(folder)
    return folder


def settings(model: Path, teacher: Path | str | None, **more: Any) -> Distil:
    on_policy = {"share": 0.5, "sampling": {"max_tokens": 8}} | more.pop("on_policy", {})
    common = {
        "objectives": [{"kind": "soft"}],
        "epochs": 2,
        "batch_size": 4,
        "dtype": "float32",
        "learning_rate": 1e-2,
    }
    named = {"method": "distil", "model": str(model), "teacher": None if teacher is None else str(teacher)}
    return Distil.model_validate(named | common | {"on_policy": on_policy} | more)


def record(folder: Path) -> Any:
    return json.loads((folder / "training.json").read_text(encoding="utf-8"))


def weights(trained: Any) -> dict[str, Any]:
    return dict(load_model(str(trained.model), "float32", "cpu").state_dict())


def same_weights(one: Any, other: Any) -> bool:
    left, right = weights(one), weights(other)
    return all(torch.equal(left[name], right[name]) for name in left)


# -- which rows ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("share", [0.1, 0.25, 1 / 3, 0.5, 0.7, 1.0])
def test_a_share_of_the_rows_is_replaced_however_many_were_drawn(share: float) -> None:
    for drawn in (1, 7, 30, 240):
        found = sum(is_replaced(n, share) for n in range(drawn))
        assert found == int(drawn * share + 1e-9)


@pytest.mark.parametrize(("epochs", "steps"), [(2, 6), (0.5, 2), (1.2, 4)])
def test_the_order_is_known_before_the_training(epochs: float, steps: int) -> None:
    order = Order(rows=10, per_step=4, epochs=epochs, seed=3)
    assert order.steps == steps
    assert [len(order.step(n)) for n in range(6)] == [4, 4, 2, 4, 4, 2]
    assert [order.first(n) for n in range(6)] == [0, 4, 8, 10, 14, 18]
    assert sorted(row for n in range(3) for row in order.step(n)) == list(range(10))
    assert order.epoch(0) != order.epoch(1)
    assert order.epoch(0) == Order(10, 2, 1, 3).epoch(0) != Order(10, 4, 2, 4).epoch(0)


@pytest.mark.parametrize("size", [1, 2, 6])
def test_what_replaces_a_row_does_not_depend_on_the_batches(size: int) -> None:
    given: list[list[int]] = []

    class Own:
        def __call__(self, drawn: Sequence[int]) -> dict[int, int | None]:
            given.append(list(drawn))
            return {1: 0, 3: None, 4: 1}

        def state(self) -> dict[str, Any]:
            return {}

        def restore(self, state: dict[str, Any]) -> None:
            raise AssertionError(state)

    drawn = [9, 8, 7, 6, 5, 4]
    parts = Feed(own=Own()).step([drawn[i : i + size] for i in range(0, 6, size)])
    assert given == [drawn]
    assert [row for part in parts for row in part["task"]] == [9, 7, 4]
    assert [row for part in parts for row in part["rollout"]] == [0, 1]
    if size == 2:
        assert [part["rollout"] for part in parts] == [[0], [], [1]]


def test_a_block_holds_a_prompt_once_and_no_more_than_its_size() -> None:
    due = [Due(0, place, place) for place in range(7)]
    prompts: list[Messages] = [user(text) for text in "aabacda"]
    found = blocks(due, prompts, most=3)
    assert [[each.place for each in block] for block in found] == [[0, 2, 4], [1, 5], [3], [6]]


@pytest.mark.parametrize(("size", "parts"), [(8, 1), (2, 4), (1, 8)])
def test_accumulation_changes_neither_what_is_asked_nor_the_loss(
    size: int, parts: int, rows: list[dict[str, Any]], tiny: Path, teacher: Path, tmp_path: Path
) -> None:
    """Answers of 1 to 8 tokens: a mean of means would weigh them otherwise."""
    found = []
    for batch, accumulated in ((4, 2), (size, parts)):
        wanted = settings(tiny, teacher, batch_size=batch, gradient_accumulation=accumulated, lora=None, epochs=3)
        trained = wanted.train(rows, tmp_path / f"{batch}-{accumulated}", seed=1)
        found.append((trained.losses, record(trained.folder)))
    assert found[0][0] == pytest.approx(found[1][0], rel=1e-4)
    assert found[0][1]["on_policy"]["answers"] == found[1][1]["on_policy"]["answers"] == 12


def test_on_policy_denominator_counts_generated_tokens(
    rows: list[dict[str, Any]], tiny: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the tokens of the rows that the answers replace."""
    seen: list[tuple[int, int]] = []
    plain = WhiteBoxLoss.counts

    def counts(self: WhiteBoxLoss, batches: Sequence[Any]) -> Any:
        found = plain(self, batches)
        labels = [int((b["rollout"]["labels"] != IGNORED).sum()) for b in batches if "rollout" in b]
        seen.append((int(found[2]), sum(labels)))
        return found

    monkeypatch.setattr(WhiteBoxLoss, "counts", counts)
    trained = settings(tiny, teacher, epochs=1).train(rows, tmp_path / "student", seed=1)
    assert [one for one, _ in seen] == [other for _, other in seen]
    assert sum(one for one, _ in seen) == record(trained.folder)["on_policy"]["tokens"] > 0


# -- whose answers ------------------------------------------------------------------------------------------------


def asked_in(ledger: Ledger) -> list[dict[str, Any]]:
    return sorted(ledger.rows(), key=lambda row: str(row["task_id"]))


def test_the_answers_are_those_of_the_student_as_it_is(
    rows: list[dict[str, Any]], tiny: Path, teacher: Path, tmp_path: Path
) -> None:
    """At the first step the model before training; later another, which the ledger knows under another name."""
    with Ledger.open(tmp_path / "run") as ledger:
        settings(tiny, teacher, epochs=4).train(
            rows, tmp_path / "student", seed=1, place=TrainingPlace(ledger=ledger)
        )
        found = asked_in(ledger)
    assert len(found) == 16
    names = {row["teacher"] for row in found}
    assert len(names) == 8  # steps
    assert all(":step " in name for name in names)
    assert len({row["text"] for row in found}) > 8


def test_a_refresh_samples_for_several_steps_at_once(
    rows: list[dict[str, Any]], tiny: Path, teacher: Path, tmp_path: Path
) -> None:
    out = tmp_path / "student"
    with Ledger.open(tmp_path / "run") as ledger:
        wanted = settings(tiny, teacher, epochs=3, on_policy={"refresh": 4})
        wanted.train(rows, out, seed=1, place=TrainingPlace(ledger=ledger))
        names = {row["teacher"].partition(":step ")[2] for row in asked_in(ledger)}
        assert ledger.count() == 12  # of the last two steps, no more than those
    assert {name.partition(":")[0] for name in names} == {"0", "4"}
    assert record(out)["on_policy"]["samplings"] == 2


def test_a_training_on_the_ledger_of_another_is_the_same_and_asks_nothing(
    rows: list[dict[str, Any]], tiny: Path, teacher: Path, tmp_path: Path
) -> None:
    with Ledger.open(tmp_path / "run") as ledger:
        place, wanted = TrainingPlace(ledger=ledger), settings(tiny, teacher)
        one = wanted.train(rows, tmp_path / "one", seed=1, place=place)
        held = ledger.count()
        two = wanted.train(rows, tmp_path / "two", seed=1, place=place)
        assert ledger.count() == held == 8
        three = wanted.model_copy(update={"learning_rate": 2e-2}).train(rows, tmp_path / "3", seed=1, place=place)
        assert ledger.count() == 2 * held  # another training, and other answers
    assert one.losses == two.losses != three.losses
    assert same_weights(one, two)


def test_sampling_leaves_the_training_untouched(
    rows: list[dict[str, Any]], tiny: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With dropout, whose masks are drawn as if nobody had sampled in between."""
    wanted = settings(tiny, teacher, lora={"dropout": 0.3}, on_policy={"share": 1.0})
    states: list[Any] = []

    def unused(sample: bool) -> Any:
        def step(self: Rollouts, drawn: Sequence[int]) -> dict[int, int | None]:
            model = self._live.model
            before = [model.training, model.config._attn_implementation, torch.is_grad_enabled()]
            if sample:
                self._step, self._sampled = self._step + 1, self._step
                self._sample()
            after = [model.training, model.config._attn_implementation, torch.is_grad_enabled()]
            states.append((before, after))
            return {}

        return step

    found = []
    for sample in (False, True):
        monkeypatch.setattr(Rollouts, "__call__", unused(sample))
        found.append(wanted.train(rows, tmp_path / str(sample), seed=1))
    assert record(found[1].folder)["on_policy"]["samplings"] == 4
    assert all(before == after for before, after in states)
    assert states[-1][0] == [True, "sdpa", True]
    assert found[0].losses == found[1].losses
    assert same_weights(*found)


def test_what_is_sampled_together_does_not_depend_on_when_requests_come(
    rows: list[dict[str, Any]], tiny: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The engine begins with the whole block, however late its last request."""
    from stillroom.sampling.teachers.transformers.engine import Engine

    sizes: list[int] = []
    plain = Engine.step

    def step(self: Engine) -> None:
        sizes.append(len(self.jobs()))
        plain(self)

    monkeypatch.setattr(Engine, "step", step)
    settings(tiny, teacher, epochs=1, batch_size=8, on_policy={"share": 1.0}).train(rows, tmp_path / "s", seed=1)
    assert sizes[0] == 8
    assert sizes == sorted(sizes, reverse=True)


def test_a_cut_off_answer_has_no_end_token_and_what_is_left_out_is_counted(
    rows: list[dict[str, Any]], tiny: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from stillroom.common.records import ScoredAttempt

    said = iter(
        [("12", "stop"), ("12\ufffd", "length"), ("  ", "stop"), ("1<|im_end|>2", "stop"), ("9" * 400, "stop")] * 9
    )

    async def answers(teacher: Any, tasks: Sequence[Task], *_: Any, **__: Any) -> dict[str, ScoredAttempt]:
        verdict = Verdict(State.ACCEPTED, "answered")
        return {
            task.id: ScoredAttempt(Attempt(task.id, 0, text, None, end, 1, 3, None, 0.0, "s"), verdict)  # type: ignore[arg-type]
            for task, (text, end) in zip(tasks[1:], said, strict=False)
        }

    monkeypatch.setattr(rollouts, "ask", answers)
    kept: list[list[int]] = []
    plain = Rollouts._learned

    def learned(self: Rollouts, due: Due, scored: Any) -> int | None:
        found = plain(self, due, scored)
        if found is not None:
            kept.append([label for label in self.own[found].labels if label != IGNORED])
            assert self.teachers[found].labels[-len(kept[-1]) :] == kept[-1]
        return found

    monkeypatch.setattr(Rollouts, "_learned", learned)
    wanted = settings(tiny, teacher, epochs=1, batch_size=8, on_policy={"share": 1.0})
    trained = wanted.train(rows, tmp_path / "student", seed=1)
    tokenizer = load_tokenizer(str(tiny))
    texts = [tokenizer.decode(ids) for ids in kept]
    assert texts == ["12<|im_end|>", "12", "12<|im_end|>", "12"]
    found = record(trained.folder)["on_policy"]
    assert {name: found[name] for name in ("failed", "empty", "end_token_inside", "too_long", "cut")} == {
        "failed": 1,
        "empty": 1,
        "end_token_inside": 1,
        "too_long": 1,
        "cut": 2,
    }
    assert found["answers"] == 8


def test_thinking_is_part_of_what_the_student_said(tiny: Path) -> None:
    from stillroom.common.records import ScoredAttempt

    tokenizer = load_tokenizer(str(tiny))
    attempt = Attempt("t", 0, "4", "2 and 2", "stop", 1, 9, None, 0.0, "s")
    scored = ScoredAttempt(attempt, Verdict(State.ACCEPTED, "answered"))
    row = answer_row(Task("t", user("2 + 2?"), None, ""), scored, tokenizer, special_ids(tokenizer))
    assert row is not None
    said = tokenizer.decode([label for label in row.labels if label != IGNORED])
    assert said == "<think>\n2 and 2\n</think>\n\n4<|im_end|>"


def test_a_step_of_which_everything_is_left_out_trains_nothing(
    rows: list[dict[str, Any]], tiny: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Rollouts, "_learned", lambda self, due, scored: None)
    trained = settings(tiny, teacher, epochs=1, on_policy={"share": 1.0}).train(rows, tmp_path / "student", seed=1)
    assert trained.losses == (0.0, 0.0)


def test_another_order_than_was_planned_is_refused(
    rows: list[dict[str, Any]], tiny: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("stillroom.students.methods.distil.InOrder", lambda order: list(range(order.rows)))
    with pytest.raises(TrainingError, match="step 1 drew other rows than were planned"):
        settings(tiny, teacher).train(rows, tmp_path / "student", seed=1)


# -- learning -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("objective", ["reverse_kl", "jsd", "soft", "skew_reverse_kl", "sampled_reverse_kl"])
def test_the_student_comes_nearer_to_its_teacher_on_its_own_answers(
    objective: str, rows: list[dict[str, Any]], tiny: Path, teacher: Path, tmp_path: Path
) -> None:
    own = {"share": 1.0, "objective": objective}
    out = tmp_path / "student"
    settings(tiny, teacher, epochs=20, lora=None, on_policy=own).train(rows, out, seed=1)
    means = [mean for _, mean in record(out)["objectives"]]
    assert sum(means[-5:]) < 0.8 * sum(means[:5])


def test_temperature_of_sampling_is_not_that_of_the_loss(
    rows: list[dict[str, Any]], tiny: Path, teacher: Path, tmp_path: Path
) -> None:
    """The same answers with another temperature of the loss; other answers with another one of sampling."""
    found = {}
    for name, sampling, loss in (("both 1", 1, 1), ("loss 2", 1, 2), ("sampling 0", 0, 1)):
        own = {"sampling": {"temperature": sampling, "max_tokens": 8}, "share": 1.0}
        own["objective"] = {"kind": "reverse_kl", "temperature": loss}
        with Ledger.open(tmp_path / name / "run") as ledger:
            wanted = settings(tiny, teacher, epochs=1, batch_size=8, on_policy=own)
            wanted.train(rows, tmp_path / name / "s", seed=1, place=TrainingPlace(ledger=ledger))
            texts = [row["text"] for row in asked_in(ledger)]
        found[name] = texts, record(tmp_path / name / "s")["losses"]
    assert found["both 1"][0] == found["loss 2"][0] != found["sampling 0"][0]
    assert found["both 1"][1] != found["loss 2"][1]


# -- gating -------------------------------------------------------------------------------------------------------


class Even:
    """Accepts answers of an even number of characters."""

    identity = "even-1"

    def __init__(self) -> None:
        self.closed = False

    async def score(self, task: Task, attempt: Attempt) -> Verdict:
        assert task.reference == "4"
        return Verdict(State.REJECTED if len(attempt.text) % 2 else State.ACCEPTED, "length")

    async def close(self) -> None:
        self.closed = True


def gate(scorer: Even, *, reference: str | None = "4", known: bool = True) -> Gate:
    def task(task_id: str | None, prompt: Messages) -> Task | None:
        return Task(task_id or "", prompt, reference, "here") if known else None

    return Gate(scorer.identity, lambda: scorer, True, task)


@pytest.mark.parametrize("keep", ["accepted", "rejected"])
def test_a_scorer_decides_which_answers_are_learned_from(
    keep: str, rows: list[dict[str, Any]], tiny: Path, teacher: Path, tmp_path: Path
) -> None:
    """Half an answer is never rejected, so those that were cut off are left out there."""
    scorer, out = Even(), tmp_path / "student"
    with Ledger.open(tmp_path / "run") as ledger:
        own = {"share": 1.0, "keep": keep, "sampling": {"max_tokens": 40}}
        place = TrainingPlace(ledger=ledger, gate=gate(scorer))
        settings(tiny, teacher, on_policy=own).train(rows, out, seed=1, place=place)
        said = [row["state"] for row in ledger.rows()]
    found = record(out)["on_policy"]
    assert scorer.closed
    assert found["answers"] == len(said) == 16
    left_out = [name for name in ("empty", "end_token_inside", "too_long") if found[name]]
    assert found["learned_from"] == said.count(keep) or left_out
    assert sum(found[f"not_kept_{state}"] for state in State) == 16 - said.count(keep) - sum(map(found.get, left_out))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (None, "on_policy.keep is accepted, and there is no scorer that could judge"),
        (gate(Even(), known=False), r"row 1 \(task t0\) belongs to no task of this run"),
        (gate(Even(), reference=None), r"row 1 \(task t0\) has no reference"),
    ],
)
def test_what_cannot_be_judged_is_refused(
    given: Gate | None, told: str, rows: list[dict[str, Any]], tiny: Path, teacher: Path, tmp_path: Path
) -> None:
    wanted = settings(tiny, teacher, on_policy={"keep": "accepted"})
    with pytest.raises(RecipeError, match=f"^{told}"):
        wanted.train(rows, tmp_path / "student", seed=1, place=TrainingPlace(gate=given))
    assert not (tmp_path / "student").exists()


# -- refusals -----------------------------------------------------------------------------------------------------


def test_rows_that_leave_no_room_for_an_answer_are_refused(
    rows: list[dict[str, Any]], tiny: Path, teacher: Path, tmp_path: Path
) -> None:
    wanted = settings(tiny, teacher, on_policy={"sampling": {"max_tokens": 250}})
    with pytest.raises(RecipeError, match=r"row \d \(task t\d\): its prompt has \d+ tokens as the student reads it"):
        wanted.train(rows, tmp_path / "student", seed=1)


@pytest.mark.parametrize(
    ("own", "told"),
    [
        ({"objective": "hard"}, "cross-entropy with its own samples"),
        ({"objective": {"kind": "hard", "weight": 0.1}}, "cross-entropy with its own samples"),
        ({"objective": "sampled_reverse_kl", "sampling": {"temperature": 0.7}}, "has temperature 0.7 and top_p 1"),
        ({"objective": "sampled_reverse_kl", "sampling": {"top_p": 0.9}}, "has temperature 1 and top_p 0.9"),
        ({"objective": "revers_kl"}, "did you mean"),
        ({"share": 0}, "greater than 0"),
        ({"share": 1.5}, "less than or equal to 1"),
        ({"refresh": 0}, "greater than or equal to 1"),
        ({"keep": "good"}, "'all', 'accepted' or 'rejected'"),
        ({"temperature": 2}, "Extra inputs"),
    ],
)
def test_settings_that_do_not_fit_are_refused(own: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        OnPolicy.model_validate(own)


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"objectives": [{"kind": "sampled_reverse_kl"}], "teacher": "x"}, "needs the student's own samples"),
        ({"objectives": [{"kind": "hard"}], "on_policy": {}}, "reverse_kl needs a teacher"),
    ],
)
def test_a_method_that_does_not_fit_is_refused(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        Distil.model_validate({"method": "distil", "model": "m"} | settings)
