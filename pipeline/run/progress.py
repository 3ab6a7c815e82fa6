"""What a run shows while it works: live tables on a terminal, plain lines elsewhere, nothing with `--quiet`.

Everything goes to standard error, so that standard output holds the result alone.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar

from stillroom.common.formatting import duration
from stillroom.common.printing import Table, plain, shown, terminal
from stillroom.pipeline.run.stalled import Stalled
from stillroom.sampling.counts import Counts
from stillroom.sampling.limits import Meter

UNCOUNTED = (
    "some answers came without a count of their tokens: it is estimated at four characters a token, and "
    "limits and budgets go by the estimate"
)
ODD = (
    "next to some answers something could not be read (log-probabilities, counts of tokens, thinking): the answers "
    "are kept without it; run.json counts them (sampling.odd)"
)
UNKNOWN_END = (
    "some answers ended in a way that is not known (the last one: {!r}), so they are never rejected, and the filter "
    "`finished` drops them: say what it means in teacher.finish_reasons"
)
PLAIN_EVERY_S = 15.0  # between lines where there is no terminal
REFRESH_S = 0.25


class Display:
    """Shows stages and their progress on `console`."""

    def __init__(self, console: Console | None = None, *, quiet: bool = False) -> None:
        self.console = console or terminal(stderr=True, quiet=quiet)
        self._told: set[str] = set()

    def line(self, label: str, text: str) -> None:
        """A fact: a label in the margin, then the text; one plain line where there is no terminal."""
        if not self.console.is_terminal:
            self.console.print(plain(f"{label:<9} {text}"), soft_wrap=True)
            return
        grid = Table.grid(padding=(0, 2))
        grid.add_column(width=9, style="bold")
        grid.add_column(overflow="fold")
        grid.add_row(label, text)
        self.console.print(grid)

    def note(self, text: str) -> None:
        """A remark that a person should see."""
        self.line("", text)

    def note_once(self, text: str) -> None:
        """A remark that a person should see, the first time."""
        if text not in self._told:
            self._told.add(text)
            self.note(text)

    @contextmanager
    def sampling(self, label: str, counts: Counts, meter: Meter | None = None) -> Iterator[None]:
        """Shows `counts` while the body runs; needs a running event loop. Tells, too, where `counts`, or others that
        `meter` watches (a judge, say), are refused and nothing else."""
        task = asyncio.ensure_future(self._watch(label, counts, meter))
        try:
            yield
        finally:
            task.cancel()

    async def _watch(self, label: str, counts: Counts, meter: Meter | None) -> None:
        stalled = Stalled()

        def look() -> None:
            if said := stalled.note((counts, *(meter.counts if meter is not None else ())), time.monotonic()):
                self.note(said)

        if not self.console.is_terminal:
            while True:
                await asyncio.sleep(PLAIN_EVERY_S)
                self.line(label, progress_line(counts))
                look()
        with Live(console=self.console, auto_refresh=False, transient=True) as live, suppress(asyncio.CancelledError):
            while True:
                live.update(progress_table(label, counts), refresh=True)
                look()
                await asyncio.sleep(REFRESH_S)

    @contextmanager
    def steps(self, label: str) -> Iterator[StepsShown]:
        """Shows training steps while the body runs; call the yielded object after each step."""
        live = Live(console=self.console, auto_refresh=False, transient=True) if self.console.is_terminal else None
        if live is not None:
            live.start()
        try:
            yield StepsShown(self, label, live)
        finally:
            if live is not None:
                live.stop()


class StepsShown:
    """Training progress: a bar on a terminal, a line now and then elsewhere."""

    def __init__(self, display: Display, label: str, live: Live | None) -> None:
        self._display, self._label, self._live = display, label, live
        self._started = self._shown = time.monotonic()
        self._before: int | None = None  # steps of a checkpoint that is gone on with

    def __call__(self, step: int, total: int, loss: float, tokens_per_s: float) -> None:
        """After step `step` (from 1) of `total`."""
        now = time.monotonic()
        self._before = step - 1 if self._before is None or step <= self._before else self._before
        left = (now - self._started) / (step - self._before) * (total - step)
        facts = f"step {step}/{total}  loss {loss:.3f}  {tokens_per_s:,.0f} tokens/s  {duration(left)} left"
        if self._live is not None:
            self._live.update(_with_bar(self._label, step, total, facts), refresh=True)
        elif now - self._shown >= PLAIN_EVERY_S or step == total:
            self._shown = now
            self._display.line(self._label, facts)


def progress_line(c: Counts) -> str:
    """The state of sampling in one line."""
    total = f"/{c.tasks_total:,}" if c.tasks_total is not None else ""
    waited = f", {c.refused:,} times too many requests" if c.refused else ""
    if c.refused_since is not None:  # and nobody was answered since
        waited += f" (waiting: {shown(c.last_refusal, 120)})"
    # In batches, tasks end by the thousand: their pace says nothing, and the batch itself is told of.
    eta = "" if c.eta_s is None or c.waves else f", {duration(c.eta_s)} left"
    if c.waves or c.batches:
        eta += f"; {batches_in_words(c)}"
    return (
        f"{c.finished:,}{total} tasks ({c.satisfied:,} satisfied, {c.gave_up + c.exhausted:,} without), "
        f"{verdicts(c)}, {_rate(c):,.0f} tokens/s{waited}{eta}"
    )


def progress_table(label: str, c: Counts) -> RenderableType:
    """The state of sampling as a small table under a bar."""
    facts = f"{c.finished:,} of {c.tasks_total or 0:,} tasks"
    if c.eta_s is not None and not c.waves:
        facts += f"  {duration(c.eta_s)} left"
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("", width=9)
    for name, style in (("satisfied", "green"), ("gave up", "yellow"), ("exhausted", "yellow"), ("open", "cyan")):
        table.add_column(name, justify="right", style=style, min_width=9)
    table.add_row("tasks", f"{c.satisfied:,}", f"{c.gave_up:,}", f"{c.exhausted:,}", f"{c.open:,}")
    attempts = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False)
    attempts.add_column("", width=9)
    for name, style in (("accepted", "green"), ("rejected", "red"), ("unscored", "yellow"), ("failed", "red")):
        attempts.add_column(name, justify="right", style=style, min_width=9)
    attempts.add_column("tokens", justify="right", min_width=9)
    attempts.add_column("tokens/s", justify="right")
    numbers = [c.accepted, c.rejected, c.unscored, c.failed, c.completion_tokens]
    attempts.add_row("attempts", *(f"{n:,}" for n in numbers), f"{_rate(c):,.0f}")
    parts: list[RenderableType] = [_with_bar(label, c.finished, c.tasks_total or 1, facts), table, attempts]
    if c.waves or c.batches:
        parts.append(plain(batches_in_words(c), "cyan"))
    if c.refused:
        parts.append(plain(f"{c.refused:,} times too many requests: {shown(c.last_refusal, 240)}", "yellow"))
    if c.last_failure:
        parts.append(plain(f"last failure: {shown(c.last_failure, 240)}", "yellow"))
    return Group(*parts)


def batches_in_words(c: Counts) -> str:
    """The waves of requests, and how far the batches under way are."""
    if not c.waves:
        return c.batches
    over = f" (of all, {c.overdraw:,.1f} expected not to be needed)" if c.overdraw else ""
    return f"wave {c.waves}: {c.wave:,} requests{over}" + (f"; {c.batches}" if c.batches else "")


def strays_in_words(c: Counts) -> str:
    """Lines in results of batches that were of no use."""
    kinds = (
        (c.lines_unknown, "about nothing that was asked"),
        (c.lines_twice, "about what was answered already"),
        (c.lines_unread, "that cannot be read"),
    )
    told = ", ".join(f"{n:,} {what}" for n, what in kinds if n)
    return f"the results of batches hold lines of no use: {told}; whatever has no answer by them is asked again"


def verdicts(c: Counts) -> str:
    """Attempts by verdict, in words."""
    parts = [
        f"{c.scored:,} attempts: {c.accepted:,} accepted",
        f"{c.rejected:,} rejected",
        f"{c.unscored:,} unscored",
    ]
    if c.verified or c.refuted:
        parts[0] += f" ({c.verified:,} by the verifier)"
        parts[1] += f" ({c.refuted:,} by the verifier)"
    parts += [f"{n:,} {word}" for n, word in ((c.failed, "failed"), (c.cancelled, "cancelled")) if n]
    return ", ".join(parts)


def sampled_in_words(c: Counts, *, replayed: bool) -> str:
    """What sampling came to and took, in words."""
    reused = f" ({c.reused:,} of them from the ledger)" if c.reused else ""
    tokens = f"{c.completion_tokens:,} {'replayed' if replayed else 'new'} tokens"
    return f"{verdicts(c)}{reused}; {tokens} in {duration(c.elapsed_s)}"


def _rate(c: Counts) -> float:
    return c.completion_tokens / max(c.elapsed_s, 1e-9)


def _with_bar(label: str, done: int, total: int, facts: str) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(width=9, style="bold")
    grid.add_column(width=28)
    grid.add_column()
    grid.add_row(label, ProgressBar(total=total, completed=done, width=28), facts)
    return grid
