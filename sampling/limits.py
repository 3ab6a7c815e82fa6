"""What requests cost, counted or estimated, and what a run may cost: prices, and limits that stop it cleanly.

>>> Prices(prompt=0.5, completion=2.0).of(1_000_000, 500_000)
1.5
"""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import NamedTuple

from pydantic import Field

from stillroom.common.formatting import money
from stillroom.common.records import Completion, Request
from stillroom.common.settings import Settings
from stillroom.sampling.counts import Counts

# Of English text, roughly; other languages need more, which the first answer of a task tells.
CHARACTERS_PER_TOKEN = 4.0
# Tasks whose prompts are remembered: many more than are open at once, yet a run of a million stays small.
REMEMBERED = 4096


class Prices(Settings):
    """Prices of a million tokens."""

    prompt: float = Field(default=0.0, ge=0)
    """US dollars for a million prompt tokens."""
    completion: float = Field(ge=0)
    """US dollars for a million completion tokens."""

    def of(self, prompt_tokens: int, completion_tokens: int) -> float:
        """US dollars for these tokens."""
        return (self.prompt * prompt_tokens + self.completion * completion_tokens) / 1e6

    def usd(self, counts: Counts) -> float:
        """US dollars for what a sampling run has used, what was cancelled included."""
        return self.of(counts.prompt_tokens, counts.completion_tokens + counts.cancelled_tokens)


class Limits(Settings):
    """Totals for one call of a run. At a limit no more is drawn, what is in flight is answered and kept, and the run
    ends saying so; the same command with a higher limit goes on."""

    tokens: int | None = Field(default=None, ge=1)
    """Prompt and completion tokens, estimated where a server does not count them; null: no limit."""
    usd: float | None = Field(default=None, gt=0)
    """US dollars; needs prices; null: no limit."""
    minutes: float | None = Field(default=None, gt=0)
    """Minutes since sampling began; null: no limit."""


class Meter:
    """What one call of a run has spent so far, on teachers and judges together, against its limits.

    >>> meter = Meter(Limits(tokens=100))
    >>> counts = meter.watch(Counts(), None)
    >>> counts.completion_tokens = 120
    >>> meter.reached()
    '120 tokens used, limits.tokens is 100'
    """

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._watched: list[tuple[Counts, Prices | None]] = []

    def watch(self, counts: Counts, prices: Prices | None) -> Counts:
        """Adds someone to what is summed up; gives `counts` back."""
        self._watched.append((counts, prices))
        return counts

    @property
    def watched(self) -> tuple[tuple[Counts, Prices | None], ...]:
        """Who is summed up, with prices where they are known."""
        return tuple(self._watched)

    @property
    def counts(self) -> tuple[Counts, ...]:
        """Those of all that are watched."""
        return tuple(counts for counts, _ in self._watched)

    def reached(self, outlay: Outlay | None = None) -> str:
        """Which limit is reached, in words; empty if none. `outlay`: what was asked for and is not answered yet, with
        which it would be."""
        limits, used = self._limits, sum(counts.tokens for counts, _ in self._watched)
        about = "about " if self.estimated or outlay is not None else ""
        if outlay is not None:
            used += round(outlay.prompt_tokens + outlay.completion_tokens)
        if limits.tokens is not None and used >= limits.tokens:
            return f"{about}{used:,} tokens used, limits.tokens is {limits.tokens:,}"
        usd = self.usd() + (0.0 if outlay is None else outlay.usd)
        if limits.usd is not None and usd >= limits.usd:
            return f"{about}{money(usd)} spent, limits.usd is {money(limits.usd)}"
        minutes = max((counts.elapsed_s for counts, _ in self._watched), default=0.0) / 60
        if limits.minutes is not None and minutes >= limits.minutes:
            return f"{minutes:.1f} minutes used, limits.minutes is {limits.minutes:g}"
        return ""

    @property
    def estimated(self) -> int:
        """Answers whose tokens nobody counted."""
        return sum(counts.estimated for counts, _ in self._watched)

    def usd(self) -> float:
        """US dollars so far, of those whose prices are known."""
        return sum(prices.usd(counts) for counts, prices in self._watched if prices is not None)


class Cost(NamedTuple):
    """Tokens of a prompt and of its answer."""

    prompt: int
    completion: int


def cost_of(request: Request, answer: Completion, *, uncounted: bool) -> Cost:
    """What an answer cost, as it was counted; where nobody counted all of it, by its characters, and never less than
    was counted."""
    if not uncounted:
        return Cost(answer.prompt_tokens, answer.completion_tokens)
    asked = math.ceil(sum(len(message.content) for message in request.messages) / CHARACTERS_PER_TOKEN)
    said = math.ceil((len(answer.text) + len(answer.reasoning or "")) / CHARACTERS_PER_TOKEN)
    limited = min(said, request.sampling.max_tokens)
    return Cost(answer.prompt_tokens or asked, max(answer.completion_tokens, limited))


class Expected(NamedTuple):
    """Tokens that a prompt and its answer are expected to have."""

    prompt: float
    completion: float


class Outlay:
    """What requests that were asked for and are not answered yet are expected to cost: the mean of those that were
    answered, else the prompt at four characters a token and the most that the answer may have.

    >>> outlay = Outlay(Prices(prompt=1.0, completion=2.0))
    >>> outlay.add("a", outlay.expected(characters=400, max_tokens=50, counts=Counts()))
    >>> outlay.prompt_tokens, outlay.completion_tokens, outlay.usd
    (100.0, 50.0, 0.0002)
    """

    def __init__(self, prices: Prices | None = None) -> None:
        self._prices = prices
        self._of: dict[object, Expected] = {}
        self.prompt_tokens = self.completion_tokens = 0.0

    @staticmethod
    def expected(characters: int, max_tokens: int, counts: Counts) -> Expected:
        """Prompt and completion tokens of one request."""
        answered = counts.scored - counts.reused
        if answered <= 0:
            return Expected(math.ceil(characters / CHARACTERS_PER_TOKEN), max_tokens)
        return Expected(counts.prompt_tokens / answered, min(counts.completion_tokens / answered, max_tokens))

    @property
    def usd(self) -> float:
        """US dollars; 0 where no prices are known."""
        prices = self._prices
        if prices is None:
            return 0.0
        return (prices.prompt * self.prompt_tokens + prices.completion * self.completion_tokens) / 1e6

    def __len__(self) -> int:
        return len(self._of)

    def add(self, request: object, cost: Expected) -> None:
        """Adds a request that is asked for."""
        self._of[request] = cost
        self._sum(1, cost)

    def settle(self, request: object) -> None:
        """Takes out a request that was answered, or is not wanted any more. Safe to call for any other."""
        if (cost := self._of.pop(request, None)) is not None:
            self._sum(-1, cost)

    def _sum(self, sign: int, cost: Expected) -> None:
        self.prompt_tokens += sign * cost.prompt
        self.completion_tokens += sign * cost.completion
        if not self._of:  # no dust of rounding is left
            self.prompt_tokens = self.completion_tokens = 0.0


class Costs:
    """What a request will cost, before it is asked: the prompt as the task's last one was counted, else four
    characters a token, and the mean answer so far, else the most that was asked for.

    >>> costs = Costs()
    >>> costs.estimate("t", characters=400, max_tokens=50)
    150.0
    >>> costs.note("t", prompt_tokens=90, completion_tokens=20)
    >>> costs.estimate("t", characters=400, max_tokens=50)
    110.0
    """

    def __init__(self) -> None:
        self._prompts: OrderedDict[str, int] = OrderedDict()
        self._answers = self._completion_tokens = 0

    def estimate(self, task_id: str, characters: int, max_tokens: int) -> float:
        """Tokens of the prompt and the answer together."""
        prompt = self._prompts.get(task_id, characters / CHARACTERS_PER_TOKEN)
        mean = self._completion_tokens / self._answers if self._answers else max_tokens
        return prompt + min(mean, max_tokens)

    def prompt_tokens(self, task_id: str) -> int | None:
        """What the task's prompt was counted as, None before the first answer."""
        return self._prompts.get(task_id)

    def note(self, task_id: str, prompt_tokens: int, completion_tokens: int) -> None:
        """Learns from an answer; a server that counts nothing teaches nothing."""
        if prompt_tokens:
            self._prompts[task_id] = prompt_tokens
            self._prompts.move_to_end(task_id)
            if len(self._prompts) > REMEMBERED:
                self._prompts.popitem(last=False)
        if completion_tokens:
            self._answers += 1
            self._completion_tokens += completion_tokens
