"""The loss of white-box distillation: weighted objectives over the positions of answers, group of rows by group.

    loss = WhiteBoxLoss({"task": objectives}, {"task": rows}, student, teacher=Reader(model, head, flat, read))
    batches = loss.step([{"row": tensor([4, 0, 7])}])       # of one step of the optimiser
    loss(model, batches[0], loss.counts(batches))

The student reads a row under its own chat template, the teacher under its own; both predict the same answer tokens,
so their positions pair up whatever the prompts are. Teacher and base are asked in evaluation mode, adapter off. The
sum over a group is divided by that group's tokens in the whole step of the optimiser, so that neither the cut into
batches nor the rows of another group change what an objective's weight means.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from stillroom.errors import TrainingError
from stillroom.students.data.encode import IGNORED, EncodedRow
from stillroom.students.methods.cpu_passes import MOST_LOGITS, AnswerStates
from stillroom.students.methods.trainer import unwrapped
from stillroom.students.whitebox.feed import GROUPS, Feed, Group
from stillroom.students.whitebox.head import Head, answer_states
from stillroom.students.whitebox.objectives import Objective, Positions

Rows = Mapping[Group, Sequence[EncodedRow]]
"""The rows of each group, as one model reads them."""
Part = Mapping[str, Any]
"""Rows of one group in a batch: `input_ids`, `labels`, `attention_mask` (B, T), and `row`, which rows they are."""


class Reader(NamedTuple):
    """A model that is asked for its logits. `model`: None for the student without its adapter, which is what it was
    before the training. `flat`: it computes the same on a flat batch. `rows`: the rows as it reads them, in the order
    of the student's; None: it reads the student's."""

    model: Any
    head: Head
    flat: bool
    rows: Rows | None = None

    def states(self, group: Group, part: Part) -> AnswerStates:
        """At every position of the part that predicts a label, in evaluation mode."""
        import torch

        with torch.no_grad(), evaluating(self.model):
            if self.rows is not None:
                device, rows = part["input_ids"].device, self.rows[group]
                part = padded([rows[i] for i in part["row"]], part["row"], device)
            return answer_states(
                self.model, part["input_ids"], part["labels"], part["attention_mask"], flat=self.flat
            )


class WhiteBoxLoss:
    """See the module. `terms`: the objectives of each group; `rows`: as the student reads them. `teacher`, `base`:
    readers of those that an objective needs. A base of None where one is needed is the student without its adapter.
    `feed`: what a batch is made of; None: of the rows drawn.
    """

    def __init__(
        self,
        terms: Mapping[Group, Sequence[Objective]],
        rows: Rows,
        student: Reader,
        teacher: Reader | None = None,
        base: Reader | None = None,
        feed: Feed | None = None,
    ) -> None:
        self._terms, self._rows, self._feed = terms, rows, feed or Feed()
        self._student, self._teacher = student, teacher
        self._base = base or student._replace(model=None)
        self._sums = {group: [0.0] * len(objectives) for group, objectives in terms.items()}
        self._positions = dict.fromkeys(terms, 0)

    def step(self, batches: Sequence[Mapping[str, Any]]) -> list[dict[Group, Part]]:
        """What the batches of one step of the optimiser train on, from the numbers of the rows that were drawn."""
        found = self._feed.step([batch["row"].tolist() for batch in batches])
        return [
            {group: padded([self._rows[group][i] for i in at], at) for group, at in parts.items() if at}
            for parts in found
        ]

    def counts(self, batches: Sequence[Mapping[Group, Part]]) -> Any:
        """(G,): the labels of each group in all these batches."""
        import torch

        return torch.tensor(
            [sum(int((b[group]["labels"] != IGNORED).sum()) for b in batches if group in b) for group in GROUPS]
        )

    def tokens(self, batch: Mapping[Group, Part]) -> int:
        """Of prompts and answers, without padding."""
        return sum(int(part["attention_mask"].sum()) for part in batch.values())

    def __call__(self, model: Any, batch: Mapping[Group, Part], counts: Any) -> Any:
        """A scalar tensor: this batch's part of the mean of the step. `counts`: those of the whole step."""
        means = [
            self._summed(model, group, part) / counts[GROUPS.index(group)].to(part["labels"].device)
            for group, part in batch.items()
        ]
        if not means:  # every row was replaced by an answer that was left out
            return 0.0 * next(weight for weight in model.parameters() if weight.requires_grad).sum()
        return sum(means[1:], means[0])

    def take(self) -> list[float]:
        """The mean of each objective, group by group in the order of `terms`, over the positions since the last call
        (0 where the group had none)."""
        means = [total / max(1, self._positions[g]) for g, sums in self._sums.items() for total in sums]
        self._sums = {group: [0.0] * len(sums) for group, sums in self._sums.items()}
        self._positions = dict.fromkeys(self._positions, 0)
        return means

    def _summed(self, model: Any, group: Group, part: Part) -> Any:
        """The weighted sum over the labels of a part."""
        import torch

        objectives = self._terms[group]
        needs = {objective.learns_from for objective in objectives}
        own = answer_states(
            unwrapped(model), part["input_ids"], part["labels"], part["attention_mask"], flat=self._student.flat
        )
        teacher = self._asked(self._teacher, model, group, part) if self._teacher and "teacher" in needs else None
        base = self._asked(self._base, model, group, part) if "base" in needs else None
        for other in filter(None, (teacher, base)):
            if not torch.equal(other.labels, own.labels):
                raise TrainingError(
                    "the teacher's positions do not predict the student's tokens: this is a fault of the encoding, "
                    "please report it with your recipe"
                )
        sums = self._sums_of(objectives, own, teacher, base)
        self._sums[group] = [a + float(b) for a, b in zip(self._sums[group], sums.detach(), strict=True)]
        self._positions[group] += len(own.labels)
        return sums @ sums.new_tensor([objective.weight for objective in objectives])

    def _asked(self, reader: Reader, model: Any, group: Group, part: Part) -> AnswerStates:
        if reader.model is not None:
            return reader.states(group, part)
        with model.disable_adapter():
            return reader._replace(model=unwrapped(model)).states(group, part)

    def _sums_of(
        self,
        objectives: Sequence[Objective],
        own: AnswerStates,
        teacher: AnswerStates | None,
        base: AnswerStates | None,
    ) -> Any:
        """(J,): each objective's sum. The heads are applied to parts that are computed again for the backward pass,
        so that of all positions only the hidden states are kept."""
        import torch
        from torch.utils.checkpoint import checkpoint

        readers = [self._student, self._teacher, self._base]
        sides = [None if states is None else states.hidden for states in (own, teacher, base)]

        def part(labels: Any, *hidden: Any) -> Any:
            logits = [
                reader.head.logits(h) if reader is not None and h is not None else None
                for reader, h in zip(readers, hidden, strict=True)
            ]
            with torch.autocast(own.hidden.device.type, enabled=False):
                at = Positions(student=logits[0], labels=labels, teacher=logits[1], base=logits[2])
                return torch.stack([objective.summed(at) for objective in objectives])

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


def padded(rows: Sequence[EncodedRow], at: Sequence[int], device: Any = None) -> dict[str, Any]:
    """Rows as a part of a batch, padded on the right. `at`: which rows of their group they are."""
    import torch

    width = max(len(row.input_ids) for row in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    labels, mask = torch.full_like(ids, IGNORED), torch.zeros_like(ids)
    for i, row in enumerate(rows):
        ids[i, : len(row.input_ids)] = torch.tensor(row.input_ids)
        labels[i, : len(row.labels)] = torch.tensor(row.labels)
        mask[i, : len(row.input_ids)] = 1
    tensors = {"input_ids": ids, "labels": labels, "attention_mask": mask}
    return {**{name: tensor.to(device) for name, tensor in tensors.items()}, "row": list(at)}
