"""What a loss over a large vocabulary holds at its peak: run by `whitebox.py`, one child process a way.

    python bench/_whitebox_memory.py ours 4096 151936 576      # -> {"peak_mb": …, "cpu_s": …, …}

Both sides are hidden states (N, H) and a frozen output layer (V, H) each, as with a LoRA. What the loss and its
gradient add to the peak of the process is measured: its resident memory before is taken off.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

import torch

from stillroom.students.methods.cpu_passes import AnswerStates
from stillroom.students.whitebox.loss import Reader, WhiteBoxLoss
from stillroom.students.whitebox.objectives import Soft

TEMPERATURE = 2.0


class Layer:
    """Stands for the head of a model."""

    def __init__(self, weight: Any) -> None:
        self.weight, self.vocabulary = weight, len(weight)
        self.parameters = [weight]  # without a gradient

    def logits(self, hidden: Any) -> Any:
        return torch.nn.functional.linear(hidden, self.weight)


def naive(own: Any, teacher: Any, heads: list[Layer]) -> Any:
    """As a tutorial has it: all logits of both, at once."""
    student, target = heads[0].logits(own), heads[1].logits(teacher)
    q = torch.log_softmax(student / TEMPERATURE, -1)
    p = torch.softmax(target / TEMPERATURE, -1)
    return TEMPERATURE**2 * torch.nn.functional.kl_div(q, p, reduction="sum")


def ours(own: Any, teacher: Any, heads: list[Layer]) -> Any:
    student, target = (Reader(None, head, True) for head in heads)  # type: ignore[arg-type]  # a head is all it needs
    loss = WhiteBoxLoss({}, {}, student, target)
    labels = torch.zeros(len(own), dtype=torch.long)
    sides = AnswerStates(own, labels), AnswerStates(teacher, labels)
    return loss._sums_of([Soft(temperature=TEMPERATURE)], *sides, None, None).total


def resident() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize()


def main() -> None:
    way, (tokens, vocabulary, width) = sys.argv[1], map(int, sys.argv[2:5])
    torch.manual_seed(0)
    heads = [Layer(torch.randn(vocabulary, width) / width**0.5) for _ in range(2)]
    own, teacher = torch.randn(tokens, width, requires_grad=True), torch.randn(tokens, width)
    before, began = resident(), time.process_time()
    loss = {"naive": naive, "ours": ours}[way](own, teacher, heads)
    loss.backward()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    norm = float(own.grad.norm())
    found = {"peak_mb": (peak - before) / 1e6, "cpu_s": time.process_time() - began, "gradient": norm}
    print(json.dumps(found | {"loss": float(loss.detach()) / tokens}))


if __name__ == "__main__":
    main()
