"""The loss of white-box distillation: a weighted list of objectives over the positions of a batch's answers.

    loss = WhiteBoxLoss(objectives, student, teacher=Teacher(model, rows), base=None)
    loss(model, batch) / tokens_of_the_step

The student reads a row under its own chat template, the teacher under its own; both predict the same answer tokens,
so their positions pair up whatever the prompts are. Teacher and base are asked in evaluation mode, adapter off.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from stillroom.errors import TrainingError
from stillroom.students.data.encode import IGNORED, EncodedRow
from stillroom.students.methods.cpu_passes import MOST_LOGITS, AnswerStates
from stillroom.students.methods.trainer import unwrapped
from stillroom.students.whitebox.head import Head, answer_states
from stillroom.students.whitebox.objectives import Objective, Positions


class Reader(NamedTuple):
    """A model that is asked for its logits. `flat`: it computes the same on a flat batch. `rows`: the rows as it
    reads them, in the order of the student's; None: it reads the student's."""

    model: Any
    head: Head
    flat: bool
    rows: Sequence[EncodedRow] | None = None

    def states(self, batch: Mapping[str, Any]) -> AnswerStates:
        """At every position of the batch that predicts a label, in evaluation mode."""
        import torch

        with torch.no_grad(), evaluating(self.model):
            if self.rows is None:
                ids, labels, mask = (batch[name] for name in ("input_ids", "labels", "attention_mask"))
            else:
                device = batch["input_ids"].device
                ids, labels, mask = (part.to(device) for part in padded([self.rows[i] for i in batch["row"]]))
            return answer_states(self.model, ids, labels, mask, flat=self.flat)


class WhiteBoxLoss:
    """Called with the model that is trained and a batch, it gives the weighted sum over the batch's labels.

    `student`: its own reader. `teacher`, `base`: readers of those that an objective needs. A base of None where one
    is needed is the student without its adapter.
    """

    def __init__(
        self, objectives: Sequence[Objective], student: Reader, teacher: Reader | None, base: Reader | None
    ) -> None:
        self._objectives, self._student, self._teacher, self._base = objectives, student, teacher, base
        self._needs = {objective.learns_from for objective in objectives}
        self._sums, self._positions = [0.0] * len(objectives), 0

    def __call__(self, model: Any, batch: Mapping[str, Any]) -> Any:
        import torch

        ids, labels, mask = (batch[name] for name in ("input_ids", "labels", "attention_mask"))
        own = answer_states(unwrapped(model), ids, labels, mask, flat=self._student.flat)
        teacher = self._teacher.states(batch) if self._teacher is not None else None
        base = self._base_states(model, batch) if "base" in self._needs else None
        for other in filter(None, (teacher, base)):
            if not torch.equal(other.labels, own.labels):
                raise TrainingError(
                    "the teacher's positions do not predict the student's tokens: this is a fault of the encoding, "
                    "please report it with your recipe"
                )
        sums = self._sums_of(own, teacher, base)
        self._sums = [a + float(b) for a, b in zip(self._sums, sums.detach(), strict=True)]
        self._positions += len(own.labels)
        return sums @ sums.new_tensor([objective.weight for objective in self._objectives])

    def take(self) -> list[float]:
        """The mean of each objective, in the order of the list, over the positions since the last call."""
        means = [total / max(1, self._positions) for total in self._sums]
        self._sums, self._positions = [0.0] * len(self._sums), 0
        return means

    def _base_states(self, model: Any, batch: Mapping[str, Any]) -> AnswerStates:
        if self._base is not None:
            return self._base.states(batch)
        with model.disable_adapter():
            return self._student._replace(model=unwrapped(model)).states(batch)

    def _sums_of(self, own: AnswerStates, teacher: AnswerStates | None, base: AnswerStates | None) -> Any:
        """(J,): each objective's sum. The heads are applied to parts that are computed again for the backward pass,
        so that of all positions only the hidden states are kept."""
        import torch
        from torch.utils.checkpoint import checkpoint

        readers = [self._student, self._teacher, self._base or self._student]
        sides = [None if states is None else states.hidden for states in (own, teacher, base)]

        def part(labels: Any, *hidden: Any) -> Any:
            logits = [
                reader.head.logits(h) if reader is not None and h is not None else None
                for reader, h in zip(readers, hidden, strict=True)
            ]
            with torch.autocast(own.hidden.device.type, enabled=False):
                at = Positions(student=logits[0], labels=labels, teacher=logits[1], base=logits[2])
                return torch.stack([objective.summed(at) for objective in self._objectives])

        count, vocabulary = len(own.labels), self._student.head.vocabulary
        size = max(1, MOST_LOGITS // (vocabulary * sum(side is not None for side in sides)))
        if count <= size:
            return part(own.labels, *sides)
        cut = [slice(i, i + size) for i in range(0, count, size)]
        parts = [
            checkpoint(part, own.labels[at], *(None if h is None else h[at] for h in sides), use_reentrant=False)
            for at in cut
        ]
        return torch.stack(parts).sum(0)


@contextmanager
def evaluating(model: Any) -> Iterator[None]:
    """Without dropout: a teacher gives the same distribution every time."""
    was = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was)


def padded(rows: Sequence[EncodedRow]) -> tuple[Any, Any, Any]:
    """`input_ids`, `labels`, `attention_mask`, (B, T) each, padded on the right."""
    import torch

    width = max(len(row.input_ids) for row in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    labels, mask = torch.full_like(ids, IGNORED), torch.zeros_like(ids)
    for i, row in enumerate(rows):
        ids[i, : len(row.input_ids)] = torch.tensor(row.input_ids)
        labels[i, : len(row.labels)] = torch.tensor(row.labels)
        mask[i, : len(row.input_ids)] = 1
    return ids, labels, mask
