"""Trained weights in a coarser dtype, without losing what was learned.

A base model's weights lie on the grid of bfloat16, whose steps are 0.4 % to 0.8 % of a weight; what training adds to
one is mostly far less. Rounded to the nearest, such a weight falls back to where it began: of a LoRA trained with DPO
on SmolLM2, 41 % of the preference it had learned was gone after merging. So weights are rounded up or down at random,
each with the chance that keeps its value on average (Gupta et al. 2015, arXiv:1502.02551); the sums that a layer
computes keep what was learned, and the same seed gives the same weights. A weight that is on the grid stays as it is.

    rounded(torch.tensor([1.001]), torch.bfloat16, generator)      # 1.0 mostly, 1.0078125 one time in eight
"""

from __future__ import annotations

from typing import Any


def merge_adapter(trained: Any, dtype: Any, seed: int) -> Any:
    """The base model with the LoRA added to its weights, in `dtype`. `trained`: a peft model, at its last use."""
    import peft
    import torch

    generators = _Generators(seed)
    with torch.no_grad():
        for module in trained.modules():
            if isinstance(module, peft.tuners.tuners_utils.BaseTunerLayer):
                weight = module.get_base_layer().weight
                whole = weight.float() + module.get_delta_weight("default").float()
                weight.data = rounded(whole, dtype, generators.on(weight.device))
    return trained.unload().to(dtype)


def round_weights(model: Any, dtype: Any, seed: int) -> Any:
    """The model with its weights in `dtype`."""
    generators = _Generators(seed)
    for weight in model.parameters():
        weight.grad = None  # it would have to be of the same dtype
        weight.data = rounded(weight.data, dtype, generators.on(weight.device))
    return model.to(dtype)


def rounded(values: Any, dtype: Any, generator: Any) -> Any:
    """`values` (float32) in `dtype`: at random up or down for bfloat16, as they are for float32."""
    import torch

    if dtype != torch.bfloat16:
        return values.to(dtype)
    # bfloat16 is the upper half of a float32: a random lower half is added, and the sum cut off.
    bits = values.float().contiguous().view(torch.int32)
    noise = torch.randint(0, 1 << 16, bits.shape, dtype=torch.int32, device=bits.device, generator=generator)
    return ((bits + noise) & -(1 << 16)).view(torch.float32).to(dtype)


class _Generators:
    """One random generator for each device, all of one seed."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._of: dict[Any, Any] = {}

    def on(self, device: Any) -> Any:
        import torch

        if device not in self._of:
            self._of[device] = torch.Generator(device=device).manual_seed(self._seed)
        return self._of[device]
