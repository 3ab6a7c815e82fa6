"""Log-probabilities of a prompt's tokens as vLLM tells them (`prompt_logprobs`), made into a cache's entries.

    entry = Reading(rule, vocabulary, "the server").entry(row, told)

A server or engine is given prompt and answer as tokens, generates one more, and tells for each token what was likely
in its place: entry i is about token i, entry 0 is null, keys are ids, and the token itself is always there, whatever
its rank. Temperature is 1, with no penalty and no cut. Raw and processed log-probabilities are then the same, so it
does not matter which of them a server tells. It is checked all the same: the student will learn nothing else.

Refused are: entries or tokens that are missing, ids beyond the vocabulary, what is not a number, probabilities that
sum to more than 1 or to next to nothing (logits instead of log-probabilities), and a distribution without a tail at
hundreds of positions on end (cut by top_p or top_k before it was told).
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple

from stillroom.errors import RunError
from stillroom.students.data.encode import EncodedRow
from stillroom.students.whitebox.cache.record import Entry
from stillroom.students.whitebox.cache.rules import Rule, Temperatures
from stillroom.students.whitebox.cache.sources import Scored, start_of

LEAST_MASS, LEAST_POSITIONS = 0.05, 8
"""Mean share of a row's probability that its likeliest tokens have; and the positions that this needs."""
ROUNDING = 1e-3
"""Of a sum of probabilities, or a log-probability above 0."""
NO_TAIL, NO_TAIL_POSITIONS = 1e-7, 512
"""A tail that is none, and the positions without one, from the first on, that no model has."""


class Told(NamedTuple):
    """One position: tokens and their log-probabilities, the likeliest first."""

    ids: list[int]
    log_p: list[float]


class Reading:
    """Checks what `who` tells, row by row. Raises RunError naming the row, the position and the fault."""

    def __init__(self, rule: Rule, vocabulary: int, who: str, *, whole: bool = True) -> None:
        self._rule, self._vocabulary, self._who = rule, vocabulary, who
        self._whole = whole  # as many tokens were asked for as the rule may keep
        self._positions = self._without_tail = 0

    def entry(self, row: EncodedRow, told: Any) -> Entry:
        """Of the answer's positions. `told`: an entry for each of the row's tokens."""
        if not isinstance(told, list) or len(told) != len(row.input_ids):
            found = f"{len(told):,} entries" if isinstance(told, list) else type(told).__name__
            raise self._fault(row, f"it told {found} of log-probabilities for {len(row.input_ids):,} tokens")
        positions = [
            self._position(row, at, _triples(told[at]), row.input_ids[at])
            for at in range(start_of(row), len(row.input_ids))
        ]
        return self.of(row, positions)

    def of(self, row: EncodedRow, positions: Sequence[Told]) -> Entry:
        """Of positions that were looked at one by one."""
        import numpy as np

        kept = [self._kept(each) for each in positions]
        head = np.array([math.fsum(map(math.exp, each.log_p)) for each in kept])
        if len(kept) >= LEAST_POSITIONS and head.mean() < LEAST_MASS:
            raise self._fault(
                row,
                f"its likeliest tokens have {head.mean():.2%} of the probability on average: those are no "
                "log-probabilities (vLLM: start it with --logprobs-mode raw_logprobs or processed_logprobs)",
            )
        tail = np.clip(1 - head, 0.0, 1.0)
        self._positions += len(kept)
        self._without_tail += int((tail <= NO_TAIL).sum())
        if self._whole and self._without_tail == self._positions >= NO_TAIL_POSITIONS:
            raise self._fault(
                row,
                f"at none of {self._positions:,} positions it leaves any probability outside of its "
                f"{self._rule.most} likeliest tokens: it cuts its distribution (top_p, top_k, min_p) before it tells "
                "it. Turn that off on the server",
            )
        with np.errstate(divide="ignore"):
            log_tail = np.where(tail > NO_TAIL, np.log(tail), -np.inf)
        return Entry(
            np.array([len(each.ids) for each in kept]),
            np.array([i for each in kept for i in each.ids]),
            np.array([p for each in kept for p in each.log_p]),
            log_tail[:, None],
        )

    def position(self, row: EncodedRow, at: int, ids: Any, log_probs: Any) -> Told:
        """Of two lists."""
        if not isinstance(ids, list) or not isinstance(log_probs, list) or len(ids) != len(log_probs):
            raise self._fault(row, f"position {at}: ids and log_probs are not lists of the same length")
        return self._position(row, at, [(i, p, None) for i, p in zip(ids, log_probs, strict=True)], None)

    def _position(
        self, row: EncodedRow, at: int, told: list[tuple[Any, Any, Any]] | None, actual: int | None
    ) -> Told:
        """Checked and sorted. `actual`: the token that stands there, None where it need not be among those told."""
        where = f"token {at}: "
        if not told:
            raise self._fault(row, f"{where}it told nothing")
        for token, log_p, _ in told:
            if type(token) is not int or not 0 <= token < self._vocabulary:
                raise self._fault(
                    row, f"{where}{str(token)[:40]!r} is not an id of a vocabulary of {self._vocabulary:,}"
                )
            if isinstance(log_p, bool) or not isinstance(log_p, int | float) or not -math.inf < log_p <= ROUNDING:
                raise self._fault(row, f"{where}{str(log_p)[:40]!r} is not a log-probability")
        if len({token for token, _, _ in told}) < len(told):
            raise self._fault(row, f"{where}it named an id twice")
        if actual is not None and all(token != actual for token, _, _ in told):
            raise self._fault(row, f"{where}the token itself ({actual}) is not among those told: entries are shifted")
        ordered = sorted(told, key=lambda one: (-one[1], one[0]))
        ranks = [(rank, log_p) for _, log_p, rank in told if type(rank) is int]
        if any(b[1] > a[1] + ROUNDING for a, b in zip(sorted(ranks), sorted(ranks)[1:], strict=False)):
            raise self._fault(row, f"{where}a token of a lower rank is likelier")
        if (total := math.fsum(math.exp(min(log_p, 0.0)) for _, log_p, _ in told)) > 1 + ROUNDING * len(told):
            raise self._fault(row, f"{where}the probabilities sum to {total:.3f}")
        if self._whole and len(told) < min(self._rule.most, self._vocabulary):
            raise self._fault(
                row,
                f"{where}it told {len(told)} tokens where {self._rule.most} were asked for (vLLM: start it with "
                f"--max-logprobs {self._rule.most} or more)",
            )
        return Told([token for token, _, _ in ordered], [min(float(log_p), 0.0) for _, log_p, _ in ordered])

    def _kept(self, told: Told) -> Told:
        """What the rule keeps."""
        rule, count = self._rule, min(self._rule.most, len(told.ids))
        if rule.mass is not None:
            mass, count = 0.0, 0
            while count < min(rule.most, len(told.ids)) and (count < rule.least or mass < rule.mass):
                mass, count = mass + math.exp(told.log_p[count]), count + 1
        return Told(told.ids[:count], told.log_p[:count])

    def _fault(self, row: EncodedRow, what: str) -> RunError:
        return RunError(f"{self._who}, asked for {row.name}: {what}")


def _triples(entry: Any) -> list[tuple[Any, Any, Any]] | None:
    """Id, log-probability and rank of each token in an entry; None for what is not one."""
    if not isinstance(entry, Mapping):
        return None
    found = []
    for key, value in entry.items():
        token = int(key) if isinstance(key, str) and key.isascii() and key.isdecimal() and len(key) < 10 else key
        said = value if isinstance(value, Mapping) else {}
        found.append((token, said.get("logprob"), said.get("rank")))
    return found


class PromptedSource:
    """Whoever tells `prompt_logprobs`. `ask`: the entries for a list of ids, with the likeliest k tokens each;
    `most`: requests in flight."""

    def __init__(
        self,
        ask: Callable[[list[int], int], Awaitable[Any]],
        close: Callable[[], Awaitable[None]],
        vocabulary: int,
        who: str,
        most: int,
    ) -> None:
        self._ask, self._close = ask, close
        self._vocabulary, self._who, self._most = vocabulary, who, most
        self._reading: Reading | None = None

    async def score(
        self, rows: Sequence[EncodedRow], rule: Rule, temperatures: Temperatures
    ) -> AsyncGenerator[Scored]:
        """See `Source`; each row as soon as it is told."""
        reading = self._reading = self._reading or Reading(rule, self._vocabulary, self._who)
        slots = asyncio.Semaphore(self._most)

        async def one(number: int) -> Scored:
            async with slots:
                told = await self._ask(rows[number].input_ids, min(rule.most, self._vocabulary))
            return Scored(number, reading.entry(rows[number], told))

        tasks = [asyncio.create_task(one(number)) for number in range(len(rows))]
        try:
            for done in asyncio.as_completed(tasks):
                yield await done
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def close(self) -> None:
        """Closes what it asks."""
        await self._close()
