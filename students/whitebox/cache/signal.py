"""A teacher's likeliest tokens at the positions of a batch, as tensors, at any temperature that was declared.

    signal = CachedSignal(entries, temperatures=(1.0, 2.0), vocabulary=49_152)
    likeliest = signal.at([4, 0, 7], device)         # rows of the training, their positions one after another
    divergence.top_k_kl(student, *likeliest.top(2.0), temperature=2.0)

Entries stay packed in memory (about 60 bytes a position at k = 16) and are unpacked batch by batch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from stillroom.errors import RecipeError, TrainingError
from stillroom.students.whitebox.cache.record import unpack
from stillroom.students.whitebox.divergence import TopK

if TYPE_CHECKING:
    from stillroom.students.whitebox.cache.store import Found


class Likeliest(NamedTuple):
    """Of N positions: `ids`, (N, K), and `log_p`, (N, K), at T = 1 and −inf where a position has fewer than K;
    `log_tail`, (N, T), at each of the `temperatures`."""

    ids: Any
    log_p: Any
    log_tail: Any
    temperatures: tuple[float, ...]

    def part(self, part: slice) -> Likeliest:
        """Those of some positions."""
        return Likeliest(self.ids[part], self.log_p[part], self.log_tail[part], self.temperatures)

    def top(self, temperature: float, k: int | None = None) -> TopK:
        """At this temperature, in float32. `k`: the likeliest of them, the others added to the tail.

        Raises RecipeError for a temperature that was not declared when the teacher was asked.
        """
        import torch

        if temperature not in self.temperatures:
            kept = ", ".join(f"{t:g}" for t in self.temperatures)
            raise RecipeError(
                f"the cache holds temperatures {kept}, not {temperature:g}: at another one the mass of the tokens "
                "that are not kept is unknown. Name it in `student.cache.temperatures`, and the teacher is asked"
            )
        log_tail = self.log_tail[:, self.temperatures.index(temperature)]
        head = self.log_p / temperature
        # log(1 − tail); where all is in the tail but for rounding, it must not become −inf.
        room = torch.log(-torch.expm1(log_tail.clamp(max=-1e-6)))
        log_p = head - head.logsumexp(-1, keepdim=True) + room[:, None]
        if k is None or k >= log_p.shape[-1]:
            return TopK(self.ids, log_p, log_tail)
        return TopK(self.ids[:, :k], log_p[:, :k], torch.logaddexp(log_tail, log_p[:, k:].logsumexp(-1)))


class CachedSignal:
    """Stands for the teacher of a training. `entries`: of its rows, in their order.

    Raises TrainingError for an id beyond the vocabulary.
    """

    def __init__(self, entries: Sequence[Found], temperatures: tuple[float, ...], vocabulary: int) -> None:
        self._entries, self.temperatures = entries, temperatures
        highest = max((int(found.packed.ids.max()) for found in entries if len(found.packed.ids)), default=0)
        if highest >= vocabulary:
            raise TrainingError(
                f"the cache names token {highest:,}, the tokenizer has {vocabulary:,}: it is of another tokenizer. "
                "Delete the cache's folder, and the teacher is asked again"
            )

    def positions(self, row: int) -> int:
        """Of a row."""
        return self._entries[row].packed.positions

    def at(self, rows: Sequence[int], device: Any = None) -> Likeliest:
        """Of these rows, one after another."""
        return likeliest([self._entries[row] for row in rows], self.temperatures, device)


def likeliest(entries: Sequence[Found], temperatures: tuple[float, ...], device: Any = None) -> Likeliest:
    """The entries as tensors, one after another."""
    import numpy as np
    import torch

    parts = [unpack(found.packed) for found in entries]
    counts = np.concatenate([part.counts for part in parts])
    width, rows = int(counts.max()), np.repeat(np.arange(len(counts)), counts)
    places = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
    flat = np.concatenate([part.ids for part in parts])
    # Where a position has fewer, its likeliest token stands again, with probability 0.
    ids = np.repeat(flat[np.cumsum(counts) - counts][:, None], width, 1)
    log_p = np.full((len(counts), width), -math.inf, np.float32)
    ids[rows, places], log_p[rows, places] = flat, np.concatenate([part.log_p for part in parts])
    tails = [
        part.log_tail[:, [found.temperatures.index(t) for t in temperatures]]
        for part, found in zip(parts, entries, strict=True)
    ]
    log_tail = np.concatenate(tails).astype(np.float32)
    ids_N_K, log_p_N_K, tail_N_T = (torch.from_numpy(array).to(device) for array in (ids, log_p, log_tail))
    return Likeliest(ids_N_K, log_p_N_K, tail_N_T, temperatures)
