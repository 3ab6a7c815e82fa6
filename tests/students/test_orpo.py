"""ORPO: the loss and its gradient against a reference in float64, its laws, hostile pairs, and the student."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from stillroom.common.models.resolve import load_model, load_tokenizer
from stillroom.errors import InputError, RecipeError, TrainingError
from stillroom.evaluation.implicit_rewards import implicit_rewards
from stillroom.students.data.encode import EncodedPair, EncodedPairs, encode_pairs, prepare_tokenizer
from stillroom.students.data.rows import read_pairs
from stillroom.students.export.save import read_record
from stillroom.students.methods import orpo as method
from stillroom.students.methods.common import quiet_training
from stillroom.students.methods.orpo import ALMOST_CERTAIN, Orpo, make_orpo_trainer, odds_loss
from stillroom.students.records import Plan, StepInfo, Trained


@pytest.fixture
def pairs(pair: Any) -> list[dict[str, Any]]:
    return [pair(f"{a} + {'1' * (a + 1)}?", "so " * a + str(a + 1), "no idea", task_id=f"t{a}") for a in range(6)]


@pytest.fixture
def base(tiny: Path) -> dict[str, Any]:
    return {
        "model": str(tiny),
        "method": "orpo",
        "epochs": 1,
        "batch_size": 2,
        "learning_rate": 1e-2,
        "dtype": "float32",
        "warmup_ratio": 0,
    }


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(load_model(str(folder), dtype="float32", device="cpu").state_dict())


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(left[name], right[name]) for name in left)


def prepared(pairs: Any, settings: Orpo, work: Path) -> tuple[Any, EncodedPairs]:
    """A trainer in float64 on the pairs, and the pairs in tokens."""
    tokenizer = load_tokenizer(settings.model)
    encoded = encode_pairs(read_pairs(pairs), tokenizer, 256)
    prepare_tokenizer(tokenizer, encoded.end_id)
    model = load_model(settings.model, "float32", "cpu").double()
    with quiet_training():
        plan = Plan("cpu", "float32", 1)
        trainer = make_orpo_trainer(model, tokenizer, encoded, settings, settings.orpo, plan, work)
    trainer.model.double()  # peft adds an adapter in float32
    return trainer, encoded


def batch_of(trainer: Any, encoded: EncodedPairs) -> dict[str, Any]:
    """All pairs as the trainer's own collator makes them one batch, and padding in it."""
    batch = dict(trainer.data_collator([trainer.train_dataset[i] for i in range(len(encoded.rows))]))
    assert int((batch["attention_mask"] == 0).sum()) > 0
    return batch


def by_hand(model: Any, pair: EncodedPair, weight: float) -> torch.Tensor:
    """The loss of one pair as the paper writes it, each answer in a pass of its own, without padding."""
    means = []
    for answer in (pair.chosen_ids, pair.rejected_ids):
        scores = model(input_ids=torch.tensor([pair.prompt_ids + answer])).logits[0].log_softmax(-1)
        places = range(len(pair.prompt_ids) - 1, len(pair.prompt_ids) + len(answer) - 1)
        means.append(torch.stack([scores[at, token] for at, token in zip(places, answer, strict=True)]).mean())
    odds = [mean.exp() / (1 - mean.exp()) for mean in means]
    return -means[0] - weight * torch.log(torch.sigmoid(torch.log(odds[0] / odds[1])))


# -- the loss ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("own_pass", [True, False])
@pytest.mark.parametrize("lora", [True, None])
@pytest.mark.parametrize("weight", [0.1, 2.0])
def test_loss_and_gradient_are_those_of_the_paper(
    pairs: Any,
    base: dict[str, Any],
    tmp_path: Path,
    weight: float,
    lora: bool | None,
    own_pass: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In float64, to 1e-6: a batch of six pairs of different lengths, padded, against one answer after the other. What
    trl's own pass scores is in float32."""
    if not own_pass:
        monkeypatch.setattr(method, "use_pair_pass", lambda model: None)
    settings = Orpo.model_validate(base | {"lora": lora, "orpo": {"weight": weight}})
    trainer, encoded = prepared(pairs, settings, tmp_path)
    model = trainer.model
    with torch.no_grad():  # an adapter that is there, and not all zeros
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.1, generator=torch.Generator().manual_seed(len(name)))
    found = trainer.compute_loss(model, batch_of(trainer, encoded))
    found.backward()
    gradients = {name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad}
    model.zero_grad()
    wanted = torch.stack([by_hand(model, pair, weight) for pair in encoded.rows]).mean()
    wanted.backward()
    assert found.dtype == (torch.float64 if own_pass else torch.float32)
    assert found.item() == pytest.approx(wanted.item(), abs=1e-6 if own_pass else 1e-5)
    assert gradients
    assert max(float(p.grad.abs().max()) for p in model.parameters() if p.grad is not None) > 1e-3
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            assert torch.allclose(gradients[name], parameter.grad, atol=1e-6 if own_pass else 1e-5, rtol=0), name


def test_swapping_chosen_and_rejected_mirrors_the_odds_and_raises_the_loss() -> None:
    better, worse = torch.tensor([-0.2, -1.0]), torch.tensor([-2.0, -1.5])
    right, wrong = odds_loss(better, worse), odds_loss(worse, better)
    assert torch.allclose(right.log_odds, -wrong.log_odds)
    assert bool((right.total(0.1) < wrong.total(0.1)).all())
    assert bool((right.odds < math.log(2)).all())
    assert bool((wrong.odds > math.log(2)).all())


def test_answers_that_are_as_likely_lose_the_logarithm_of_two() -> None:
    found = odds_loss(torch.tensor([-0.5]), torch.tensor([-0.5]))
    assert found.odds.item() == pytest.approx(math.log(2))
    assert found.total(2.0).item() == pytest.approx(0.5 + 2 * math.log(2))


@pytest.mark.parametrize("mean", [0.0, -1e-12, -1e-7, -50.0, -1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_odds_of_extreme_answers_are_finite_and_so_are_their_gradients(mean: float, dtype: torch.dtype) -> None:
    for sides in ((mean, -1.0), (-1.0, mean), (mean, mean)):
        chosen, rejected = (torch.tensor([side], dtype=dtype, requires_grad=True) for side in sides)
        total = odds_loss(chosen, rejected).total(1.0)
        total.sum().backward()
        assert chosen.grad is not None
        assert rejected.grad is not None
        assert all(bool(torch.isfinite(each).all()) for each in (total, chosen.grad, rejected.grad))
    assert ALMOST_CERTAIN < 0


@pytest.mark.parametrize("mean", [-2e-6, -1e-5, -1e-3, -0.7, -20.0])
def test_odds_are_as_exact_in_float32_as_it_allows(mean: float) -> None:
    """1 − exp(mean) would lose all its digits near 0."""
    found = [
        odds_loss(torch.tensor([mean], dtype=dtype), torch.tensor([-1.0], dtype=dtype)).log_odds.item()
        for dtype in (torch.float32, torch.float64)
    ]
    assert found[0] == pytest.approx(found[1], rel=1e-6)


# -- steps ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [6, 5])
def test_accumulation_gives_the_step_of_one_large_batch_also_where_the_last_part_is_smaller(
    pairs: Any, base: dict[str, Any], tmp_path: Path, count: int
) -> None:
    whole = Orpo.model_validate(base | {"batch_size": 6, "epochs": 3})
    parts = Orpo.model_validate(base | {"batch_size": 2, "epochs": 3, "gradient_accumulation": 3})
    found = [s.train(pairs[:count], tmp_path / str(i), seed=1) for i, s in enumerate((whole, parts))]
    assert [trained.steps for trained in found] == [3, 3]
    assert found[0].losses == pytest.approx(found[1].losses, rel=1e-4)


def test_both_passes_train_the_same_student(
    pairs: Any, base: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = Orpo.model_validate(base)
    ours = settings.train(pairs, tmp_path / "a", seed=1)
    monkeypatch.setattr(method, "use_pair_pass", lambda model: None)
    trls = settings.train(pairs, tmp_path / "b", seed=1)
    assert ours.losses == pytest.approx(trls.losses, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("lora", [True, None])
def test_training_raises_the_chosen_over_the_rejected(
    pairs: Any, base: dict[str, Any], tmp_path: Path, lora: bool | None
) -> None:
    settings = Orpo.model_validate(base | {"epochs": 8, "lora": lora, "orpo": {"weight": 1.0}})
    trained = settings.train(pairs, tmp_path / "student", seed=1)
    first, last = trained.measures[0], trained.measures[-1]
    assert last["log_odds_ratio"] > first["log_odds_ratio"] + 0.3
    assert last["nll_chosen"] < first["nll_chosen"] - 0.3
    assert last["accuracy"] == 1
    assert trained.losses[-1] < trained.losses[0]
    assert not same(weights(Path(settings.model)), weights(trained.model))


def test_no_reference_model_is_held(pairs: Any, base: dict[str, Any], tmp_path: Path) -> None:
    for lora in (True, None):
        trainer, _ = prepared(pairs, Orpo.model_validate(base | {"lora": lora}), tmp_path)
        assert trainer.ref_model is None
        assert "ref" not in getattr(trainer.model, "peft_config", {})


def test_the_same_seed_gives_the_same_student(pairs: Any, base: dict[str, Any], tmp_path: Path) -> None:
    settings = Orpo.model_validate(base)
    found: list[Trained] = [
        settings.train(pairs, tmp_path / name, seed=seed) for name, seed in (("a", 1), ("b", 1), ("c", 2))
    ]
    assert found[0].losses == found[1].losses != found[2].losses
    assert same(weights(found[0].model), weights(found[1].model))


def test_every_step_is_told_and_on_record(pairs: Any, base: dict[str, Any], tmp_path: Path) -> None:
    seen: list[StepInfo] = []
    trained = Orpo.model_validate(base).train(pairs, tmp_path / "student", seed=1, on_step=seen.append)
    assert [(info.step, info.total, info.phase) for info in seen] == [(1, 3, "orpo"), (2, 3, "orpo"), (3, 3, "orpo")]
    assert tuple(info.measures for info in seen) == trained.measures
    for info in seen:
        told = info.measures
        assert info.loss == pytest.approx(told["nll_chosen"] + 0.1 * told["odds_ratio_loss"], abs=1e-4)
    record = read_record(tmp_path / "student")
    assert record is not None
    assert [set(step) for step in record["measures"]] == [set(method.MEASURED.values())] * 3
    assert Orpo.model_validate(record["settings"]) == Orpo.model_validate(base)


# -- what goes wrong -----------------------------------------------------------------------------------------------


def test_hostile_pairs_are_left_out_and_counted_or_refused(
    pairs: Any, pair: Any, base: dict[str, Any], tmp_path: Path
) -> None:
    settings = Orpo.model_validate(base | {"max_length": 80})
    bad = [
        pair("same?", "yes", "yes"),
        pair("long?", "yes", "no " * 40),
        pair("end?", "yes<|im_end|>", "no"),
    ]
    trained = settings.train([*pairs, *bad], tmp_path / "student", seed=1)
    assert [left.reason for left in trained.left_out] == ["same_answers", "too_long", "end_token_inside"]
    assert trained.rows == 6
    with pytest.raises(InputError, match="row 7: the chosen is empty"):
        settings.train([*pairs, pair("empty?", " ", "no")], tmp_path / "other", seed=1)
    with pytest.raises(TrainingError, match="no row is left"):
        settings.train([bad[0]], tmp_path / "other", seed=1)
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"orpo": {"weight": 0}}, "greater than 0"),
        ({"orpo": {"beta": 0.1}}, "beta"),
        ({"lora": {"dropout": 0.1}}, "dropout off for orpo"),
        ({"dpo": {"beta": 0.1}}, "settings for dpo, but method is orpo"),
    ],
)
def test_settings_that_are_refused(base: dict[str, Any], changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Orpo.model_validate(base | changes)


def test_an_adapter_that_does_not_fit_is_a_mistake_of_the_recipe(
    pairs: Any, base: dict[str, Any], tmp_path: Path
) -> None:
    settings = Orpo.model_validate(base | {"lora": {"target_modules": ["no_such_layer"]}})
    with pytest.raises(RecipeError, match="no_such_layer"):
        settings.train(pairs, tmp_path / "student", seed=1)


def test_nothing_is_written_to_the_terminal(
    pairs: Any, base: dict[str, Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    Orpo.model_validate(base).train(pairs, tmp_path / "student", seed=1)
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


def test_the_lint_looks_at_the_pairs(pairs: Any, pair: Any, base: dict[str, Any]) -> None:
    report = Orpo.model_validate(base).lint([*pairs, pair("same?", "yes", "yes")])
    assert (report.what, report.rows, report.trainable) == ("pairs", 7, 6)
    assert [found.name for found in report.findings] == ["identical_sides"]
    assert report.notes == ("the reference is none",)


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
def test_smollm2_learns_an_obvious_preference(pair: Any, tmp_path: Path) -> None:
    smollm2 = "embedded:smollm2-135m-instruct"
    settings = Orpo.model_validate(
        {"model": smollm2, "epochs": 2, "batch_size": 4, "learning_rate": 2e-4, "warmup_ratio": 0}
    )
    rows = [pair(*_sides(thing)) for thing in THINGS]
    trained = settings.train(rows, tmp_path / "student", seed=1)
    assert trained.adapter is not None
    found = implicit_rewards(trained.adapter, smollm2, [pair(*_sides(thing)) for thing in HELD_OUT])
    assert found.accuracy.value == 1
    assert found.margin.value > 0.1
