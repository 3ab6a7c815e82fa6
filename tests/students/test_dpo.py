from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any, get_args

import pytest
import torch

from stillroom.common.models.resolve import load_model, load_tokenizer
from stillroom.errors import InputError, RecipeError, TrainingError
from stillroom.evaluation.implicit_rewards import answer_logprobs, implicit_rewards
from stillroom.students.data.encode import EncodedPairs, encode_pairs, prepare_tokenizer
from stillroom.students.data.rows import read_pairs
from stillroom.students.export.save import read_record
from stillroom.students.methods import dpo as dpo_trainer
from stillroom.students.methods.batches import check_pairs
from stillroom.students.methods.common import quiet_training
from stillroom.students.methods.dpo import SMOOTHED, Dpo, LossType, make_dpo_trainer
from stillroom.students.records import Plan, StepInfo, Trained

SMOLLM2 = "embedded:smollm2-135m-instruct"


def train_dpo(rows: Any, settings: Dpo, out: Path, **more: Any) -> Trained:
    return settings.train(rows, out, **more)


@pytest.fixture
def pairs(pair: Any) -> list[dict[str, Any]]:
    return [pair(f"{a} + 1?", str(a + 1), "no idea", task_id=f"t{a}") for a in range(6)]


@pytest.fixture
def base(tiny: Path) -> dict[str, Any]:
    return {
        "model": str(tiny),
        "method": "dpo",
        "epochs": 1,
        "batch_size": 2,
        "learning_rate": 1e-2,
        "dtype": "float32",
        "warmup_ratio": 0,
    }


@pytest.fixture
def settings(base: dict[str, Any]) -> Dpo:
    return Dpo.model_validate(base)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(load_model(str(folder), dtype="float32", device="cpu").state_dict())


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(left[name], right[name]) for name in left)


def prepared(pairs: Any, settings: Dpo, work: Path) -> tuple[Any, EncodedPairs]:
    """A trainer on the pairs, and the pairs in tokens."""
    tokenizer = load_tokenizer(settings.model)
    encoded = encode_pairs(read_pairs(pairs), tokenizer, 256)
    prepare_tokenizer(tokenizer, encoded.end_id)
    model = load_model(settings.model, "float32", "cpu")
    with quiet_training():
        plan = Plan("cpu", "float32", 1)
        return make_dpo_trainer(model, tokenizer, encoded, settings, settings.dpo, plan, work), encoded


def batch_of(trainer: Any) -> dict[str, Any]:
    """All rows as the trainer's own collator makes them one batch."""
    return dict(trainer.data_collator([trainer.train_dataset[i] for i in range(len(trainer.train_dataset))]))


# -- the loss and the reference ------------------------------------------------------------------------------------


@pytest.mark.parametrize("precompute", [True, False])
@pytest.mark.parametrize("beta", [0.1, 0.5])
def test_the_loss_of_one_pair_is_that_of_the_paper(
    pair: Any, base: dict[str, Any], tmp_path: Path, beta: float, precompute: bool
) -> None:
    chosen = Dpo.model_validate(base | {"dpo": {"beta": beta, "precompute_ref": precompute}})
    trainer, encoded = prepared([pair("2 + 2?", "4", "no idea")], chosen, tmp_path)
    before = answer_logprobs(trainer.model.get_base_model(), encoded.rows, "cpu").tolist()
    with torch.no_grad():
        for name, weight in trainer.model.named_parameters():
            if "lora_B" in name:
                weight.normal_(std=0.1, generator=torch.Generator().manual_seed(len(name)))
    after = answer_logprobs(trainer.model.get_base_model(), encoded.rows, "cpu").tolist()
    margin = (after[0] - before[0]) - (after[1] - before[1])
    loss = trainer.compute_loss(trainer.model, batch_of(trainer))
    assert abs(margin) > 0.1
    assert loss.item() == pytest.approx(math.log(1 + math.exp(-beta * margin)), abs=1e-5)


@pytest.mark.parametrize("ld_alpha", [None, 0.0, 0.3, 1.0])
def test_length_desensitisation_weighs_what_the_longer_answer_has_more(
    pair: Any, base: dict[str, Any], tmp_path: Path, ld_alpha: float | None
) -> None:
    chosen = Dpo.model_validate(base | {"dpo": {"ld_alpha": ld_alpha}})
    trainer, encoded = prepared([pair("2 + 2?", "4", "no idea at all")], chosen, tmp_path)
    row = encoded.rows[0]
    model, shared = trainer.model.get_base_model(), len(row.chosen_ids)
    ids = torch.tensor([row.prompt_ids + row.rejected_ids])
    scores = model(input_ids=ids).logits.detach().log_softmax(-1)[0, len(row.prompt_ids) - 1 : -1]
    tokens = [scores[i, token].item() for i, token in enumerate(row.rejected_ids)]
    alpha = 1.0 if ld_alpha is None else ld_alpha
    wanted = sum(tokens[:shared]) + alpha * sum(tokens[shared:])
    assert trainer.train_dataset[0]["ref_rejected_logps"] == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize("precompute", [True, False])
@pytest.mark.parametrize("sft_first", [False, {"epochs": 1, "learning_rate": 1e-2}])
def test_the_reward_before_the_first_step_is_nothing(
    pairs: Any, base: dict[str, Any], tmp_path: Path, precompute: bool, sft_first: Any
) -> None:
    chosen = Dpo.model_validate(base | {"dpo": {"precompute_ref": precompute, "sft_first": sft_first}})
    first = train_dpo(pairs, chosen, tmp_path / "student", seed=1).rewards[0]
    if precompute:  # in batches of other widths than the training's
        assert first == pytest.approx((0, 0, 0, first.accuracy), abs=1e-5)
    else:
        assert first == (0, 0, 0, 0)


def test_the_reference_does_not_move_with_the_student(pairs: Any, base: dict[str, Any], tmp_path: Path) -> None:
    chosen = Dpo.model_validate(base | {"dpo": {"precompute_ref": False}})
    trainer, _ = prepared(pairs, chosen, tmp_path)
    batch = batch_of(trainer)
    before = trainer.compute_ref_log_probs(trainer.model, batch)
    with quiet_training():
        trainer.train()
    after = trainer.compute_ref_log_probs(trainer.model, batch)
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert trainer.steps.rewards[-1].margin > 0


def test_both_ways_to_the_reference_train_the_same_student(pairs: Any, base: dict[str, Any], tmp_path: Path) -> None:
    found = [
        train_dpo(pairs, Dpo.model_validate(base | {"dpo": {"precompute_ref": p}}), tmp_path / str(p), seed=1)
        for p in (True, False)
    ]
    assert found[0].losses == pytest.approx(found[1].losses, abs=1e-5)


@pytest.mark.parametrize("loss_type", get_args(LossType))
def test_every_loss_trains_and_the_pair_pass_changes_none(
    loss_type: str, pairs: Any, base: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    smoothing = 0.1 if loss_type in SMOOTHED else 0.0
    chosen = Dpo.model_validate(
        base | {"dpo": {"loss_type": loss_type, "label_smoothing": smoothing, "ld_alpha": 0.5}}
    )
    ours = train_dpo(pairs, chosen, tmp_path / "a", seed=1)
    monkeypatch.setattr(dpo_trainer, "use_pair_pass", lambda model: None)
    trls = train_dpo(pairs, chosen, tmp_path / "b", seed=1)
    assert ours.losses == pytest.approx(trls.losses, rel=1e-4, abs=1e-5)
    assert ours.losses[0] != ours.losses[-1]


def test_losses_are_added_with_their_weights(pairs: Any, base: dict[str, Any], tmp_path: Path) -> None:
    def first(**dpo: Any) -> float:
        return train_dpo(pairs, Dpo.model_validate(base | {"dpo": dpo}), tmp_path / "s", seed=1).losses[0]

    both = first(loss_type=["sigmoid", "sft"], loss_weights=[2.0, 0.5])
    assert both == pytest.approx(2 * first() + 0.5 * first(loss_type="sft"), rel=1e-5)


# -- the student ---------------------------------------------------------------------------------------------------


def test_training_raises_the_chosen_over_the_rejected(pairs: Any, base: dict[str, Any], tmp_path: Path) -> None:
    chosen = Dpo.model_validate(base | {"epochs": 5})
    trained = train_dpo(pairs, chosen, tmp_path / "student", seed=1)
    assert trained.losses[0] == pytest.approx(math.log(2), abs=1e-4)
    assert trained.losses[-1] < 0.6
    assert trained.rewards[-1].accuracy == 1
    assert trained.rewards[-1].margin > 0.3
    assert trained.rewards[-1].margin == pytest.approx(
        trained.rewards[-1].chosen - trained.rewards[-1].rejected, abs=1e-5
    )
    assert implicit_rewards(trained.model, str(base["model"]), pairs).accuracy.value == 1


def test_a_lora_student_is_saved_whole_and_loads(pairs: Any, settings: Dpo, tmp_path: Path) -> None:
    trained = train_dpo(pairs, settings, tmp_path / "student", seed=1)
    assert trained.adapter == tmp_path / "student" / "adapter"
    assert trained.model == trained.merged == tmp_path / "student" / "merged"
    assert (trained.rows, trained.steps, trained.left_out, trained.sft_losses) == (6, 3, (), ())
    assert len(trained.rewards) == 3
    assert not same(weights(Path(settings.model)), weights(trained.model))
    after, from_adapter = weights(trained.model), weights(trained.adapter)
    assert all(torch.allclose(after[name], from_adapter[name], atol=1e-6) for name in after)
    assert sorted(p.name for p in trained.folder.iterdir()) == ["adapter", "merged", "training.json"]


def test_full_fine_tuning_keeps_no_second_copy(pairs: Any, base: dict[str, Any], tmp_path: Path) -> None:
    chosen = Dpo.model_validate(base | {"lora": None, "epochs": 3})
    trainer, _ = prepared(pairs, chosen, tmp_path / "work")
    assert trainer.ref_model is None
    trained = train_dpo(pairs, chosen, tmp_path / "student", seed=1)
    assert trained.adapter is None
    assert trained.rewards[0] == pytest.approx((0, 0, 0, trained.rewards[0].accuracy), abs=1e-5)
    assert trained.rewards[-1].margin > 0.3
    assert not same(weights(Path(chosen.model)), weights(trained.model))


@pytest.mark.parametrize("lora", [True, None])
def test_sft_first_is_trained_and_saved_too(
    pairs: Any, base: dict[str, Any], tmp_path: Path, lora: bool | None
) -> None:
    """DPO at a rate that changes next to nothing leaves what SFT taught."""
    first = {"epochs": 10, "learning_rate": 1e-2}
    chosen = Dpo.model_validate(base | {"lora": lora, "learning_rate": 1e-9, "dpo": {"sft_first": first}})
    seen: list[StepInfo] = []
    trained = train_dpo(pairs, chosen, tmp_path / "student", seed=1, on_step=seen.append)
    assert [(info.phase, info.total) for info in seen] == [("sft", 30)] * 30 + [("dpo", 3)] * 3
    assert len(trained.sft_losses) == 30
    assert trained.sft_losses[-1] < trained.sft_losses[0] - 0.3
    found = [implicit_rewards(model, str(base["model"]), pairs, beta=1) for model in (trained.model, base["model"])]
    assert found[0].margin.value > found[1].margin.value + 0.3
    if trained.adapter is not None:
        assert sorted(p.name for p in trained.adapter.iterdir() if p.is_dir()) == []
        config = json.loads((trained.adapter / "adapter_config.json").read_text())
        assert config["base_model_name_or_path"] == chosen.model
        assert implicit_rewards(trained.adapter, chosen.model, pairs, beta=1).margin.value == pytest.approx(
            found[0].margin.value, abs=1e-3
        )


def test_the_same_seed_gives_the_same_student(pairs: Any, settings: Dpo, tmp_path: Path) -> None:
    found = [train_dpo(pairs, settings, tmp_path / name, seed=seed) for name, seed in [("a", 1), ("b", 1), ("c", 2)]]
    assert found[0].rewards == found[1].rewards != found[2].rewards
    assert same(weights(found[0].model), weights(found[1].model))


def test_long_pairs_are_reported_not_cut(pairs: Any, pair: Any, base: dict[str, Any], tmp_path: Path) -> None:
    short = Dpo.model_validate(base | {"max_length": 80})
    rows = [*pairs, pair("q", "short", "long " * 20, task_id="big")]
    trained = train_dpo(rows, short, tmp_path / "student", seed=1)
    assert trained.rows == 6
    assert [(r.name, r.reason) for r in trained.left_out] == [("row 7 (task big)", "too_long")]
    record = read_record(tmp_path / "student")
    assert record is not None
    assert record["left_out"][0]["tokens"] > 80


def test_every_step_is_told_with_its_rewards(pairs: Any, settings: Dpo, tmp_path: Path) -> None:
    seen: list[StepInfo] = []
    trained = train_dpo(pairs, settings, tmp_path / "student", seed=1, on_step=seen.append)
    assert [(info.step, info.total, info.phase) for info in seen] == [(1, 3, "dpo"), (2, 3, "dpo"), (3, 3, "dpo")]
    assert tuple(info.rewards for info in seen) == trained.rewards
    assert tuple(info.loss for info in seen) == trained.losses


def test_the_record_says_what_decided_the_student(pairs: Any, settings: Dpo, tmp_path: Path) -> None:
    trained = train_dpo(pairs, settings, tmp_path / "student", seed=9)
    record = read_record(tmp_path / "student")
    assert record is not None
    assert Dpo.model_validate(record["settings"]) == settings
    assert (record["seed"], record["rows"], record["tokens"]) == (9, 6, trained.tokens)
    assert [step["accuracy"] for step in record["rewards"]] == pytest.approx([r.accuracy for r in trained.rewards])
    assert record["sft_losses"] == []


def test_gradient_accumulation_gives_the_step_of_one_large_batch(
    pairs: Any, base: dict[str, Any], tmp_path: Path
) -> None:
    whole = Dpo.model_validate(base | {"batch_size": 6, "epochs": 3})
    parts = Dpo.model_validate(base | {"batch_size": 2, "epochs": 3, "gradient_accumulation": 3})
    found = [train_dpo(pairs, s, tmp_path / str(i), seed=1) for i, s in enumerate((whole, parts))]
    assert found[0].losses == pytest.approx(found[1].losses, rel=1e-4)
    assert [r.margin for r in found[0].rewards] == pytest.approx([r.margin for r in found[1].rewards], abs=1e-4)


def test_nothing_is_written_to_the_terminal(
    pairs: Any, base: dict[str, Any], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    chosen = Dpo.model_validate(base | {"dpo": {"sft_first": {"epochs": 1}}})
    train_dpo(pairs, chosen, tmp_path / "student", seed=1)
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


# -- what goes wrong -----------------------------------------------------------------------------------------------


class Killed(Exception):
    pass


def test_a_training_that_breaks_leaves_nothing_of_its_own(pairs: Any, settings: Dpo, tmp_path: Path) -> None:
    def broken(info: StepInfo) -> None:
        if info.step == 2:
            raise Killed

    with pytest.raises(Killed):
        train_dpo(pairs, settings, tmp_path / "student", seed=1, on_step=broken)
    assert list(tmp_path.iterdir()) == []


def test_a_loss_that_is_no_number_stops_the_training(pairs: Any, settings: Dpo, tiny: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(tiny, broken)
    model = load_model(str(tiny), dtype="float32", device="cpu")
    model.model.norm.weight.data.fill_(float("nan"))
    model.save_pretrained(broken)
    with pytest.raises(TrainingError, match="step 1 of 3: the loss is nan"):
        train_dpo(pairs, settings.model_copy(update={"model": str(broken)}), tmp_path / "s", seed=1)
    assert not (tmp_path / "s").exists()
    with pytest.raises(TrainingError, match="not numbers"):
        implicit_rewards(broken, str(tiny), pairs)


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"lora": {"target_modules": ["no_such_layer"]}}, RecipeError, "no_such_layer"),
        ({"max_length": 10}, TrainingError, "max_length is 10"),
    ],
)
def test_settings_that_do_not_fit_the_model(
    pairs: Any, base: dict[str, Any], tmp_path: Path, changes: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        train_dpo(pairs, Dpo.model_validate(base | changes), tmp_path / "student", seed=1)
    assert not (tmp_path / "student").exists()


def test_no_pairs(settings: Dpo, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no pair"):
        train_dpo([], settings, tmp_path / "student", seed=1)


# -- the first batch -----------------------------------------------------------------------------------------------


def _left_padded(batch: dict[str, Any]) -> None:
    batch["input_ids"][0], batch["attention_mask"][0] = (
        batch["input_ids"][0].roll(1),
        batch["attention_mask"][0].roll(1),
    )
    batch["completion_mask"][0] = batch["completion_mask"][0].roll(1)


def _other_prompt(batch: dict[str, Any]) -> None:
    batch["input_ids"][2, 1] += 1


def _prompt_in_loss(batch: dict[str, Any]) -> None:
    batch["completion_mask"][2, 3] = 1


def _end_outside(batch: dict[str, Any]) -> None:
    last = int(batch["completion_mask"][3].nonzero()[-1, 0])
    batch["completion_mask"][3, last] = 0


def _swapped(batch: dict[str, Any]) -> None:
    for name in ("input_ids", "attention_mask", "completion_mask"):
        batch[name] = batch[name].roll(2, 0)


@pytest.mark.parametrize(
    ("break_it", "said"),
    [
        (_left_padded, "row 1 .task t0., chosen: the batch does not hold its prompt"),
        (_other_prompt, "row 1 .task t0., rejected: the batch does not hold"),
        (_prompt_in_loss, "row 1 .task t0., rejected: token 3 of the prompt is in the loss"),
        (_end_outside, "row 2 .task t1., rejected: the last label is token"),
        (_swapped, "row 1 .task t0., chosen"),
    ],
)
def test_a_faulty_batch_is_caught_before_the_first_step(break_it: Any, said: str, pairs: Any, tokenizer: Any) -> None:
    from trl.trainer.dpo_trainer import DataCollatorForPreference

    encoded = encode_pairs(read_pairs(pairs[:2]), tokenizer, 256)
    rows = [
        {"prompt_ids": r.prompt_ids, "chosen_ids": r.chosen_ids, "rejected_ids": r.rejected_ids} for r in encoded.rows
    ]
    batch = DataCollatorForPreference(pad_token_id=0)(rows)
    check_pairs(batch, encoded.rows, encoded.end_id)
    break_it(batch)
    with pytest.raises(TrainingError, match=said):
        check_pairs(batch, encoded.rows, encoded.end_id)


# -- a real model --------------------------------------------------------------------------------------------------

THINGS = [
    "apple",
    "bread",
    "river",
    "garden",
    "winter",
    "candle",
    "music",
    "horse",
    "bridge",
    "letter",
    "summer",
    "kitchen",
    "window",
    "forest",
    "island",
    "market",
]
HELD_OUT = ["lamp", "stone", "ship", "doctor", "cloud", "mountain", "bottle", "teacher"]


def _polite(pair: Any, thing: str) -> dict[str, Any]:
    """An obvious preference: a plain sentence over a shouted one."""
    return dict(
        pair(
            f"Tell me about the {thing}.",
            f"The {thing} is a useful thing, and many people like it.",
            f"WOW!!! THE {thing.upper()} IS SO AMAZING!!! YOU WILL LOVE IT!!!",
        )
    )


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_smollm2_learns_an_obvious_preference(pair: Any, tmp_path: Path) -> None:
    settings = Dpo.model_validate(
        {"model": SMOLLM2, "method": "dpo", "epochs": 1, "batch_size": 4, "learning_rate": 2e-4, "warmup_ratio": 0}
    )
    trained = train_dpo([_polite(pair, t) for t in THINGS], settings, tmp_path / "student", seed=1)
    held_out = [_polite(pair, t) for t in HELD_OUT]
    assert trained.adapter is not None
    found = implicit_rewards(trained.adapter, SMOLLM2, held_out)
    assert found.accuracy.value > 0.8
    assert found.margin.low > 0
    served = implicit_rewards(trained.model, SMOLLM2, held_out)  # in bfloat16 where the machine has it
    assert served.margin.value == pytest.approx(found.margin.value, rel=0.05)
    assert trained.losses[-1] < trained.losses[0]
