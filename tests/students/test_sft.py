from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import torch

from stillroom.common.models.resolve import fingerprint, load_model, load_tokenizer
from stillroom.errors import InputError, MissingFile, NoRoom, RecipeError, TrainingError
from stillroom.students.export import save as saving
from stillroom.students.export.save import read_record
from stillroom.students.methods.sft import Sft
from stillroom.students.records import StepInfo, Trained

SMOLLM2 = "embedded:smollm2-135m-instruct"


def train_sft(rows: Any, settings: Sft, out: Path, **more: Any) -> Trained:
    return settings.train(rows, out, **more)


@pytest.fixture
def rows(row: Any) -> list[dict[str, Any]]:
    return [row(f"{a} + 1?", str(a + 1), task_id=f"t{a}") for a in range(6)]


@pytest.fixture
def settings(tiny: Path) -> Sft:
    return Sft(model=str(tiny), epochs=1, batch_size=2, learning_rate=1e-2, dtype="float32", warmup_ratio=0)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(load_model(str(folder), dtype="float32", device="cpu").state_dict())


def same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(left[name], right[name]) for name in left)


def ask(folder: Path, question: str, tokens: int = 12) -> str:
    """What the student in `folder` says, greedily, as saved: its own tokenizer, template and generation settings."""
    tokenizer, model = load_tokenizer(str(folder)), load_model(str(folder), dtype="float32", device="cpu")
    turns = [{"role": "user", "content": question}]
    asked = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    said = model.generate(**asked, max_new_tokens=tokens, do_sample=False)
    return str(tokenizer.decode(said[0, asked["input_ids"].shape[1] :]))


def test_a_lora_student_is_saved_whole_and_loads(rows: Any, settings: Sft, tmp_path: Path) -> None:
    trained = train_sft(rows, settings, tmp_path / "student", seed=1)
    assert trained.adapter == tmp_path / "student" / "adapter"
    assert trained.model == trained.merged == tmp_path / "student" / "merged"
    assert (trained.rows, trained.steps, trained.left_out) == (6, 3, ())
    before, after = weights(Path(settings.model)), weights(trained.model)
    assert not same(before, after)
    from_adapter = weights(trained.adapter)
    assert all(torch.allclose(after[name], from_adapter[name], atol=1e-6) for name in after)


def test_others_may_read_the_student_as_any_new_file(rows: Any, settings: Sft, tmp_path: Path) -> None:
    """safetensors leaves its files to their owner alone; whoever serves the student is often somebody else."""
    out = train_sft(rows, settings, tmp_path / "student", seed=1).adapter
    assert out is not None
    (tmp_path / "new").touch()
    files = [path for path in out.parent.rglob("*") if path.is_file()]
    assert {path.stat().st_mode for path in files} == {(tmp_path / "new").stat().st_mode}
    assert {path.parent.name for path in files if path.suffix == ".safetensors"} == {"adapter", "merged"}


def test_the_saved_student_knows_where_it_ends(rows: Any, settings: Sft, tmp_path: Path) -> None:
    folder = train_sft(rows, settings, tmp_path / "student", seed=1).model
    generation = json.loads((folder / "generation_config.json").read_text())
    tokenizer = load_tokenizer(str(folder))
    assert generation["eos_token_id"] == tokenizer.eos_token_id == 2
    assert generation["pad_token_id"] == tokenizer.pad_token_id == 0
    assert tokenizer.chat_template == load_tokenizer(settings.model).chat_template


def test_training_teaches_the_answer_and_to_stop(row: Any, settings: Sft, tmp_path: Path) -> None:
    rows = [row("aa", "xyz"), row("bb", "wv")]
    taught = settings.model_copy(update={"epochs": 60, "lora": None})
    trained = train_sft(rows, taught, tmp_path / "student", seed=1)
    assert trained.losses[-1] < 0.1 < trained.losses[0]
    assert ask(trained.model, "aa") == "xyz<|im_end|>"
    assert ask(trained.model, "bb") == "wv<|im_end|>"


def test_full_fine_tuning_has_no_adapter(rows: Any, settings: Sft, tmp_path: Path) -> None:
    full = settings.model_copy(update={"lora": None, "save_merged": False})
    trained = train_sft(rows, full, tmp_path / "student", seed=1)
    assert trained.adapter is None
    assert trained.model == tmp_path / "student" / "merged"
    changed = [n for n, w in weights(trained.model).items() if not torch.equal(w, weights(Path(full.model))[n])]
    assert any("embed_tokens" in name for name in changed)


def test_the_adapter_alone_if_that_is_wanted(rows: Any, settings: Sft, tmp_path: Path) -> None:
    trained = train_sft(rows, settings.model_copy(update={"save_merged": False}), tmp_path / "student", seed=1)
    assert trained.model == trained.adapter == tmp_path / "student" / "adapter"
    assert not (tmp_path / "student" / "merged").exists()
    config = json.loads((trained.model / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == settings.model


def test_the_same_seed_gives_the_same_student(rows: Any, settings: Sft, tmp_path: Path) -> None:
    found = [train_sft(rows, settings, tmp_path / name, seed=seed) for name, seed in [("a", 1), ("b", 1), ("c", 2)]]
    assert found[0].losses == found[1].losses != found[2].losses
    assert same(weights(found[0].model), weights(found[1].model))


def test_the_students_own_seed_goes_before_the_runs(rows: Any, settings: Sft, tmp_path: Path) -> None:
    own = settings.model_copy(update={"seed": 1})
    found = [train_sft(rows, s, tmp_path / n, seed=r) for n, s, r in [("a", own, 5), ("b", settings, 1)]]
    assert found[0].losses == found[1].losses


def test_the_flat_pass_trains_the_same_student(
    rows: Any, settings: Sft, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flat = train_sft(rows, settings.model_copy(update={"batch_size": 6}), tmp_path / "a", seed=1)
    monkeypatch.setattr("stillroom.students.methods.trainer.can_flatten", lambda config: False)
    padded = train_sft(rows, settings.model_copy(update={"batch_size": 6}), tmp_path / "b", seed=1)
    assert flat.losses == pytest.approx(padded.losses, rel=1e-4)
    assert flat.tokens == padded.tokens


def test_gradient_accumulation_gives_the_step_of_one_large_batch(rows: Any, settings: Sft, tmp_path: Path) -> None:
    whole = train_sft(rows, settings.model_copy(update={"batch_size": 6}), tmp_path / "a", seed=1)
    parts = settings.model_copy(update={"batch_size": 2, "gradient_accumulation": 3})
    assert train_sft(rows, parts, tmp_path / "b", seed=1).losses == pytest.approx(whole.losses, rel=1e-4)


def test_long_rows_are_reported_not_cut(rows: Any, row: Any, settings: Sft, tmp_path: Path) -> None:
    short = settings.model_copy(update={"max_length": 70})
    trained = train_sft([*rows, row("q", "long " * 20, task_id="big")], short, tmp_path / "student", seed=1)
    assert trained.rows == 6
    assert [(r.name, r.reason) for r in trained.left_out] == [("row 7 (task big)", "too_long")]
    record = read_record(tmp_path / "student")
    assert record is not None
    assert record["left_out"][0]["tokens"] > 70


def test_rows_longer_than_the_context_are_left_out_too(rows: Any, row: Any, settings: Any, tmp_path: Path) -> None:
    trained = train_sft([*rows, row("q", "x" * 300)], settings, tmp_path / "student", seed=1)
    assert [r.reason for r in trained.left_out] == ["too_long"]


def test_every_step_is_told(rows: Any, settings: Sft, tmp_path: Path) -> None:
    seen: list[StepInfo] = []
    trained = train_sft(rows, settings, tmp_path / "student", seed=1, on_step=seen.append)
    assert [(info.step, info.total) for info in seen] == [(1, 3), (2, 3), (3, 3)]
    assert tuple(info.loss for info in seen) == trained.losses
    assert all(info.tokens_per_s > 0 for info in seen)
    assert seen[0].learning_rate == settings.learning_rate


def test_the_record_says_what_decided_the_student(rows: Any, settings: Sft, tmp_path: Path) -> None:
    trained = train_sft(rows, settings, tmp_path / "student", seed=9)
    record = read_record(tmp_path / "student")
    assert record is not None
    assert Sft.model_validate(record["settings"]) == settings
    assert (record["seed"], record["rows"], record["tokens"]) == (9, 6, trained.tokens)
    assert (record["end_token"], record["pad_token"]) == ("<|im_end|>", "<|endoftext|>")
    assert record["losses"] == pytest.approx(trained.losses, abs=1e-6)
    assert record["versions"]["trl"]


def test_the_system_prompt_is_trained_with(rows: Any, settings: Sft, tmp_path: Path) -> None:
    plain = train_sft(rows, settings, tmp_path / "a", seed=1)
    told = train_sft(rows, settings.model_copy(update={"system": "Be brief."}), tmp_path / "b", seed=1)
    assert told.tokens - plain.tokens == 6 * len("\x01system\nBe brief.\x02\n")  # two special tokens, then bytes


def test_nothing_is_written_to_the_terminal(
    rows: Any, settings: Sft, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    train_sft(rows, settings, tmp_path / "student", seed=1)
    captured = capfd.readouterr()
    assert (captured.out, captured.err) == ("", "")


class Room(NamedTuple):
    """What shutil.disk_usage gives, in bytes."""

    total: int
    used: int
    free: int


class Killed(Exception):
    pass


def test_a_training_that_breaks_leaves_nothing_of_its_own(rows: Any, settings: Sft, tmp_path: Path) -> None:
    def broken(info: StepInfo) -> None:
        if info.step == 2:
            raise Killed

    with pytest.raises(Killed):
        train_sft(rows, settings, tmp_path / "student", seed=1, on_step=broken)
    assert list(tmp_path.iterdir()) == []


def test_an_earlier_student_stays_until_the_next_is_whole(
    rows: Any, settings: Sft, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = train_sft(rows, settings, tmp_path / "student", seed=1)
    kept = weights(first.model)

    def full_disk(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(saving, "merge_adapter", full_disk)
        with pytest.raises(TrainingError, match=r"No space left on device.*Free some space"):
            train_sft(rows, settings, tmp_path / "student", seed=2)
    assert same(weights(first.model), kept)
    second = train_sft(rows, settings, tmp_path / "student", seed=2)
    assert not same(weights(second.model), kept)
    assert [path.name for path in tmp_path.iterdir()] == ["student"]


def test_what_a_killed_training_left_is_cleared(rows: Any, settings: Sft, tmp_path: Path) -> None:
    (tmp_path / ".student.part" / "merged").mkdir(parents=True)
    (tmp_path / ".student.part" / "merged" / "half").write_text("half a model")
    assert read_record(tmp_path / "student") is None
    train_sft(rows, settings, tmp_path / "student", seed=1)
    assert sorted(p.name for p in (tmp_path / "student").iterdir()) == ["adapter", "merged", "training.json"]
    assert [path.name for path in tmp_path.iterdir()] == ["student"]


def test_a_loss_that_is_no_number_stops_the_training(rows: Any, settings: Sft, tiny: Path, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    shutil.copytree(tiny, broken)
    model = load_model(str(tiny), dtype="float32", device="cpu")
    model.model.norm.weight.data.fill_(float("nan"))
    model.save_pretrained(broken)
    steps: list[StepInfo] = []
    with pytest.raises(TrainingError, match="step 1 of 3: the loss is nan"):
        train_sft(
            rows, settings.model_copy(update={"model": str(broken)}), tmp_path / "s", seed=1, on_step=steps.append
        )
    assert steps == []
    assert not (tmp_path / "s").exists()


def test_a_place_that_cannot_be_written(rows: Any, settings: Sft, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(NoRoom, match="cannot be written"):
        train_sft(rows, settings, tmp_path / "file" / "student", seed=1)


def test_a_disk_too_small_is_told_before_training(
    rows: Any, settings: Sft, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shutil.disk_usage", lambda path: Room(total=100, used=99, free=1))
    with pytest.raises(NoRoom, match="0 MB are free"):
        train_sft(rows, settings, tmp_path / "student", seed=1)


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"model": "./nowhere"}, MissingFile, "nowhere"),
        ({"lora": {"target_modules": ["no_such_layer"]}}, RecipeError, "no_such_layer"),
        ({"lora": {"target_modules": ["lm_head"]}}, RecipeError, "lm_head"),
        ({"max_length": 10}, TrainingError, "max_length is 10"),
    ],
)
def test_settings_that_do_not_fit_the_model(
    rows: Any, settings: Sft, tmp_path: Path, changes: dict[str, Any], error: type[Exception], said: str
) -> None:
    unfit = Sft.model_validate(settings.model_dump() | changes)
    with pytest.raises(error, match=said):
        train_sft(rows, unfit, tmp_path / "student", seed=1)
    assert not (tmp_path / "student").exists()


def test_no_rows(settings: Sft, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no row"):
        train_sft([], settings, tmp_path / "student", seed=1)


def test_saving_asks_nobody_for_a_base_that_is_no_folder(
    rows: Any, settings: Sft, tiny: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hub name, or `embedded:…`: peft would look for it on the hub, and warn when there is no network."""
    loaders = {"load_model": load_model, "load_tokenizer": load_tokenizer, "fingerprint": fingerprint}
    for name, load in loaders.items():
        monkeypatch.setattr(f"stillroom.students.methods.common.{name}", partial(_in_place_of, load, str(tiny)))
    trained = train_sft(rows, settings.model_copy(update={"model": "some/hub-model"}), tmp_path / "student", seed=1)
    assert trained.adapter is not None
    config = json.loads((trained.adapter / "adapter_config.json").read_text())
    assert config["base_model_name_or_path"] == "some/hub-model"


def _in_place_of(load: Callable[..., Any], folder: str, name: str, *more: Any) -> Any:
    assert name == "some/hub-model"
    return load(folder, *more)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_student_learns_in_the_type_that_the_user_names(
    rows: Any, settings: Sft, tmp_path: Path, dtype: str
) -> None:
    """With a tiny model: a processor that emulates bfloat16 takes minutes for a real one."""
    named = settings.model_copy(update={"dtype": dtype, "epochs": 4})
    trained = train_sft(rows, named, tmp_path / "student", seed=1)
    assert trained.losses[-1] < trained.losses[0]
    assert trained.merged is not None
    assert str(load_model(str(trained.merged), dtype=dtype, device="cpu").dtype) == f"torch.{dtype}"
    assert json.loads((trained.merged / "config.json").read_text())["dtype"] == dtype
    assert json.loads((trained.folder / "training.json").read_text())["dtype"] == dtype


@pytest.mark.slow
def test_smollm2_learns(row: Any, tmp_path: Path) -> None:
    """In the type of number that this machine computes in."""
    rows = [row(f"What is {a} + {a}?", f"{a} + {a} = {2 * a}. The answer is {2 * a}.") for a in range(2, 10)]
    settings = Sft.model_validate({"model": SMOLLM2, "epochs": 4, "learning_rate": 1e-3, "warmup_ratio": 0})
    trained = train_sft(rows, settings, tmp_path / "student", seed=1)
    assert trained.losses[-1] < 0.5 * trained.losses[0]
    assert ask(trained.model, "What is 3 + 3?", 24).endswith("<|im_end|>")
