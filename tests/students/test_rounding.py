from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from stillroom.students.export.save import merge_adapter, round_weights, rounded

BF16 = torch.bfloat16


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@given(
    st.lists(st.floats(-(2.0**100), 2.0**100, width=32, allow_subnormal=False), min_size=1, max_size=20),
    st.integers(0, 99),
)
def test_a_value_goes_to_one_of_its_two_neighbours(values: list[float], seed: int) -> None:
    given = torch.tensor(values)
    found = rounded(given, BF16, generator(seed)).float()
    below = (given.view(torch.int32) & -(1 << 16)).view(torch.float32)  # towards 0
    above = ((given.view(torch.int32) & -(1 << 16)) + (1 << 16)).view(torch.float32)
    assert bool(((found == below) | (found == above)).all())
    assert torch.equal(found[given == below], given[given == below])


@pytest.mark.parametrize("value", [1.001, -1.001, 3e-5, -0.2503])
def test_the_mean_is_kept(value: float) -> None:
    found = rounded(torch.full((200_000,), value), BF16, generator()).float()
    step = float((found.max() - found.min()).item())
    assert step > 0
    assert found.mean(dtype=torch.float64).item() == pytest.approx(value, abs=5 * step / 2 / 200_000**0.5)


def test_a_small_change_of_all_weights_is_not_lost() -> None:
    base = torch.randn(100_000, generator=generator(1)).to(BF16).float()
    trained = base * 1.0005
    assert torch.equal(trained.to(BF16).float(), base)  # to the nearest: all of it is gone
    kept = (rounded(trained, BF16, generator()).float() - base) @ base / (base @ base)
    assert kept.item() == pytest.approx(0.0005, rel=0.05)


def test_other_dtypes_are_as_they_were() -> None:
    given = torch.randn(9)
    assert rounded(given, torch.float32, generator()) is given


@pytest.mark.parametrize("dtype", [torch.float32, BF16])
def test_merging_adds_the_adapter(dtype: Any, make_model: Callable[..., Any]) -> None:
    import peft

    def trained() -> Any:
        base = make_model().to(dtype)
        model = peft.get_peft_model(base, peft.LoraConfig(target_modules="all-linear", r=4, lora_alpha=8))
        for name, weight in model.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(weight, std=0.02, generator=generator(len(name)))
        return model

    before = {name: weight.float() for name, weight in make_model().to(dtype).named_parameters()}
    exact = trained().float().merge_and_unload().state_dict()
    found = merge_adapter(trained(), dtype, seed=1).state_dict()
    again = merge_adapter(trained(), dtype, seed=1).state_dict()
    assert found.keys() == exact.keys()
    assert all(weight.dtype == dtype and torch.equal(weight, again[name]) for name, weight in found.items())
    tolerance = 1e-6 if dtype == torch.float32 else 2**-7
    assert all(torch.allclose(found[name].float(), exact[name], rtol=tolerance, atol=1e-7) for name in exact)
    learned = {name: exact[name] - weight for name, weight in before.items() if "proj" in name}
    kept = sum(((found[n].float() - before[n]) * learned[n]).sum() for n in learned) / sum(
        (change**2).sum() for change in learned.values()
    )
    assert kept.item() == pytest.approx(1, abs=0.05)


def test_whole_models_are_rounded_too(make_model: Callable[..., Any]) -> None:
    model = make_model()
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    sum(weight.sum() for weight in model.parameters()).backward()
    found = round_weights(model, BF16, seed=1).state_dict()
    assert all(weight.dtype == BF16 for weight in found.values())
    assert all(torch.allclose(found[name].float(), before[name], rtol=2**-7, atol=0) for name in before)
    assert any(not torch.equal(found[name], before[name].to(BF16)) for name in before)
