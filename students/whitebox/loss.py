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

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from stillroom.errors import TrainingError
from stillroom.students.data.encode import IGNORED, EncodedRow
from stillroom.students.methods.cpu_passes import AnswerStates
from stillroom.students.methods.ranks import Ranks
from stillroom.students.methods.trainer import unwrapped
from stillroom.students.whitebox.cache.signal import CachedSignal, Likeliest
from stillroom.students.whitebox.feed import GROUPS, Feed, Group
from stillroom.students.whitebox.head import Head, answer_states
from stillroom.students.whitebox.objectives import Objective, Positions
from stillroom.students.whitebox.parts import Sums, in_parts

MOST_LOGITS = 1 << 25
"""Logits of all sides (positions × vocabulary) held at once: 2^25 take half a GB with what the gradient needs."""

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
    `feed`: what a batch is made of; None: of the rows drawn. `cached`: stands for the teacher of the task's rows.
    `means`: of each objective, step by step.
    """

    def __init__(
        self,
        terms: Mapping[Group, Sequence[Objective]],
        rows: Rows,
        student: Reader,
        teacher: Reader | None = None,
        base: Reader | None = None,
        feed: Feed | None = None,
        cached: CachedSignal | None = None,
    ) -> None:
        self._terms, self._rows, self._feed = terms, rows, feed or Feed()
        self._student, self._teacher, self._cached = student, teacher, cached
        self._base = base or student._replace(model=None)
        self._sums = {group: [0.0] * len(objectives) for group, objectives in terms.items()}
        self._positions = dict.fromkeys(terms, 0)
        self.means: list[list[float]] = []

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"means": self.means, "feed": self._feed.state()}

    def restore(self, state: dict[str, Any]) -> None:
        """Takes back what `state` gave."""
        self.means = list(state["means"])
        self._feed.restore(state["feed"])

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

    def held(self, rows: Sequence[int]) -> dict[Group, Part]:
        """The batch of rows of the task that the loss is measured on and that are not trained on."""
        return {"task": padded([self._rows["task"][row] for row in rows], rows)}

    def part(self, batch: Mapping[Group, Part], ranks: Ranks) -> dict[Group, Part]:
        """What one of several processes trains on of a batch: its rows of each group."""
        found: dict[Group, Part] = {}
        for group, part in batch.items():
            mine = ranks.part(len(part["row"]))
            if mine.stop > mine.start:
                found[group] = {name: column[mine] for name, column in part.items()}
        return found

    def add_up(self, summed: Callable[[Sequence[float]], list[float]]) -> None:
        """Adds up over processes what was summed up since `take`."""
        for group, sums in self._sums.items():
            *totals, positions = summed([*sums, float(self._positions[group])])
            self._sums[group], self._positions[group] = totals, round(positions)

    def drop(self) -> None:
        """Forgets what was summed up since `take`."""
        self._sums = {group: [0.0] * len(sums) for group, sums in self._sums.items()}
        self._positions = dict.fromkeys(self._positions, 0)

    def take(self) -> None:
        """Adds to `means` the mean of each objective over the positions since the last call (0 where the group had
        none), group by group in the order of `terms`."""
        means = [total / max(1, self._positions[g]) for g, sums in self._sums.items() for total in sums]
        self.drop()
        self.means.append(means)

    def _summed(self, model: Any, group: Group, part: Part) -> Any:
        """The weighted sum over the labels of a part."""
        import torch

        objectives = self._terms[group]
        needs = {objective.learns_from for objective in objectives}
        own = answer_states(
            unwrapped(model), part["input_ids"], part["labels"], part["attention_mask"], flat=self._student.flat
        )
        kept = None if self._cached is None or group != "task" or "teacher" not in needs else self._cached
        found = None if kept is None else kept.at(part["row"], own.hidden.device)
        asks = self._teacher is not None and found is None and "teacher" in needs
        teacher = self._asked(self._teacher, model, group, part) if self._teacher is not None and asks else None
        base = self._asked(self._base, model, group, part) if "base" in needs else None
        apart = any(not torch.equal(other.labels, own.labels) for other in (teacher, base) if other is not None)
        if apart or (found is not None and len(found.ids) != len(own.labels)):
            raise TrainingError(
                "the teacher's positions do not predict the student's tokens: this is a fault of the encoding, "
                "please report it with your recipe"
            )
        total, each = self._sums_of(objectives, own, teacher, base, found)
        self._sums[group] = [a + float(b) for a, b in zip(self._sums[group], each, strict=True)]
        self._positions[group] += len(own.labels)
        return total

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
        kept: Likeliest | None,
    ) -> Sums:
        """Of all objectives, the heads applied to a part of the positions at a time."""
        import torch

        readers = (self._student, self._teacher, self._base)
        others = [None if states is None else states.hidden for states in (teacher, base)]

        def summed(hidden: Any, at: slice) -> Any:
            sides = [hidden, *(None if other is None else other[at] for other in others)]
            logits = [
                reader.head.logits(side) if reader is not None and side is not None else None
                for reader, side in zip(readers, sides, strict=True)
            ]
            with torch.autocast(hidden.device.type, enabled=False):
                places = Positions(
                    student=logits[0],
                    labels=own.labels[at],
                    teacher=logits[1],
                    base=logits[2],
                    kept=None if kept is None else kept.part(at),
                )
                return torch.stack([objective.summed(places) for objective in objectives])

        head = self._student.head
        size = max(1, MOST_LOGITS // (head.vocabulary * (1 + sum(other is not None for other in others))))
        return in_parts(summed, [each.weight for each in objectives], own.hidden, head.parameters, size)


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
