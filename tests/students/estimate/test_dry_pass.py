"""A pass without numbers: it counts what a real one keeps and computes, on any depth, and touches nothing."""

from __future__ import annotations

import logging
from typing import Any, NamedTuple

import pytest
import torch
import transformers

from stillroom.students.estimate import dry_pass as dry
from stillroom.students.estimate.dry_pass import CannotTell, Head, Read, Shape, dry_pass
from stillroom.students.methods.registry import LoraSettings
from tests.conftest import tiny as models

LORA = LoraSettings(r=4)
SHAPES: dict[str, dict[str, Any]] = {
    "lora": {"lora": LORA},
    "lora, bfloat16": {"lora": LORA, "dtype": "bfloat16"},
    "whole": {},
    "whole, bfloat16": {"autocast": True},
    "whole, two passes": {"accumulates": True},
    "recomputed": {"lora": LORA, "recompute": True},
    "whole, recomputed": {"recompute": True},
}


def shape(name: str = "lora", kind: str = "Llama", **config: Any) -> Shape:
    given: dict[str, Any] = {"dtype": "float32", **SHAPES[name]}
    return Shape(models.make_model(kind, **config).config, **given)


class Kept(NamedTuple):
    """Of a real forward pass, in bytes: what autograd saves for the backward pass, and what is there in all, weights
    aside."""

    saved: int
    there: int


def kept_for_real(of: Shape, read: Read) -> Kept:
    with torch.random.fork_rng():
        model = dry.on_meta(transformers, of, int(of.config.num_hidden_layers))
        plain = dry.filled(model, of, lambda like: torch.ones(like.shape, dtype=like.dtype))
    weights = {each.untyped_storage().data_ptr() for each in [*plain.parameters(), *plain.buffers()]}
    saved: dict[int, int] = {}

    def keep(tensor: Any) -> Any:
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            saved[storage.data_ptr()] = storage.nbytes()
        return tensor

    with dry._counter() as counted, torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        losses = dry.forward(plain, of, [read])
        there = counted.now
    assert losses[0].requires_grad
    return Kept(sum(saved.values()), there)


@pytest.mark.parametrize("name", ["lora", "lora, bfloat16", "whole"])
@pytest.mark.parametrize("kind", ["Llama", "Qwen3", "Gemma2"])
def test_what_is_kept_is_what_is_kept_of_a_real_pass(name: str, kind: str) -> None:
    read = Read(3, 40, 50, "whole")
    of = shape(name, kind)
    real, told = kept_for_real(of, read), dry_pass(of, [read]).whole.kept
    assert told == real.there
    assert real.saved <= told <= 1.3 * real.saved


@pytest.mark.parametrize(
    ("name", "head"),
    [
        ("lora", "whole"),
        ("lora, bfloat16", "trl"),
        ("whole", "scored"),
        ("whole, bfloat16", "whole"),
        ("whole, two passes", "whole"),
        ("recomputed", "tiles"),
        ("whole, recomputed", "parts"),
    ],
)
def test_a_few_layers_tell_of_many(name: str, head: Head) -> None:
    many, read = shape(name, num_hidden_layers=9), Read(2, 24, 30, head, 2)
    told, run = dry_pass(many, [read]).whole, dry._run(many, 9, [read])
    assert list(told) == pytest.approx(list(run), rel=0.02)
    assert told.weights == run.weights


def test_layers_of_several_kinds_are_all_run() -> None:
    kinds = {"num_hidden_layers": 4, "layer_types": ["sliding_attention", "full_attention"] * 2}
    gemma = shape("lora", "Gemma2", **kinds)
    assert dry_pass(gemma, [Read(1, 16, 8, "whole")]).whole == dry._run(gemma, 4, [Read(1, 16, 8, "whole")])


def test_weights_and_trained_numbers_are_those_of_the_model() -> None:
    model = models.make_model()
    every = sum(weight.numel() for weight in model.parameters())
    whole = dry_pass(Shape(model.config, "float32"), [Read(1, 8, 4, "whole")]).whole
    adapted = dry_pass(Shape(model.config, "float32", lora=LORA), [Read(1, 8, 4, "whole")]).whole
    assert (whole.weights, whole.trained) == (4 * every, every)
    assert adapted.weights == 4 * (every + adapted.trained)
    # Four numbers of each side of the seven layers' matrices.
    assert adapted.trained == 2 * 4 * (4 * 32 + 32 + 32 + 2 * 16 + 3 * (32 + 64))


def test_products_are_counted_as_they_are_computed() -> None:
    model, read = models.make_model(tie_word_embeddings=False), Read(1, 16, 16, "whole")
    layers = dry_pass(Shape(model.config, "float32"), [read._replace(head="none", trained=False)]).whole.flops
    weights = sum(weight.numel() for name, weight in model.named_parameters() if "proj" in name)
    attention = 2 * 2 * 16 * 16 * 32 * 2
    assert layers == 2 * 16 * weights + attention
    head = dry_pass(Shape(model.config, "float32"), [read]).rest.flops
    assert head == 3 * 2 * 16 * 32 * 260


@pytest.mark.parametrize(
    ("less", "more"),
    [
        ("recomputed", "lora"),
        ("lora", "whole"),
        ("lora, bfloat16", "lora"),
        ("whole", "whole, two passes"),
    ],
)
def test_what_takes_less(less: str, more: str) -> None:
    deep: dict[str, Any] = {"num_hidden_layers": 8}
    read = Read(2, 32, 8, "whole")
    assert dry_pass(shape(less, **deep), [read]).whole.peak < dry_pass(shape(more, **deep), [read]).whole.peak


def test_a_read_without_a_gradient_keeps_nothing() -> None:
    alone, read = dry_pass(shape(), [Read(2, 32, 8, "whole")]), Read(2, 32, 8, "whole")
    both = dry_pass(shape(), [read, read._replace(trained=False)])
    assert both.whole.kept - alone.whole.kept < 0.1 * alone.whole.kept
    assert both.whole.flops > 1.2 * alone.whole.flops


def test_it_touches_no_random_state_and_says_nothing(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    before = torch.get_rng_state()
    dropout = Shape(models.make_model(attention_dropout=0.1).config, "float32", lora=LoraSettings(dropout=0.5))
    other = shape("lora", "OPT", word_embed_proj_dim=32, ffn_dim=64)
    torch.set_rng_state(before)
    with caplog.at_level(logging.DEBUG, "stillroom"):
        dry_pass(dropout, [Read(2, 16, 8, "whole")])
        with pytest.raises(CannotTell):
            dry_pass(other, [Read(2, 16, 8, "whole")])
    assert torch.equal(torch.get_rng_state(), before)
    assert capfd.readouterr() == ("", "")
    assert caplog.messages == []


def test_what_depends_on_values_is_not_guessed() -> None:
    with pytest.raises(CannotTell, match="which experts"):
        dry_pass(shape("lora", "Mixtral"), [Read(2, 16, 8, "whole")])
