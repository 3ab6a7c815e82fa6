"""A sum over positions whose gradient is taken part by part, so that logits of all positions are never there at once.

    total, sums = in_parts(summed, weights, hidden, parameters, size=128)

A loss over N positions and V tokens needs tensors of N × V, forward and backward: at V = 152,000 and 4,096 positions
2.5 GB each. The sum is a scalar, so its gradient with respect to the hidden states of a part is known as soon as the
part is: it is taken then and there, and only it is kept (N × H). Nothing is computed twice, as a checkpoint would.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NamedTuple

Summed = Callable[[Any, slice], Any]
"""Of the hidden states of a part (n, H) and where it is: each objective's sum (J,)."""


class Sums(NamedTuple):
    """`total`: the weighted sum, a scalar with a gradient; `each`: (J,), without."""

    total: Any
    each: Any


def in_parts(summed: Summed, weights: Sequence[float], hidden: Any, parameters: Sequence[Any], size: int) -> Sums:
    """`hidden`: (N, H), N above 0. `parameters`: others that have a gradient, such as the head's. `size`: positions
    of a part."""
    return Sums(*_function().apply(summed, tuple(weights), size, hidden, *parameters))


@cache
def _function() -> Any:
    """Made once: torch keeps every class of this kind for good."""
    import torch

    class Parts(torch.autograd.Function):  # type: ignore[misc]  # torch is not followed
        @staticmethod
        def forward(
            ctx: Any, summed: Summed, weights: tuple[float, ...], size: int, hidden: Any, *parameters: Any
        ) -> Any:
            trained = [weight for weight in parameters if weight.requires_grad]
            moves, grads = torch.empty_like(hidden), [torch.zeros_like(weight) for weight in trained]
            each: Any = 0
            for start in range(0, len(hidden), size):
                at = slice(start, start + size)
                with torch.enable_grad():
                    part = hidden[at].detach().requires_grad_()
                    found = summed(part, at)  # (J,)
                    total = found @ found.new_tensor(weights)
                moves[at], *others = torch.autograd.grad(total, [part, *trained], allow_unused=True)
                for grad, other in zip(grads, others, strict=True):
                    if other is not None:
                        grad += other
                each = each + found.detach()
            ctx.save_for_backward(moves, *grads)
            ctx.trained = [weight.requires_grad for weight in parameters]
            ctx.mark_non_differentiable(each)
            return each @ each.new_tensor(weights), each

        @staticmethod
        def backward(ctx: Any, upstream: Any, _: Any) -> Any:
            moves, *grads = ((upstream * grad).to(grad.dtype) for grad in ctx.saved_tensors)
            left = iter(grads)
            return None, None, None, moves, *(next(left) if trained else None for trained in ctx.trained)

    return Parts
