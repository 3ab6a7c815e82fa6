"""Training with `method: distil`: the loss over a step however it is cut, what teacher and base are asked, refusals."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from stillroom.common.models.resolve import load_model, load_tokenizer
from stillroom.errors import RecipeError
from stillroom.students.data.encode import IGNORED, EncodedRow, encode_rows
from stillroom.students.data.rows import read_rows
from stillroom.students.methods.distil import Distil
from stillroom.students.methods.sft import Sft
from stillroom.students.whitebox.feed import Group
from stillroom.students.whitebox.head import Head
from stillroom.students.whitebox.loss import Reader, WhiteBoxLoss, padded
from stillroom.students.whitebox.objectives import BaseKl, Hard, Jsd, Objective, ReverseKl, SkewKl, Soft
from tests.conftest import tiny as tiny_models

VOCABULARY = 259
SOFT = {"kind": "soft", "temperature": 2.0}


def encoded(rows: Sequence[dict[str, Any]], tokenizer: Any) -> list[EncodedRow]:
    return encode_rows(read_rows(rows), tokenizer, 256).rows


def batch(rows: Sequence[EncodedRow], at: Sequence[int]) -> dict[Group, Any]:
    return {"task": padded([rows[i] for i in at], list(at))}


def reader(model: Any, *, flat: bool, rows: Sequence[EncodedRow] | None = None) -> Reader:
    return Reader(model, Head(model, VOCABULARY, "the model"), flat, None if rows is None else {"task": rows})


def one_group(objectives: Sequence[Objective], rows: Sequence[EncodedRow], *readers: Reader | None) -> WhiteBoxLoss:
    return WhiteBoxLoss({"task": objectives}, {"task": rows}, *readers)  # type: ignore[arg-type]  # the first is there


SUM = torch.ones(3)
"""Divides by nothing."""


def wide(folder: Path) -> Any:
    return load_model(str(folder), "float32", "cpu").double()


OBJECTIVES: list[list[Objective]] = [
    [Hard()],
    [Soft(temperature=2, weight=0.7), Hard(weight=0.3)],
    [Soft(top_k=4, weight=2)],
    [ReverseKl(temperature=0.5)],
    [Jsd(beta=0.3, temperature=2)],
    [SkewKl(alpha=0.2), BaseKl(weight=0.5)],
]


def by_hand(objectives: Sequence[Objective], logits: Any, teacher: Any, base: Any, label: int) -> Any:
    """The weighted loss at one position, from the formulas."""
    total = torch.zeros((), dtype=torch.float64)
    for objective in objectives:
        against, t = base if objective.kind == "base_kl" else teacher, getattr(objective, "temperature", 1.0)
        p, q = (torch.softmax(side / t, -1) for side in (against, logits))
        if isinstance(objective, Hard):
            found = -torch.log_softmax(logits, -1)[label]
        elif isinstance(objective, Soft) and objective.top_k:
            kept = p.topk(objective.top_k).indices
            rest = torch.ones_like(p).scatter(0, kept, 0.0).bool()
            p, q = (torch.cat([side[kept], side[rest].sum()[None]]) for side in (p, q))
            found = (p * (p / q).log()).sum()
        elif isinstance(objective, ReverseKl):
            found = (q * (q / p).log()).sum()
        elif isinstance(objective, Jsd):
            m = objective.beta * p + (1 - objective.beta) * q
            found = objective.beta * (p * (p / m).log()).sum() + (1 - objective.beta) * (q * (q / m).log()).sum()
        elif isinstance(objective, SkewKl):
            found = (p * (p / (objective.alpha * p + (1 - objective.alpha) * q)).log()).sum()
        else:
            found = (p * (p / q).log()).sum()
        total = total + objective.weight * t * t * found
    return total


@pytest.mark.parametrize("objectives", OBJECTIVES, ids=lambda found: "+".join(o.kind for o in found))
@pytest.mark.parametrize("flat", [False, True], ids=["padded", "flat"])
@pytest.mark.parametrize(
    ("size", "parts"), [(1, False), (3, True), (8, False), (8, True)], ids=["1", "3 in parts", "8", "8 in parts"]
)
def test_loss_and_gradient_of_a_step_are_those_of_its_positions_one_by_one(
    objectives: list[Objective],
    flat: bool,
    size: int,
    parts: bool,
    rows: list[dict[str, Any]],
    tiny: Path,
    teacher: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In float64 (but for the norms, which a llama takes in float32), against each row alone through the models' own forward passes. The rows are cut into batches of
    `size`, laid flat or padded, and the head is applied at once or in parts: 1 x 8 is 8 x 1."""
    if parts:
        monkeypatch.setattr("stillroom.students.whitebox.loss.MOST_LOGITS", 4 * VOCABULARY)
    student, other, base = wide(tiny), wide(teacher), wide(tiny)
    with torch.no_grad():
        for weight in base.parameters():
            weight.mul_(1.5)
    read = encoded(rows, load_tokenizer(str(tiny)))
    total = torch.zeros((), dtype=torch.float64)
    for row in read:
        ids = torch.tensor([row.input_ids])
        logits, theirs, kept = (model(ids).logits[0, :, :VOCABULARY] for model in (student, other, base))
        for place, label in enumerate(row.labels):
            if label != IGNORED:
                at = place - 1
                total = total + by_hand(objectives, logits[at], theirs[at].detach(), kept[at].detach(), label)
    total.backward()
    expected = {name: weight.grad.clone() for name, weight in student.named_parameters()}
    student.zero_grad()

    needed = any(objective.learns_from == "teacher" for objective in objectives)
    read_by_teacher = reader(other, flat=flat, rows=read) if needed else None
    loss = one_group(objectives, read, reader(student, flat=flat), read_by_teacher, reader(base, flat=flat))
    found = 0.0
    for start in range(0, len(read), size):
        part = loss(student, batch(read, range(len(read))[start : start + size]), SUM)
        part.backward()
        found += float(part.detach())
    assert found == pytest.approx(float(total.detach()), rel=1e-6)
    gap = torch.cat([(weight.grad - expected[name]).flatten() for name, weight in student.named_parameters()])
    assert gap.norm() <= 1e-6 * torch.cat([weight.flatten() for weight in expected.values()]).norm()
    weights = [objective.weight for objective in objectives]
    positions = sum(label != IGNORED for row in read for label in row.labels)
    loss.take()
    (means,) = loss.means
    assert sum(w * mean for w, mean in zip(weights, means, strict=True)) * positions == pytest.approx(found, rel=1e-6)


def test_first_answer_token_and_end_have_a_gradient_and_nothing_behind_them(
    rows: list[dict[str, Any]], tiny: Path, teacher: Path
) -> None:
    """A mask that is not shifted would drop the first token and train the place behind the end."""
    read = encoded(rows, load_tokenizer(str(tiny)))
    student = wide(tiny)
    touched: list[Any] = []
    student.model.register_forward_hook(lambda module, given, out: touched.append(out.last_hidden_state))
    loss = one_group([Soft()], read, reader(student, flat=False), reader(wide(teacher), flat=False, rows=read))
    touched.clear()
    total = loss(student, batch(read, range(3)), SUM)
    (gradient,) = torch.autograd.grad(total, touched[0])
    for row, places in zip(read, gradient.abs().sum(-1), strict=False):
        first = next(i for i, label in enumerate(row.labels) if label != IGNORED)
        moved = [place for place, size in enumerate(places.tolist()) if size > 0]
        assert moved == list(range(first - 1, len(row.labels) - 1))


def test_the_teacher_reads_under_its_own_system_prompt(
    rows: list[dict[str, Any]], tiny: Path, teacher: Path, tmp_path: Path
) -> None:
    """Prompts of other lengths; the answers' tokens pair up."""
    trained = [
        Distil(model=str(tiny), teacher=str(teacher), teacher_system=system, epochs=1, dtype="float32").train(
            rows, tmp_path / str(n), seed=1
        )
        for n, system in enumerate([None, "You add up, and say nothing else."])
    ]
    assert trained[0].losses != trained[1].losses
    assert all(loss > 0 for one in trained for loss in one.losses)


def test_hard_labels_alone_are_sft(rows: list[dict[str, Any]], tmp_path: Path) -> None:
    """Of a model that is far from saying everything alike, so that a loss at other places would show."""
    model = tiny_models.make_model(vocab_size=VOCABULARY)  # no padding rows, which SFT has in its loss
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(5)
    model.save_pretrained(tmp_path / "model")
    tiny_models.make_tokenizer().save_pretrained(tmp_path / "model")
    common: dict[str, Any] = {"model": str(tmp_path / "model"), "epochs": 2, "batch_size": 2, "dtype": "float32"}
    distilled = Distil(**common, objectives=[{"kind": "hard"}]).train(rows, tmp_path / "distil", seed=1)
    plain = Sft(**common).train(rows, tmp_path / "sft", seed=1)
    assert max(plain.losses) - min(plain.losses) > 0.5
    assert distilled.losses == pytest.approx(plain.losses, rel=1e-5)
    assert distilled.tokens == plain.tokens


def test_accumulation_changes_nothing(rows: list[dict[str, Any]], tiny: Path, teacher: Path, tmp_path: Path) -> None:
    """Answers of 2 to 4 tokens: a mean of means would weigh them otherwise."""
    found = []
    for size, steps in ((8, 1), (1, 8), (2, 4)):
        settings = Distil(
            model=str(tiny),
            teacher=str(teacher),
            epochs=2,
            batch_size=size,
            gradient_accumulation=steps,
            learning_rate=1e-3,
            dtype="float32",
            lora=None,
        )
        found.append(settings.train(rows, tmp_path / str(size), seed=1).losses)
    assert found[0] == pytest.approx(found[1], rel=1e-5)
    assert found[0] == pytest.approx(found[2], rel=1e-5)


def test_the_student_comes_nearer_to_its_teacher(
    rows: list[dict[str, Any]], tiny: Path, teacher: Path, tmp_path: Path
) -> None:
    settings = Distil(
        model=str(tiny), teacher=str(teacher), objectives=[SOFT], epochs=30, learning_rate=1e-2, lora=None
    )
    trained = settings.train(rows, tmp_path / "student", seed=1)
    assert trained.losses[-1] < 0.5 * trained.losses[0]
    record = json.loads((tmp_path / "student" / "training.json").read_text(encoding="utf-8"))
    assert [means[0] for means in record["objectives"]] == pytest.approx(trained.losses, rel=1e-3)
    assert record["teacher"].startswith("sha256:")


@pytest.mark.parametrize("lora", [True, False])
def test_base_kl_begins_at_nothing_and_holds_the_student_back(
    lora: bool, rows: list[dict[str, Any]], teacher: Path, tmp_path: Path
) -> None:
    """Of an adapter, the base is the model with the adapter off; of all weights, a second copy."""
    drift = []
    for weight in (1e-6, 10.0):
        settings = Distil(
            model=str(teacher),
            objectives=[{"kind": "hard"}, {"kind": "base_kl", "weight": weight}],
            epochs=20,
            learning_rate=1e-2,
            lora=lora,
            dtype="float32",
        )
        out = tmp_path / str(weight)
        settings.train(rows, out, seed=1)
        means = json.loads((out / "training.json").read_text(encoding="utf-8"))["objectives"]
        assert means[0][1] == pytest.approx(0, abs=1e-6)
        drift.append(means[-1][1])
    assert drift[1] < 0.5 * drift[0]


def test_the_same_seed_gives_the_same_student(
    rows: list[dict[str, Any]], tiny: Path, teacher: Path, tmp_path: Path
) -> None:
    settings = Distil(model=str(tiny), teacher=str(teacher), epochs=1, dtype="float32")
    one, two = (settings.train(rows, tmp_path / name, seed=1) for name in ("one", "two"))
    assert one.losses == two.losses
    states = [load_model(str(found.model), "float32", "cpu").state_dict() for found in (one, two)]
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_a_teacher_with_dropout_says_the_same_twice(rows: list[dict[str, Any]], tiny: Path, teacher: Path) -> None:
    read = encoded(rows, load_tokenizer(str(tiny)))
    model = wide(teacher)
    model.config.attention_dropout = 0.5
    model.train()
    asked = reader(model, flat=False, rows=read)
    first, second = (asked.states("task", batch(read, range(4))["task"]).hidden for _ in range(2))
    assert torch.equal(first, second)
    assert model.training


# -- refusals -----------------------------------------------------------------------------------------------------


def test_other_tokens_of_the_same_number_are_refused(rows: list[dict[str, Any]], tiny: Path, tmp_path: Path) -> None:
    """Sizes alone say nothing: two tokens have changed places."""
    swapped = tmp_path / "swapped"
    load_model(str(tiny), "float32", "cpu").save_pretrained(swapped)
    load_tokenizer(str(tiny)).save_pretrained(swapped)
    file = swapped / "tokenizer.json"
    raw = json.loads(file.read_text(encoding="utf-8"))
    vocabulary = raw["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    file.write_text(json.dumps(raw), encoding="utf-8")
    settings = Distil(model=str(tiny), teacher=str(swapped), dtype="float32")
    with pytest.raises(RecipeError, match=r"other tokens: 2 differ, such as 'a' .*method: sft"):
        settings.train(rows, tmp_path / "student", seed=1)
    assert not (tmp_path / "student").exists()


def test_a_teacher_that_ends_its_turns_otherwise_is_refused(
    rows: list[dict[str, Any]], tiny: Path, teacher: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    load_model(str(teacher), "float32", "cpu").save_pretrained(other)
    tiny_models.make_tokenizer(tiny_models.CHATML.replace("<|im_end|>", "<|endoftext|>")).save_pretrained(other)
    with pytest.raises(RecipeError, match=r"ends a turn with '<\|endoftext\|>', the student with '<\|im_end\|>'"):
        Distil(model=str(tiny), teacher=str(other)).train(rows, tmp_path / "student", seed=1)


@pytest.mark.parametrize(
    ("family", "changes"),
    [
        ("Gemma2", {"final_logit_softcapping": 3.0}),
        ("Cohere", {"logit_scale": 0.25}),
        ("Granite", {"logits_scaling": 8.0}),
    ],
)
def test_what_a_family_does_behind_its_head_is_done_here(family: str, changes: dict[str, float]) -> None:
    head = Head(tiny_models.make_model(family, **changes), VOCABULARY, "the model")
    assert head.logits(torch.ones(2, 32)).shape == (2, VOCABULARY)


def test_an_unknown_change_of_the_logits_is_refused() -> None:
    model = tiny_models.make_model()
    plain = model.forward

    def scaled(*args: Any, **kwargs: Any) -> Any:
        found = plain(*args, **kwargs)
        found.logits = found.logits * 1.5
        return found

    model.forward = scaled
    with pytest.raises(RecipeError, match=r"the teacher x \(llama\) changes its logits .* they differ by"):
        Head(model, VOCABULARY, "the teacher x")


def test_weights_that_are_no_numbers_are_called_damaged() -> None:
    model = tiny_models.make_model()
    with torch.no_grad():
        model.model.norm.weight.fill_(float("nan"))
    with pytest.raises(RecipeError, match="the student gives logits that are not numbers"):
        Head(model, VOCABULARY, "the student")


def test_an_adapter_on_the_output_layer_is_refused(
    rows: list[dict[str, Any]], tiny: Path, teacher: Path, tmp_path: Path
) -> None:
    """By trl: the loss goes around it, and it would be saved as it began."""
    settings = Distil(model=str(tiny), teacher=str(teacher), lora={"target_modules": ["q_proj", "lm_head"]})
    with pytest.raises(RecipeError, match="adapter would never be trained"):
        settings.train(rows, tmp_path / "student", seed=1)
    assert not (tmp_path / "student").exists()


def test_an_output_layer_below_the_tokenizer_is_refused() -> None:
    with pytest.raises(RecipeError, match=r"260 rows in its output layer, its tokenizer 300 tokens"):
        Head(tiny_models.make_model(), 300, "the student")


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({}, "the objective soft needs a teacher"),
        ({"teacher": "x", "objectives": [{"kind": "hard"}]}, "which no objective"),
        ({"teacher": "x", "objectives": []}, "at least 1 item"),
        ({"teacher": "x", "objectives": [{"kind": "sotf"}]}, "did you mean"),
        ({"teacher": "x", "objectives": [{"kind": "soft", "temperature": 0}]}, "greater than 0"),
        ({"teacher": "x", "objectives": [{"kind": "soft", "weight": -1}]}, "greater than 0"),
        ({"teacher": "x", "objectives": [{"kind": "jsd", "beta": 1}]}, "less than 1"),
    ],
)
def test_settings_that_do_not_fit_are_refused(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        Distil(model="embedded:smollm2-135m-instruct", **settings)
