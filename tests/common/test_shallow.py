"""Models with some of their layers left out: by name, made once, told apart."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from stillroom.common.models import packaged
from stillroom.common.models.resolve import fingerprint, load_model, load_tokenizer, resolve_model
from stillroom.common.models.shallow import kept, parse
from stillroom.errors import InputError
from tests.conftest import tiny as tiny_models


@pytest.fixture
def deep(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("STILLROOM_CACHE", str(tmp_path / "cache"))
    folder = tmp_path / "deep"
    tiny_models.make_model(num_hidden_layers=5).save_pretrained(folder)
    tiny_models.make_tokenizer().save_pretrained(folder)
    return folder


@pytest.mark.parametrize("layers", [1, 2, 3, 4, 5])
def test_first_and_last_stay_and_others_evenly_between(layers: int) -> None:
    found = kept(layers, 5)
    assert len(set(found)) == layers
    assert found[0] == 0
    assert found[-1] == (4 if layers > 1 else 0)
    gaps = [b - a for a, b in pairwise(found)]
    assert max(gaps, default=1) - min(gaps, default=1) <= 1


def test_it_is_the_model_with_those_layers_only(deep: Path) -> None:
    whole, part = load_model(str(deep), "float32", "cpu"), load_model(f"shallow:3:{deep}", "float32", "cpu")
    assert part.config.num_hidden_layers == 3
    for layer, of in enumerate((0, 2, 4)):
        pairs = zip(part.model.layers[layer].parameters(), whole.model.layers[of].parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)
    whole.model.layers = torch.nn.ModuleList(whole.model.layers[i] for i in (0, 2, 4))
    for place, layer in enumerate(whole.model.layers):
        layer.self_attn.layer_idx = place
    ids = torch.arange(9)[None]
    assert torch.equal(part(ids).logits, whole(ids).logits)
    assert load_tokenizer(f"shallow:3:{deep}").get_vocab() == load_tokenizer(str(deep)).get_vocab()


def test_it_is_made_once_and_again_for_other_weights(deep: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    name = f"shallow:2:{deep}"
    folder, named = resolve_model(name).path, fingerprint(name)
    monkeypatch.setattr(packaged, "kept_in", lambda *_: pytest.fail("it is there"))
    assert resolve_model(name).path == folder
    assert fingerprint(f"shallow:3:{deep}") != named
    monkeypatch.undo()
    model: Any = load_model(str(deep), "float32", "cpu")
    model.get_output_embeddings().weight.data.mul_(2)
    model.save_pretrained(deep)
    assert fingerprint(name) != named


@pytest.mark.parametrize(
    "name", ["shallow:", "shallow:0:x", "shallow:3", "shallow:3:", "shallow:a:x", "shallow:3:shallow:2:x"]
)
def test_a_name_that_is_cut_short_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="write shallow:20:"):
        parse(name)


def test_more_layers_than_there_are_are_refused(deep: Path) -> None:
    with pytest.raises(InputError, match=r"6 layers of .* which has 5"):
        resolve_model(f"shallow:6:{deep}")
