"""A model in this process as the source of a cache: exact at any temperature.

    source = LocalSource(model, head, flat=True, batch=8)

It is asked in evaluation mode and without a gradient. Output layer and softmax are computed for some of the positions
at a time, in float32.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Iterator, Sequence
from typing import Any

from stillroom.students.data.encode import IGNORED, EncodedRow
from stillroom.students.methods.cpu_passes import MOST_LOGITS
from stillroom.students.whitebox.cache.record import Entry
from stillroom.students.whitebox.cache.rules import Rule, Temperatures
from stillroom.students.whitebox.cache.sources import Scored
from stillroom.students.whitebox.divergence import log_softmax
from stillroom.students.whitebox.head import Head, answer_states


class LocalSource:
    """`model`: the causal language model itself; `flat`: it computes the same on a flat batch; `batch`: rows in a
    pass."""

    def __init__(self, model: Any, head: Head, *, flat: bool, batch: int) -> None:
        self._model, self.head, self._flat, self._batch = model, head, flat, batch

    async def score(
        self, rows: Sequence[EncodedRow], rule: Rule, temperatures: Temperatures
    ) -> AsyncGenerator[Scored]:
        """See `Source`. Rows of a like length share a pass."""
        order = sorted(range(len(rows)), key=lambda i: len(rows[i].input_ids))
        for start in range(0, len(order), self._batch):
            at = order[start : start + self._batch]
            hidden = self.states([rows[i] for i in at])
            lengths = [sum(label != IGNORED for label in rows[i].labels) for i in at]
            for number, part in zip(at, hidden.split(lengths), strict=True):
                yield Scored(number, self._entry(part, rule, temperatures))

    async def close(self) -> None:
        """Nothing was opened."""

    def states(self, rows: Sequence[EncodedRow]) -> Any:
        """(N, H): the hidden states at which the answers' tokens are predicted, row by row."""
        import torch

        device = next(self._model.parameters()).device
        was = self._model.training
        self._model.eval()
        try:
            with torch.no_grad():
                ids, labels, mask = (part.to(device) for part in _padded(rows))
                return answer_states(self._model, ids, labels, mask, flat=self._flat).hidden
        finally:
            self._model.train(was)

    def logits(self, hidden: Any) -> Any:
        """(N, V)."""
        import torch

        with torch.no_grad():
            return self.head.logits(hidden)

    def _entry(self, hidden: Any, rule: Rule, temperatures: Temperatures) -> Entry:
        import numpy as np

        size = max(1, MOST_LOGITS // (4 * self.head.vocabulary))
        parts = [keep(self.logits(part), rule, temperatures) for part in hidden.split(size)]
        return Entry(*(np.concatenate(of) for of in zip(*parts, strict=True)))


def keep(logits: Any, rule: Rule, temperatures: Temperatures) -> Entry:
    """What the rule keeps of logits (N, V), exactly. With a share, at least one token is always left to the tail."""
    import torch

    vocabulary = logits.shape[-1]
    k = min(rule.most, vocabulary if rule.mass is None else vocabulary - 1)
    log_p = log_softmax(logits)
    top, ids = log_p.topk(k, -1)
    kept = torch.ones_like(top, dtype=torch.bool)
    if rule.mass is not None:
        kept = top.exp().cumsum(-1) - top.exp() < rule.mass
        kept[:, : rule.least] = True
    return Entry(
        kept.sum(-1).cpu().numpy(),
        ids[kept].cpu().numpy(),
        top[kept].double().cpu().numpy(),
        torch.stack([_tail(logits, ids, kept, t) for t in temperatures], -1).double().cpu().numpy(),
    )


def _tail(logits: Any, ids: Any, kept: Any, temperature: float) -> Any:
    """(N,): the log-probability of all tokens that are not kept. Summed over them: 1 − Σ would be rounding."""
    import torch

    log_p = log_softmax(logits, temperature)
    rest = torch.where(kept, -math.inf, log_p.gather(-1, ids))
    return log_p.scatter(-1, ids, rest).logsumexp(-1)


def _padded(rows: Sequence[EncodedRow]) -> Iterator[Any]:
    """`input_ids`, `labels`, `attention_mask`, (B, T) each, padded on the right."""
    import torch

    pad = torch.nn.utils.rnn.pad_sequence
    yield pad([torch.tensor(row.input_ids) for row in rows], batch_first=True)
    yield pad([torch.tensor(row.labels) for row in rows], batch_first=True, padding_value=IGNORED)
    yield pad([torch.ones(len(row.input_ids), dtype=torch.long) for row in rows], batch_first=True)
