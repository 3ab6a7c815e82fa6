"""Which positions of a row the objectives move: asked of a toy model, before anything is trained.

    moved(settings.objectives, row, vocabulary=len(tokenizer))     # -> the places of the row, from 0

The loss falls all the same where a mask is one place off, or an objective leaves out a position; the student then
never learns its first word, or to stop. So the gradient is looked at itself. The toy has random weights, four numbers
a token and no attention: a place has a gradient if the loss has, whatever the other places say.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from stillroom.students.data.encode import EncodedRow
from stillroom.students.whitebox.head import Head
from stillroom.students.whitebox.loss import Reader, WhiteBoxLoss, padded
from stillroom.students.whitebox.objectives import Objective

WIDTH = 4


def moved(objectives: Sequence[Objective], row: EncodedRow, vocabulary: int) -> list[int]:
    """The places of the row whose hidden state has a gradient, in order: each predicts the token behind it."""
    import torch

    student, teacher, base = (toy(vocabulary, seed) for seed in (1, 2, 3))
    loss = WhiteBoxLoss({"task": objectives}, {"task": [row]}, _reader(student), _reader(teacher), _reader(base))
    total = loss(student, {"task": padded([row], [0])}, torch.ones(3))
    (gradient,) = torch.autograd.grad(total, student.seen[0])
    return [int(place) for place in gradient[0].abs().sum(-1).nonzero()[:, 0]]


def _reader(model: Any) -> Reader:
    found = Reader(model, Head(model, model.vocabulary, "the toy"), flat=False)
    model.seen.clear()
    return found


def toy(vocabulary: int, seed: int) -> Any:
    """A model without attention. `seen`: its hidden states, (B, T, 4) each time it was asked."""
    import torch
    import transformers

    class Toy(torch.nn.Module):  # type: ignore[misc]  # torch is not followed
        def __init__(self) -> None:
            super().__init__()
            random = torch.Generator().manual_seed(seed)
            self.vocabulary = vocabulary
            self.seen: list[Any] = []
            self.config = transformers.PreTrainedConfig()
            self.embeddings = torch.nn.Parameter(torch.randn(vocabulary, WIDTH, generator=random))
            self.head = torch.nn.Linear(WIDTH, vocabulary, bias=False)
            with torch.no_grad():
                self.head.weight.copy_(torch.randn(vocabulary, WIDTH, generator=random))

        def base_model(self, *, input_ids: Any, **_: Any) -> Any:
            self.seen.append(self.embeddings[input_ids])
            return transformers.modeling_outputs.BaseModelOutput(last_hidden_state=self.seen[-1])

        def get_output_embeddings(self) -> Any:
            return self.head

        def forward(self, **given: Any) -> Any:
            logits = self.head(self.base_model(**given).last_hidden_state)
            return transformers.modeling_outputs.CausalLMOutput(logits=logits)

    return Toy()
