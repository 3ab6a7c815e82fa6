"""How long a step takes on this machine, from a short measurement before the first.

    timed = measure(shape, read, "cpu")
    timed.seconds(costs)                  # of one pass

Two layers of the student are run for real, forward and backward, with random weights, as they are trained: attention,
adapter, casts and all that Python costs are in it. On a CPU on a part of the batch. Embedding and head are too large
for that; products and copies of their kind are measured. All of it takes about half a second on two cores for a small
model, is remembered for the process, and leaves the random states as they were.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from typing import Any, NamedTuple

from stillroom.common.models.quiet import quiet_transformers
from stillroom.students.estimate.dry_pass import (
    CannotTell,
    Costs,
    Read,
    Shape,
    backward,
    dry_pass,
    filled,
    forward,
    on_meta,
)

LAYERS = 2
"""Layers that are run."""
MOST_FLOPS = 4e10
"""Floating point operations of one measured pass on a CPU: its rows are shortened to that."""
FEWEST = 64
"""Tokens to which a row is shortened at most."""
VOCABULARY = 8192
"""Rows of the measured head."""
TOKENS = 128
"""Positions to which it is applied."""
WRITTEN = 1 << 22
"""Numbers that a measured copy writes: more than a cache holds."""
LONG_S = 1.0
"""Seconds after which nothing is measured again."""
clock = time.perf_counter


class Timed(NamedTuple):
    """Operations in matrix products that the layers and the head do in a second, and bytes that copies write."""

    layers: float
    head: float
    written: float

    def seconds(self, costs: Costs) -> float:
        """Of a pass."""
        rest = costs.rest
        return costs.layers.flops / self.layers + rest.flops / self.head + rest.moved / self.written


def measure(shape: Shape, read: Read, device: str) -> Timed:
    """`read`: a pass of the training. Raises CannotTell where it cannot be run."""
    import torch

    wait = (lambda: None) if device == "cpu" else torch.cuda.synchronize
    try:
        with torch.random.fork_rng(devices=[] if device == "cpu" else None), torch.device(device):
            return Timed(_layers(shape, read, device, wait), _head(shape, wait), _copies(device, wait))
    except Exception as error:  # whatever a family does with random weights; the training itself will say more
        raise CannotTell(f"{type(error).__name__}: {error}") from error


def _layers(shape: Shape, read: Read, device: str, wait: Callable[[], None]) -> float:
    import torch

    config = copy.deepcopy(shape.config)
    text = config.get_text_config()
    text.num_hidden_layers, text.vocab_size, text.pad_token_id = LAYERS, 256, None
    if getattr(text, "layer_types", None):
        text.layer_types = text.layer_types[:LAYERS]
    small = shape._replace(config=config, accumulates=False)
    part = read._replace(head="none", labels=read.tokens)
    cost = dry_pass(small, [part]).whole
    if device == "cpu" and cost.flops > MOST_FLOPS:
        width = max(FEWEST, int(read.width * MOST_FLOPS / cost.flops * read.rows))
        part = part._replace(rows=1, width=min(read.width, width))
        part = part._replace(labels=part.tokens)
        cost = dry_pass(small, [part]).whole
    drawn = torch.Generator(device).manual_seed(0)

    def make(like: Any) -> Any:
        return torch.empty(like.shape, dtype=torch.float32).normal_(0, 0.02, generator=drawn).to(like.dtype)

    with quiet_transformers() as transformers:
        model = filled(on_meta(transformers, small, LAYERS), small, make)

    def once() -> None:
        backward(forward(model, small, [part], device))

    return cost.flops / _fastest(once, wait)


def _head(shape: Shape, wait: Callable[[], None]) -> float:
    """Products of a head, forward and backward, with the gradient of its weights where they are trained."""
    import torch

    kind = torch.bfloat16 if shape.autocast else getattr(torch, shape.dtype)
    width = shape.config.get_text_config().hidden_size
    hidden, weight = torch.ones(TOKENS, width, dtype=kind), torch.ones(VOCABULARY, width, dtype=kind)
    logits = torch.ones(TOKENS, VOCABULARY, dtype=kind)
    products = [lambda: hidden @ weight.t(), lambda: logits @ weight]
    if shape.lora is None:
        products.append(lambda: logits.t() @ hidden)
    each = 2 * TOKENS * width * VOCABULARY
    return float(len(products) * each / sum(_fastest(do, wait) for do in products))


def _copies(device: str, wait: Callable[[], None]) -> float:
    """Bytes that are written in a second, where as many are read."""
    import torch

    numbers = torch.ones(WRITTEN if device == "cpu" else 16 * WRITTEN)
    return 4 * len(numbers) / _fastest(lambda: torch.exp(numbers), wait)


def _fastest(do: Callable[[], object], wait: Callable[[], None]) -> float:
    """Seconds of the fastest of three, the first of which warms up; of those there are after `LONG_S`."""
    taken: list[float] = []
    while len(taken) < 3 and sum(taken) < LONG_S:
        wait()
        began = clock()
        do()
        wait()
        taken.append(clock() - began)
    return min(taken)
