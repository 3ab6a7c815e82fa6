"""KTO: the loss and its gradient against a reference in float64, class weights, batches, hostile rows, the student."""

from __future__ import annotations

import itertools
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stillroom.common.models.resolve import load_model, load_tokenizer
from stillroom.errors import InputError, RecipeError, TrainingError
from stillroom.evaluation.implicit_rewards import implicit_rewards
from stillroom.students.data.encode import prepare_tokenizer
from stillroom.students.data.labelled import EncodedAnswer, EncodedAnswers, encode_labelled, read_labelled
from stillroom.students.data.mismatched import Placed, batches_of
from stillroom.students.export.save import read_record
from stillroom.students.methods import kto as method
from stillroom.students.methods.class_weights import HIGHEST, LOWEST, ClassWeights, class_weights
from stillroom.students.methods.common import quiet_training
from stillroom.students.methods.kto import Kto, check_answers, make_kto_trainer
from stillroom.students.records import Plan, StepInfo, Trained, TrainingPlace


@pytest.fixture
def rows(row: Any) -> list[dict[str, Any]]:
    """Four right answers and three wrong ones, of different lengths."""
    right = [row(f"{a} + 1?", "so " * a + str(a + 1), task_id=f"t{a}", label=True) for a in range(4)]
    wrong = [row(f"{a} + 1?", "no idea", task_id=f"t{a}", label=False) for a in range(1, 4)]
    return [*right, *wrong]


@pytest.fixture
def base(tiny: Path) -> dict[str, Any]:
    return {
        "model": str(tiny),
        "method": "kto",
        "epochs": 1,
        "batch_size": 3,
        "learning_rate": 1e-2,
        "dtype": "float32",
        "warmup_ratio": 0,
    }


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(load_model(str(folder), dtype="float32", device="cpu").state_dict())


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(left[name], right[name]) for name in left)


def prepared(rows: Any, settings: Kto, work: Path) -> tuple[Any, EncodedAnswers]:
    """A trainer in float64 on the rows, and the rows in tokens."""
    tokenizer = load_tokenizer(settings.model)
    encoded = encode_labelled(read_labelled(rows), tokenizer, 256)
    prepare_tokenizer(tokenizer, encoded.end_id)
    model = load_model(settings.model, "float32", "cpu").double()
    with quiet_training():
        plan = Plan("cpu", "float32", 1)
        trainer = make_kto_trainer(model, tokenizer, encoded, settings, settings.kto, plan, work)
    trainer.model.double()  # peft adds an adapter in float32
    return trainer, encoded


def moved(trainer: Any) -> None:
    """The student has left its reference."""
    with torch.no_grad():
        for name, parameter in trainer.model.named_parameters():
            if parameter.requires_grad and ("lora_B" in name or "lora" not in name):
                noise = torch.empty_like(parameter).normal_(generator=torch.Generator().manual_seed(len(name)))
                parameter += 0.1 * noise


def score(model: Any, prompt: list[int], answer: list[int]) -> torch.Tensor:
    """Log-probability of an answer, in a pass by itself, without padding."""
    scores = model(input_ids=torch.tensor([prompt + answer])).logits[0].log_softmax(-1)
    places = range(len(prompt) - 1, len(prompt) + len(answer) - 1)
    return torch.stack([scores[at, token] for at, token in zip(places, answer, strict=True)]).sum()


def by_hand(model: Any, reference: Any, rows: list[dict[str, Any]], kto: Any, weighted: ClassWeights) -> torch.Tensor:
    """Equations 7 and 8 of the paper for one batch. `rows`: as the data set holds them."""
    ratios, mismatched = [], []
    for row in rows:
        prompt, answer, other = row["prompt_ids"], row["completion_ids"], row.get("KL_completion_ids")
        with torch.no_grad():
            before = score(reference, prompt, answer)
            if other is not None:
                mismatched.append(score(model, prompt, other) - score(reference, prompt, other))
        ratios.append(score(model, prompt, answer) - before)
    kl = torch.stack(mismatched).mean().clamp(min=0) if mismatched else torch.tensor(0.0)
    losses = []
    for row, ratio in zip(rows, ratios, strict=True):
        if row["label"]:
            losses.append(weighted.desirable * (1 - torch.sigmoid(kto.beta * (ratio - kl))))
        else:
            losses.append(weighted.undesirable * (1 - torch.sigmoid(kto.beta * (kl - ratio))))
    return torch.stack(losses).mean()


# -- the loss ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("precompute", [True, False])
@pytest.mark.parametrize("loss_type", ["kto", "apo_zero_unpaired"])
@pytest.mark.parametrize("lora", [True, None])
def test_loss_and_gradient_are_those_of_the_paper(
    rows: Any, base: dict[str, Any], tmp_path: Path, lora: bool | None, loss_type: str, precompute: bool
) -> None:
    """In float64, to 1e-6, batch by batch (the last of one row), padded, against one answer after the other; the
    reference is the model without its adapter."""
    if lora is None and not precompute:
        return
    block = {"beta": 0.5, "loss_type": loss_type, "precompute_ref": precompute, "undesirable_weight": 2.0}
    settings = Kto.model_validate(base | {"lora": lora, "kto": block})
    trainer, encoded = prepared(rows, settings, tmp_path)
    reference = load_model(settings.model, "float32", "cpu").double()
    moved(trainer)
    model, weighted = trainer.model.eval(), class_weights(4, 3, given_undesirable=2.0)
    assert weighted == pytest.approx((1.5, 2.0, 1.0))
    data = [trainer.train_dataset[i] for i in range(len(encoded.rows))]
    for part in (data[:3], data[3:6], data[6:]):
        batch = trainer.data_collator(part)
        found = trainer.compute_loss(model, {name: column.clone() for name, column in batch.items()})
        found.backward()
        gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad}
        model.zero_grad()
        wanted = by_hand(model, reference, part, settings.kto, weighted)
        wanted.backward()
        assert found.item() == pytest.approx(wanted.item(), abs=1e-6)
        assert max(float(p.grad.abs().max()) for p in model.parameters() if p.grad is not None) > 1e-4
        for name, parameter in model.named_parameters():
            if parameter.requires_grad:
                assert torch.allclose(gradients[name], parameter.grad, atol=1e-6, rtol=0), name
        model.zero_grad()


def test_the_reference_is_the_model_without_its_adapter_and_does_not_move(
    rows: Any, base: dict[str, Any], tmp_path: Path
) -> None:
    settings = Kto.model_validate(base | {"kto": {"precompute_ref": False}})
    trainer, encoded = prepared(rows, settings, tmp_path)
    assert trainer.ref_model is None
    assert set(trainer.model.peft_config) == {"default"}
    batch = trainer.data_collator([trainer.train_dataset[i] for i in range(len(encoded.rows))])
    plain = load_model(settings.model, "float32", "cpu").double()
    with quiet_training():
        trainer.train()
    found = trainer.compute_ref_log_probs(trainer.model, batch)[0]
    placed = batches_of(encoded.rows, 3, 1, 256)
    with torch.no_grad():
        wanted = [score(plain, each.row.prompt_ids, each.row.answer_ids).item() for each in placed]
    assert found.tolist() == pytest.approx(wanted, abs=1e-6)


@pytest.mark.parametrize("precompute", [True, False])
def test_the_reward_before_the_first_step_is_nothing(
    rows: Any, base: dict[str, Any], tmp_path: Path, precompute: bool
) -> None:
    settings = Kto.model_validate(base | {"batch_size": 7, "kto": {"precompute_ref": precompute}})
    first = settings.train(rows, tmp_path / "student", seed=1).measures[0]
    assert first == pytest.approx(dict.fromkeys(method.MEASURED.values(), 0.0), abs=1e-6)


def test_the_row_pass_trains_the_student_that_trls_own_does(
    rows: Any, base: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Kto.model_validate(base)
    ours = settings.train(rows, tmp_path / "a", seed=1)
    monkeypatch.setattr(method, "use_row_pass", lambda model: None)
    trls = settings.train(rows, tmp_path / "b", seed=1)
    assert ours.losses == pytest.approx(trls.losses, rel=1e-4, abs=1e-5)


# -- class weights -------------------------------------------------------------------------------------------------


@given(
    st.integers(1, 10**6),
    st.integers(1, 10**6),
    st.none() | st.floats(0.01, 100),
    st.none() | st.floats(0.01, 100),
)
def test_weights_bring_the_ratio_between_the_papers_bounds(
    desirable: int, undesirable: int, more: float | None, less: float | None
) -> None:
    found = class_weights(desirable, undesirable, given=more, given_undesirable=less)
    assert found.ratio == pytest.approx(found.desirable * desirable / (found.undesirable * undesirable))
    assert more is None or found.desirable == more
    assert less is None or found.undesirable == less
    if more is None or less is None:
        assert found.fit
    if more is None and less is None:
        assert min(found.desirable, found.undesirable) == 1
        assert found.desirable == found.undesirable == 1 or found.ratio == pytest.approx(
            LOWEST if found.desirable > 1 else HIGHEST
        )


@pytest.mark.parametrize(
    ("counts", "wanted"),
    [
        ((100, 100), (1, 1, 1)),
        ((120, 100), (1, 1, 1.2)),
        ((100, 300), (3, 1, 1)),
        ((400, 100), (1, 3, 4 / 3)),
    ],
)
def test_weights_as_a_table(counts: tuple[int, int], wanted: tuple[float, ...]) -> None:
    assert class_weights(*counts) == pytest.approx(wanted)


def test_weights_that_are_given_and_do_not_fit_are_taken_and_told(
    rows: Any, base: dict[str, Any], tmp_path: Path
) -> None:
    heard: list[str] = []
    block = {"desirable_weight": 1.0, "undesirable_weight": 10.0}
    place = TrainingPlace(tell=heard.append)
    Kto.model_validate(base | {"kto": block}).train(rows, tmp_path / "a", seed=1, place=place)
    Kto.model_validate(base).train(rows, tmp_path / "b", seed=1, place=place)
    assert heard[0].endswith("undesirable with weight 10: 0.13 to 1, which the paper puts between 1 and 1.33")
    assert heard[1] == "4 desirable rows with weight 1, 3 undesirable with weight 1: 1.33 to 1"
    record = read_record(tmp_path / "a")
    assert record is not None
    assert record["class_weights"] == {"desirable": 1, "undesirable": 10, "ratio": pytest.approx(4 / 30)}
    assert record["labels"] == {"desirable": 4, "undesirable": 3}


# -- batches ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [2, 3, 8])
def test_batches_of_one_kind_and_of_one_row_give_numbers(
    size: int, row: Any, base: dict[str, Any], tmp_path: Path
) -> None:
    rows = [row(f"{a}?", f"answer {a}", label=a != 3) for a in range(9)]
    trained = Kto.model_validate(base | {"batch_size": size, "epochs": 2}).train(rows, tmp_path / "s", seed=1)
    assert all(math.isfinite(loss) for loss in trained.losses)
    assert any("reward_undesirable" not in step for step in trained.measures)
    assert any("reward_undesirable" in step for step in trained.measures)
    assert all(math.isfinite(value) for step in trained.measures for value in step.values())


# -- the student ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lora", [True, None])
def test_training_parts_the_desirable_from_the_undesirable(
    rows: Any, base: dict[str, Any], tmp_path: Path, lora: bool | None
) -> None:
    settings = Kto.model_validate(base | {"epochs": 6, "batch_size": 7, "lora": lora})
    trained = settings.train(rows, tmp_path / "student", seed=1)
    last = trained.measures[-1]
    assert last["reward_desirable"] > last["reward_undesirable"] + 0.3
    assert last["reward_margin"] == pytest.approx(last["reward_desirable"] - last["reward_undesirable"], abs=1e-5)
    assert trained.losses[-1] < trained.losses[0]
    assert (trained.rows, trained.steps, trained.left_out) == (7, 6, ())
    assert not same(weights(Path(settings.model)), weights(trained.model))
    assert sorted(p.name for p in trained.folder.iterdir() if p.is_dir()) == (
        ["adapter", "merged"] if lora else ["merged"]
    )


def test_the_same_seed_gives_the_same_student(rows: Any, base: dict[str, Any], tmp_path: Path) -> None:
    settings = Kto.model_validate(base | {"epochs": 2})
    found: list[Trained] = [
        settings.train(rows, tmp_path / name, seed=seed) for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    assert found[0].losses == found[1].losses != found[2].losses
    assert found[0].measures == found[1].measures
    assert same(weights(found[0].model), weights(found[1].model))


def test_accumulation_gives_the_step_of_one_large_batch_where_there_is_no_kl_term(
    rows: Any, base: dict[str, Any], tmp_path: Path
) -> None:
    """With one, each part estimates it from its own rows."""
    apo = {"loss_type": "apo_zero_unpaired"}
    whole = Kto.model_validate(base | {"batch_size": 6, "epochs": 3, "kto": apo})
    parts = Kto.model_validate(base | {"batch_size": 2, "epochs": 3, "gradient_accumulation": 3, "kto": apo})
    found = [s.train(rows[:6], tmp_path / str(i), seed=1) for i, s in enumerate((whole, parts))]
    assert [trained.steps for trained in found] == [3, 3]
    assert found[0].losses == pytest.approx(found[1].losses, rel=1e-4)
    alone = Kto.model_validate(base | {"batch_size": 1, "kto": apo}).train(rows, tmp_path / "alone", seed=1)
    assert alone.steps == 7


def test_every_step_is_told_and_on_record(rows: Any, base: dict[str, Any], tmp_path: Path) -> None:
    seen: list[StepInfo] = []
    trained = Kto.model_validate(base).train(rows, tmp_path / "student", seed=1, on_step=seen.append)
    assert [(info.step, info.total, info.phase) for info in seen] == [(1, 3, "kto"), (2, 3, "kto"), (3, 3, "kto")]
    assert tuple(info.measures for info in seen) == trained.measures
    record = read_record(tmp_path / "student")
    assert record is not None
    assert [step["kl"] for step in record["measures"]] == pytest.approx([s["kl"] for s in trained.measures], abs=1e-6)
    assert Kto.model_validate(record["settings"]) == Kto.model_validate(base)
    assert record["tokens"] == trained.tokens > 0


@pytest.mark.parametrize("loss_type", ["kto", "apo_zero_unpaired"])
def test_a_loss_that_is_no_number_stops_the_training(
    loss_type: str, rows: Any, row: Any, base: dict[str, Any], tiny: Path, tmp_path: Path, tokenizer: Any
) -> None:
    """One row alone is none, and trl's mean over the batch passes it over; its gradient does not."""
    broken = tmp_path / "broken"
    shutil.copytree(tiny, broken)
    model = load_model(str(tiny), dtype="float32", device="cpu")
    model.model.embed_tokens.weight.data[tokenizer("~")["input_ids"][0]].fill_(float("nan"))
    model.save_pretrained(broken)
    odd = [*rows, row("~?", "7", label=True)]
    settings = Kto.model_validate(base | {"model": str(broken), "kto": {"loss_type": loss_type}})
    with pytest.raises(TrainingError, match="the training has diverged"):
        settings.train(odd, tmp_path / "student", seed=1)
    assert not (tmp_path / "student").exists()


def test_nothing_is_written_to_the_terminal(
    rows: Any, base: dict[str, Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    Kto.model_validate(base).train(rows, tmp_path / "student", seed=1)
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


# -- what goes wrong -----------------------------------------------------------------------------------------------


def test_hostile_rows_are_left_out_and_counted(rows: Any, row: Any, base: dict[str, Any], tmp_path: Path) -> None:
    settings = Kto.model_validate(base | {"max_length": 80})
    bad = [
        row("long?", "no " * 40, label=False),
        row("end?", "yes<|im_end|>", label=True),
        row("both?", "maybe", label=True),
        row("both?", "maybe", label=False),
    ]
    trained = settings.train([*rows, *bad], tmp_path / "student", seed=1)
    assert trained.rows == len(rows)
    assert [left.reason for left in trained.left_out] == [
        "too_long",
        "end_token_inside",
        "both_labels",
        "both_labels",
    ]
    assert str(trained.left_out[2]).endswith("the same answer has both labels")


@pytest.mark.parametrize(
    ("label", "said"),
    [(None, "must be true .desirable. or false"), (1, "got '1'"), ("true", "got 'true'"), (0.0, "got '0.0'")],
)
def test_a_label_is_true_or_false(label: Any, said: str, rows: Any, row: Any, base: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=f"row 8: 'label'.*{said}"):
        read_labelled([*rows, row("2?", "2", label=label)])


def test_an_empty_answer_is_refused_with_its_row(rows: Any, row: Any) -> None:
    with pytest.raises(InputError, match=r"row 8 \(task t9\): the completion is empty"):
        read_labelled([*rows, row("2?", " \n", label=False, task_id="t9")])
    with pytest.raises(InputError, match="no row to train on"):
        read_labelled([])


@pytest.mark.parametrize(("label", "said"), [(True, "are desirable.*method: sft"), (False, "are undesirable")])
def test_rows_of_one_kind_are_refused(
    label: bool, said: str, rows: Any, base: dict[str, Any], tmp_path: Path
) -> None:
    one = [each for each in rows if each["label"] is label]
    with pytest.raises(TrainingError, match=said):
        Kto.model_validate(base).train(one, tmp_path / "student", seed=1)
    assert not (tmp_path / "student").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"batch_size": 1}, "set batch_size: 2 or more"),
        ({"lora": None, "kto": {"precompute_ref": False}}, "second copy"),
        ({"lora": {"dropout": 0.1}}, "dropout off for kto"),
        ({"kto": {"desirable_weight": 0}}, "greater than 0"),
        ({"dpo": {"beta": 0.1}}, "settings for dpo, but method is kto"),
    ],
)
def test_settings_that_are_refused(base: dict[str, Any], changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Kto.model_validate(base | changes)


@pytest.mark.parametrize("target", ["no_such_layer", "lm_head"])
def test_an_adapter_that_does_not_fit_is_a_mistake_of_the_recipe(
    target: str, rows: Any, base: dict[str, Any], tmp_path: Path
) -> None:
    settings = Kto.model_validate(base | {"lora": {"target_modules": [target]}})
    with pytest.raises(RecipeError, match=target):
        settings.train(rows, tmp_path / "student", seed=1)


def answers(*prompts: int) -> list[EncodedAnswer]:
    """Rows of prompts by number, each with an answer that no other has."""
    return [EncodedAnswer(f"row {i}", [7, p], [9, 9, i, 2], i % 2 == 0) for i, p in enumerate(prompts)]


def _left_padded(batch: dict[str, Any]) -> None:
    for name in ("input_ids", "attention_mask", "completion_mask"):
        batch[name][0] = batch[name][0].roll(1)


def _prompt_in_loss(batch: dict[str, Any]) -> None:
    batch["completion_mask"][1, 0] = 1


def _end_outside(batch: dict[str, Any]) -> None:
    batch["completion_mask"][1, int(batch["completion_mask"][1].nonzero()[-1, 0])] = 0


def _other_label(batch: dict[str, Any]) -> None:
    batch["label"][0] = not bool(batch["label"][0])


def _other_answer(batch: dict[str, Any]) -> None:
    batch["KL_input_ids"][1, -1] += 1


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (_left_padded, "row 0: the batch does not hold its prompt"),
        (_prompt_in_loss, "row 1: token 0 of the prompt is in the loss"),
        (_end_outside, "row 1: the last label is token"),
        (_other_label, "row 0: the batch holds the label"),
        (_other_answer, "row 1: the batch does not hold its prompt"),
    ],
)
def test_a_faulty_batch_is_caught_before_the_first_step(break_it: Any, said: str) -> None:
    from trl.trainer.kto_trainer import DataCollatorForUnpairedPreference

    one, two = answers(0, 1)
    placed = [Placed(one._replace(answer_ids=[9, 2]), two.answer_ids), Placed(two, one.answer_ids)]
    fed = [
        {
            "prompt_ids": each.row.prompt_ids,
            "completion_ids": each.row.answer_ids,
            "KL_completion_ids": each.other,
            "label": each.row.label,
        }
        for each in placed
    ]
    batch = DataCollatorForUnpairedPreference(pad_token_id=0)(fed)
    check_answers(batch, placed, 2)
    break_it(batch)
    with pytest.raises(TrainingError, match=said):
        check_answers(batch, placed, 2)


def test_rows_are_encoded_as_those_of_other_methods(rows: Any, tokenizer: Any) -> None:
    encoded = encode_labelled(read_labelled(rows), tokenizer, 256)
    first = encoded.rows[0]
    assert tokenizer.decode(first.prompt_ids) == "<|im_start|>user\n0 + 1?<|im_end|>\n<|im_start|>assistant\n"
    assert tokenizer.decode(first.answer_ids) == "1<|im_end|>"
    assert [row.label for row in encoded.rows] == [True] * 4 + [False] * 3
    flipped = encode_labelled(read_labelled([each | {"label": not each["label"]} for each in rows]), tokenizer, 256)
    found = {each.digest() for each in (encoded, flipped)}
    assert len(found) == 2  # the labels are part of what decides a student
    assert list(itertools.chain(*(row.row().labels for row in encoded.rows))).count(2) == 7


# -- a real model --------------------------------------------------------------------------------------------------

THINGS = ["apple", "bread", "river", "garden", "winter", "candle", "music", "horse"]
HELD_OUT = ["lamp", "stone", "ship", "doctor"]


def _sides(thing: str) -> tuple[str, str, str]:
    """An obvious preference: a plain sentence over a shouted one."""
    return (
        f"Tell me about the {thing}.",
        f"The {thing} is a useful thing, and many people like it.",
        f"WOW!!! THE {thing.upper()} IS SO AMAZING!!! YOU WILL LOVE IT!!!",
    )


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_smollm2_learns_an_obvious_preference(row: Any, pair: Any, tmp_path: Path) -> None:
    smollm2 = "embedded:smollm2-135m-instruct"
    settings = Kto.model_validate(
        {"model": smollm2, "epochs": 2, "batch_size": 4, "learning_rate": 2e-4, "warmup_ratio": 0}
    )
    rows = []
    for prompt, plain, shouted in map(_sides, THINGS):
        rows += [row(prompt, plain, label=True), row(prompt, shouted, label=False)]
    trained = settings.train(rows, tmp_path / "student", seed=1)
    assert trained.adapter is not None
    found = implicit_rewards(trained.adapter, smollm2, [pair(*_sides(thing)) for thing in HELD_OUT])
    assert found.accuracy.value == 1
    assert found.margin.value > 0.1
