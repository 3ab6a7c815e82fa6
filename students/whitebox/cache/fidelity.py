"""How near a cache comes to the whole distribution: measured on real positions, told, and kept with the cache.

    found = measure(teacher, student, read, own, entries, temperatures=(1.0, 2.0))
    str(found[0])      # T = 1: gradient cosine 0.9992, KL 0.4620 of 0.4650 nats (1,024 positions)

The gradient is that of the forward KL with respect to the student's hidden states, which is all that its layers see
of the loss. It is measured on a hundredth of the positions, and on 64 at least.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from stillroom.common.hashing import digest
from stillroom.students.data.encode import IGNORED, EncodedRow
from stillroom.students.whitebox import divergence
from stillroom.students.whitebox.cache.signal import likeliest

if TYPE_CHECKING:
    from stillroom.students.whitebox.cache.local import LocalSource
    from stillroom.students.whitebox.cache.store import Found

SHARE, LEAST = 0.01, 64
"""Of the positions; and how many at least, where there are as many."""
NOTHING = 1e-6
"""A KL in nats below which the student is the teacher, and there is no gradient to compare."""
_PART = 256


class Fidelity(NamedTuple):
    """At one temperature. `cosine`: of the two gradients over all positions, None where the student is the teacher;
    `norm`: of the cache's, as a share of the full one's; `kl`, `kl_kept`: in nats a position, without T²."""

    temperature: float
    positions: int
    cosine: float | None
    norm: float | None
    kl: float
    kl_kept: float

    def __str__(self) -> str:
        near = "no gradient" if self.cosine is None else f"gradient cosine {self.cosine:.4f}"
        return (
            f"T = {self.temperature:g}: {near}, KL {self.kl_kept:.4f} of {self.kl:.4f} nats "
            f"({self.positions:,} positions)"
        )

    def as_dict(self) -> dict[str, Any]:
        """For a record."""
        return {name: round(x, 6) if isinstance(x, float) else x for name, x in self._asdict().items()}


def chosen(rows: Sequence[EncodedRow]) -> list[int]:
    """Rows that hold a hundredth of the positions, or 64 where there are as many: by a hash, so the same ones in any
    order of the rows."""
    lengths = [sum(label != IGNORED for label in row.labels) for row in rows]
    wanted, found, positions = max(SHARE * sum(lengths), LEAST), list[int](), 0
    for i in sorted(range(len(rows)), key=lambda i: digest(rows[i].input_ids)):
        if positions >= wanted:
            break
        found.append(i)
        positions += lengths[i]
    return found


def measure(
    teacher: LocalSource,
    student: LocalSource,
    read: Sequence[EncodedRow],
    own: Sequence[EncodedRow],
    entries: Sequence[Found],
    temperatures: tuple[float, ...],
) -> list[Fidelity]:
    """At each temperature. `read`, `own`: the same rows as teacher and student read them; `entries`: what was kept of
    them."""
    theirs, hidden = teacher.states(read), student.states(own)
    return [_at(t, teacher, student, theirs, hidden, entries) for t in temperatures]


def _at(
    temperature: float, teacher: LocalSource, student: LocalSource, theirs: Any, hidden: Any, entries: Sequence[Found]
) -> Fidelity:
    import torch

    kept = likeliest(entries, (temperature,), hidden.device)
    full_kl = kept_kl = dot = 0.0
    squares = [0.0, 0.0]
    for start in range(0, len(hidden), _PART):
        at = slice(start, start + _PART)
        own = hidden[at].detach().requires_grad_(True)
        with torch.enable_grad():
            logits = student.head.logits(own)
            full = divergence.forward_kl(logits, teacher.logits(theirs[at]), temperature)
            part = divergence.top_k_kl(logits, *kept.part(at).top(temperature), temperature=temperature)
            gradients = [torch.autograd.grad(loss, own, retain_graph=True)[0].double() for loss in (full, part)]
        full_kl, kept_kl = full_kl + float(full.detach()), kept_kl + float(part.detach())
        dot += float((gradients[0] * gradients[1]).sum())
        squares = [total + float(g.square().sum()) for total, g in zip(squares, gradients, strict=True)]
    count, scale = len(hidden), temperature**2
    same = full_kl / scale / count < NOTHING or not min(squares)
    return Fidelity(
        temperature=temperature,
        positions=count,
        cosine=None if same else dot / (squares[0] * squares[1]) ** 0.5,
        norm=None if same else (squares[1] / squares[0]) ** 0.5,
        kl=full_kl / scale / count,
        kl_kept=kept_kl / scale / count,
    )
