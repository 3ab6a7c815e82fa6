"""`student.trainer`: any field of trl's config by name and type, but those that would break a promise."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from stillroom.common.models.resolve import load_model
from stillroom.errors import InputError, MissingExtra, RecipeError
from stillroom.students.methods import trl_config, trl_fields
from stillroom.students.methods.distil import Distil
from stillroom.students.methods.dpo import Dpo
from stillroom.students.methods.kto import Kto
from stillroom.students.methods.orpo import Orpo
from stillroom.students.methods.registry import LoraSettings, StudentSettings
from stillroom.students.methods.sft import Sft
from stillroom.students.records import Plan


def sft(trainer: Mapping[str, Any], **more: Any) -> Sft:
    return Sft.model_validate({"model": "any", "trainer": trainer, **more})


REFUSED = [
    (Sft, {"learning_rate": 1e-3}, "set `student.learning_rate`"),
    (Sft, {"max_length": 512}, "set `student.max_length`"),
    (Sft, {"save_steps": 5}, "set `student.checkpoints`"),
    (Sft, {"eval_strategy": "steps"}, "set `student.validation`"),
    (Sft, {"seed": 1}, "set `student.seed`"),
    (Sft, {"assistant_only_loss": True}, "the answer alone under labels"),
    (Sft, {"dataloader_drop_last": True}, "leave rows out without a word"),
    (Sft, {"auto_find_batch_size": True}, "change in size"),
    (Sft, {"push_to_hub": True}, "nothing is sent to a hub"),
    (Sft, {"packing": True, "packing_strategy": "wrapped"}, "cuts rows in two"),
    (Sft, {"lr_scheduler_type": "cosine"}, "set `student.scheduler: cosine`"),
    (Sft, {"model_init_kwargs": {"dtype": "float16"}}, "attn_implementation alone"),
    (Sft, {"model_init_kwargs": "sdpa"}, "attn_implementation alone"),
    (Dpo, {"beta": 0.2}, "set `student.dpo.beta`"),
    (Dpo, {"loss_type": ["ipo"]}, "set `student.dpo.loss_type`"),
    (Dpo, {"sync_ref_model": True}, "stays as it is"),
    (Dpo, {"padding_free": True}, "trl has switched it off"),
    (Kto, {"desirable_weight": 2.0}, "set `student.kto.desirable_weight`"),
    (Kto, {"train_sampling_strategy": "random"}, "laid down before the first step"),
    (Orpo, {"loss_type": ["ipo"]}, "odds ratio"),
    (Distil, {"packing": True}, "compare whole rows"),
    (Distil, {"neftune_noise_alpha": 5}, "changes the noise"),
]


@pytest.mark.parametrize(("method", "trainer", "why"), REFUSED)
def test_fields_that_would_break_a_promise_are_refused_with_the_reason(
    method: type[StudentSettings], trainer: dict[str, Any], why: str
) -> None:
    more: dict[str, Any] = {"teacher": "any"} if method is Distil else {}
    with pytest.raises(ValidationError, match=why):
        method.model_validate({"model": "any", "trainer": trainer, **more})


def test_max_steps_would_be_that_of_both_trainings() -> None:
    given = {"model": "any", "trainer": {"max_steps": 3}}
    assert Dpo.model_validate(given).trainer == {"max_steps": 3}
    with pytest.raises(ValidationError, match="both trainings"):
        Dpo.model_validate({**given, "dpo": {"sft_first": True}})


UNKNOWN = [
    ({"neftune_noise": 5}, "did you mean 'neftune_noise_alpha'?"),
    ({"packing": "yes"}, r"student.trainer.packing is 'yes' \(str\), and trl .* takes bool"),
    ({"adam_beta2": "0.95"}, r"takes float"),
    ({"optim": "adamw_tourch"}, "does not take student.trainer"),
    ({"torch_empty_cache_steps": 2.5}, r"takes int or null"),
]


@pytest.mark.parametrize(("trainer", "said"), UNKNOWN)
def test_a_field_is_checked_by_name_type_and_value_before_anything_is_paid(trainer: Any, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        sft(trainer).check(Path(), 1)


@pytest.mark.parametrize(
    "trainer",
    [
        {},
        {"packing": True, "packing_strategy": "bfd"},
        {"optim": "adafactor", "adam_beta2": 0.95},
        {"gradient_checkpointing": True, "gradient_checkpointing_kwargs": {"use_reentrant": False}},
        {"lr_scheduler_type": "cosine_with_min_lr", "lr_scheduler_kwargs": {"min_lr": 1e-5}},
        {"neftune_noise_alpha": 5, "loss_type": "dft", "max_steps": 7},
    ],
)
def test_what_trl_takes_is_taken(trainer: Any) -> None:
    settings = sft(trainer)
    settings.check(Path(), 1)
    made = trl_config.config_of(settings, "SFTConfig", Plan("cpu", "float32", 7), Path("work"))
    assert {name: getattr(made, name) for name in trainer} == trainer
    assert made.seed == 7


def test_every_field_that_is_refused_is_one_of_trl() -> None:
    """A name that trl has dropped, or that was misspelled here, would refuse nothing."""
    import trl

    configs = (trl.SFTConfig, trl.DPOConfig, trl.KTOConfig)
    known = {field.name for config in configs for field in dataclasses.fields(config)}
    assert trl_fields.REFUSED.keys() | trl_fields.INSTEAD.keys() <= known
    for method in (Sft, Distil, Dpo, Kto, Orpo):
        of = {field.name for field in dataclasses.fields(getattr(trl, method.trl_config))}
        assert method.instead.keys() | method.unfit.keys() <= of


def test_a_student_of_before_keeps_its_name() -> None:
    plain = Sft(model="any")
    assert "trainer" not in plain.decides()
    assert plain.decides()["lora"].keys() == {"r", "alpha", "dropout", "target_modules"}
    assert sft({"packing": True}).decides()["trainer"] == {"packing": True}
    assert Sft(model="any", lora=LoraSettings(dora=True)).decides()["lora"]["dora"] is True


# -- what the fields do ---------------------------------------------------------------------------------------------


@pytest.fixture
def rows(row: Any) -> list[dict[str, Any]]:
    return [row(f"{a} + {'1' * (a % 3 + 1)}?", str(a + 1) * (a % 4 + 1), task_id=f"t{a}") for a in range(8)]


def settings(tiny: Path, trainer: Mapping[str, Any], **more: Any) -> Sft:
    given = {"epochs": 1, "batch_size": 8, "learning_rate": 1e-2, "dtype": "float32", "warmup_ratio": 0}
    return Sft.model_validate({"model": str(tiny), "trainer": trainer, "max_length": 64, **given, **more})


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(load_model(str(folder), dtype="float32", device="cpu").state_dict())


def test_packed_rows_give_the_loss_and_the_gradient_of_rows_apart(rows: Any, tiny: Path, tmp_path: Path) -> None:
    plain = settings(tiny, {}).train(rows, tmp_path / "plain", seed=1)
    packed = settings(tiny, {"packing": True}).train(rows, tmp_path / "packed", seed=1)
    assert (plain.steps, packed.steps, packed.rows) == (1, 1, 8)
    assert packed.losses[0] == pytest.approx(plain.losses[0], abs=1e-5)
    assert packed.tokens == plain.tokens
    left, right = weights(plain.model), weights(packed.model)
    assert all(torch.allclose(left[name], right[name], atol=1e-5) for name in left)


def test_rows_end_to_end_without_padding_give_the_same(rows: Any, tiny: Path, tmp_path: Path) -> None:
    plain = settings(tiny, {}).train(rows, tmp_path / "plain", seed=1)
    free = settings(tiny, {"padding_free": True}).train(rows, tmp_path / "free", seed=1)
    assert free.losses[0] == pytest.approx(plain.losses[0], abs=1e-5)


@pytest.mark.parametrize(
    "trainer",
    [
        {"gradient_checkpointing": True},
        {"model_init_kwargs": {"attn_implementation": "eager"}},
        {"pad_to_multiple_of": 16},
    ],
)
def test_how_it_is_computed_changes_no_loss(trainer: Any, rows: Any, tiny: Path, tmp_path: Path) -> None:
    plain = settings(tiny, {}, epochs=3).train(rows, tmp_path / "plain", seed=1)
    other = settings(tiny, trainer, epochs=3).train(rows, tmp_path / "other", seed=1)
    assert other.losses == pytest.approx(plain.losses, abs=1e-4)


@pytest.mark.parametrize(
    "trainer",
    [
        {"neftune_noise_alpha": 5},
        {"loss_type": "dft"},
        {"optim": "adafactor"},
        {"adam_beta1": 0.5},
    ],
)
def test_what_changes_the_training_arrives_in_it(trainer: Any, rows: Any, tiny: Path, tmp_path: Path) -> None:
    plain = settings(tiny, {}, epochs=3).train(rows, tmp_path / "plain", seed=1)
    other = settings(tiny, trainer, epochs=3).train(rows, tmp_path / "other", seed=1)
    assert other.losses != pytest.approx(plain.losses, abs=1e-4)


def test_dft_is_the_loss_of_its_paper(rows: Any, tiny: Path, tmp_path: Path) -> None:
    """−p·log p of each label, the factor p without a gradient (https://arxiv.org/abs/2508.05629): at the first step
    the loss is the mean of that, and that of plain SFT the mean of −log p."""
    dft = settings(tiny, {"loss_type": "dft"}).train(rows, tmp_path / "dft", seed=1).losses[0]
    plain = settings(tiny, {}).train(rows, tmp_path / "plain", seed=1).losses[0]
    # A random model gives every token about the same chance p, so that the two differ by that factor.
    assert dft == pytest.approx(plain * torch.exp(torch.tensor(-plain)).item(), rel=0.15)


def test_an_attention_that_is_not_there_is_told(tiny: Path, rows: Any, tmp_path: Path) -> None:
    wanted = settings(tiny, {"model_init_kwargs": {"attn_implementation": "flash_attention_2"}})
    with pytest.raises(InputError, match="FlashAttention2"):
        wanted.train(rows, tmp_path / "student", seed=1)


ADAPTERS = [
    {"rslora": True},
    {"dora": True},
    {"modules_to_save": ["lm_head"]},
    {"dora": True, "rslora": True, "modules_to_save": ["embed_tokens"]},
]


@pytest.mark.parametrize("lora", ADAPTERS)
def test_a_merged_student_computes_what_its_adapter_does(lora: Any, rows: Any, tiny: Path, tmp_path: Path) -> None:
    import peft

    trained = settings(tiny, {}, lora={"r": 4, "alpha": 8, **lora}, epochs=5).train(rows, tmp_path / "s", seed=1)
    assert trained.adapter is not None
    base = load_model(str(tiny), dtype="float32", device="cpu")
    adapted = peft.PeftModel.from_pretrained(base, str(trained.adapter)).eval()
    ids = torch.arange(1, 9)[None]
    with torch.no_grad():
        wanted = adapted(input_ids=ids).logits
        found = load_model(str(trained.model), dtype="float32", device="cpu")(input_ids=ids).logits
        before = load_model(str(tiny), dtype="float32", device="cpu")(input_ids=ids).logits
    torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(found, before, atol=1e-2)


@pytest.mark.parametrize("modules", [["lm_head"], ["embed_tokens"], ["embed_tokens", "lm_head"]])
def test_weights_that_are_tied_stay_tied(
    modules: list[str], rows: Any, make_model: Any, make_tokenizer: Any, tmp_path: Path
) -> None:
    """Trained apart they would be tied again by whoever loads the student, and say something else."""
    folder = tmp_path / "tied"
    make_model(tie_word_embeddings=True).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    trained = settings(folder, {}, lora={"r": 4, "modules_to_save": modules}, epochs=5).train(
        rows, tmp_path / "student", seed=1
    )
    found = load_model(str(trained.model), dtype="float32", device="cpu")
    embedded, head = found.get_input_embeddings().weight, found.get_output_embeddings().weight
    assert torch.equal(embedded, head)
    assert not torch.equal(embedded, load_model(str(folder), dtype="float32", device="cpu").lm_head.weight)
    # What was trained is what was saved: the last loss goes on from there.
    again = settings(trained.model, {}, learning_rate=1e-9).train(rows, tmp_path / "again", seed=1)
    assert again.losses[0] <= trained.losses[-1] + 1e-3


# -- weights in fewer bits ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def wide(make_model: Any, make_tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model whose layers have whole blocks of 64 weights."""
    folder = tmp_path_factory.mktemp("models") / "wide"
    make_model(hidden_size=128, intermediate_size=256, head_dim=32).save_pretrained(folder)
    make_tokenizer().save_pretrained(folder)
    return folder


@pytest.mark.parametrize("quantise", ["nf4", "int8"])
def test_a_student_trained_in_fewer_bits_is_merged_into_the_weights_it_was_trained_on(
    quantise: str, rows: Any, wide: Path, tmp_path: Path
) -> None:
    pytest.importorskip("bitsandbytes")
    import peft

    lora = {"r": 4, "alpha": 8, "quantise": quantise}
    trained = settings(wide, {}, lora=lora, epochs=10, learning_rate=5e-2).train(rows, tmp_path / "student", seed=1)
    assert trained.losses[-1] < trained.losses[0] - 0.2
    ids = torch.arange(1, 9)[None]
    base = load_model(str(wide), "float32", "cpu", quantised=quantise)  # type: ignore[arg-type]
    adapted = peft.PeftModel.from_pretrained(base, str(trained.adapter)).eval()
    with torch.no_grad():
        wanted = adapted(input_ids=ids).logits
        merged = load_model(str(trained.model), dtype="float32", device="cpu")
        found = merged(input_ids=ids).logits
        full = load_model(str(wide), dtype="float32", device="cpu")(input_ids=ids).logits
    # int8 also rounds what it multiplies with, which merged weights do not.
    torch.testing.assert_close(found, wanted, atol=2e-3 if quantise == "nf4" else 5e-2, rtol=0)
    assert (found - wanted).abs().max() < 0.1 * (found - full).abs().max()
    assert not hasattr(merged.config, "quantization_config")


def test_adapters_on_weights_in_fewer_bits_are_trained_in_float32(rows: Any, wide: Path, tmp_path: Path) -> None:
    pytest.importorskip("bitsandbytes")
    from safetensors.torch import load_file

    trained = settings(wide, {}, lora={"r": 4, "quantise": "nf4"}).train(rows, tmp_path / "student", seed=1)
    assert trained.adapter is not None
    saved = load_file(trained.adapter / "adapter_model.safetensors")
    assert {weight.dtype for weight in saved.values()} == {torch.float32}
    assert any((weight != weight.bfloat16().float()).any() for weight in saved.values())


def test_fewer_bits_need_a_package_and_whole_weights(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with pytest.raises(ValidationError, match="dora"):
        LoraSettings.model_validate({"dora": True, "quantise": "nf4"})
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match="qlora"):
        settings(Path("any"), {}, lora={"quantise": "nf4"}).check(Path(), 1)
