"""What a run would pay for, were its recipe run now: said beforehand, from the ledger and the recipe alone.

Nobody is asked and nothing is scored. What is on record is counted as the core would count it: attempts that still
apply are used, those that another scorer saw are scored again at no cost, and a task that these do not stop is drawn
for. How often is what the policy expects, and what that takes are the teacher's mean tokens so far: an estimate.

    plan(loaded, ledger, before="openai:m").tokens
"""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from stillroom.common.formatting import money
from stillroom.common.printing import Terminal, columns
from stillroom.common.records import Prompt, SamplingParams, State, StopReason, Task
from stillroom.pipeline.config.kinds import Loaded
from stillroom.pipeline.config.recipe import Recipe
from stillroom.sampling.draws import Admits, counts_as
from stillroom.sampling.ledger import Ledger, Means, Recorded, Spent, request_key, scorer_key
from stillroom.sampling.limits import Prices
from stillroom.sampling.policy import ONCE, Budget, Policy, Tally
from stillroom.sampling.teachers.base import identity_of
from stillroom.traces.filters import admits_of
from stillroom.traces.tasks import load_tasks


class Use(StrEnum):
    """What becomes of draws. Only the last four are paid for; see `Plan.asked`."""

    USED = "used"
    SCORED_ANEW = "scored_anew"
    NOT_NEEDED = "not_needed"
    CHANGED = "request_changed"
    CUT_OFF = "cut_off"
    MORE = "more_wanted"
    NEW = "not_asked_before"


PAID = (Use.CHANGED, Use.CUT_OFF, Use.MORE, Use.NEW)


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run of the recipe as it is now would do. `draws` and `tasks` count by use; a task is paid for under one
    use at most. `mean`: tokens of an attempt so far, None where nothing is on record. `prices`: the recipe's, None
    where it has none. `replayed`: the teacher is a recording, which costs nothing."""

    recipe: str
    draws: dict[Use, int]
    tasks: dict[Use, int]
    mean: Means | None
    prices: Prices | None
    replayed: bool

    @property
    def asked(self) -> int:
        """Draws that would be asked of the teacher, about."""
        return sum(self.draws[use] for use in PAID)

    def tokens(self, use: Use) -> int | None:
        """Prompt and completion tokens that these draws would take, about; None where nothing is on record to judge
        by."""
        if use not in PAID or not self.draws[use]:
            return 0
        return None if self.mean is None else round(self.draws[use] * sum(self.mean))

    @property
    def all_tokens(self) -> int | None:
        """Tokens that would be paid for, about."""
        found = [self.tokens(use) for use in PAID]
        return None if None in found else sum(n for n in found if n is not None)

    @property
    def usd(self) -> float | None:
        """US dollars for them, about; None without prices, or where nothing is on record to judge by."""
        if self.prices is None or (self.asked and self.mean is None):
            return None
        prompt, completion = self.mean or (0.0, 0.0)
        return self.prices.of(round(self.asked * prompt), round(self.asked * completion))

    def as_dict(self) -> dict[str, Any]:
        by_use = {
            use.value: {"tasks": self.tasks[use], "draws": self.draws[use], "tokens": self.tokens(use)} for use in Use
        }
        mean = None if self.mean is None else self.mean._asdict()
        asked = {"asked": self.asked, "tokens": self.all_tokens, "usd": self.usd, "replayed": self.replayed}
        return {"recipe": self.recipe, **asked, "mean_tokens": mean, "uses": by_use}

    def show(self, console: Terminal) -> None:
        """Prints it: a line for each use, then the cost in words."""
        numbers = ("tasks", "draws", "tokens")
        table = columns("if it were run now", *numbers, right=numbers)
        for use in (use for use in Use if self.draws[use]):
            draws, tokens = self.draws[use], self.tokens(use)
            about = "about " if use in PAID else ""
            cost = "unknown" if tokens is None else f"{about if tokens else ''}{tokens:,}"
            table.add_row(_USES[use], f"{self.tasks[use]:,}", f"{about}{draws:,}", cost)
        console.print(table)
        if self.draws[Use.CHANGED]:
            console.print("the request changed: another teacher, prompt, sampling or seed")
        about = f"about {self.asked:,} draws would be"
        if not self.asked:
            told = "nothing would be paid for"
        elif self.replayed:
            told = f"{about} replayed, as far as the recording has them: nothing is paid for"
        elif self.mean is None or self.all_tokens is None:
            told = f"{about} paid for; nothing is on record to estimate their tokens by"
        else:
            each = f"{self.mean.prompt_tokens:,.0f} asked and {self.mean.completion_tokens:,.0f} answered"
            usd = "" if self.usd is None else f", {money(self.usd)}"
            total = f"about {self.all_tokens:,} tokens would be paid for{usd}"
            told = f"{total}: {self.asked:,} draws at the mean so far ({each})"
        console.print(told, soft_wrap=True)


_USES = {
    Use.USED: "on record, used as they are",
    Use.SCORED_ANEW: "on record, scored again",
    Use.NOT_NEEDED: "on record, not needed now",
    Use.CHANGED: "asked again: the request changed",
    Use.CUT_OFF: "asked again: cut off, other max_tokens",
    Use.MORE: "asked: more draws of tasks on record",
    Use.NEW: "asked: tasks not on record",
}


def plan(loaded: Loaded[Recipe], ledger: Ledger, before: str | None) -> Plan:
    """Estimates what the recipe will cost, given the ledger. `before`: identity of the teacher that the run had,
    None if it had none.

    Raises InputError for a recipe that cannot be run.
    """
    recipe, base = loaded.recipe, loaded.base
    identity = identity_of(recipe.teacher, base)
    weighing = Weighing(ledger, recipe.seed, {identity, before}, recipe.prices)
    tasks = load_tasks(recipe.tasks, base=base, seed=recipe.seed)
    asked = (identity, recipe.teacher.teacher_prompt, recipe.scorer.identity(base))
    admits = admits_of(recipe.filters, base)
    weighing.add(Part(tasks.train, recipe.teacher.sampling, recipe.keep, *asked, admits=admits))
    if recipe.evaluate is not None and "teacher" in recipe.evaluate.baselines:
        asked = (identity, recipe.teacher.teacher_prompt, recipe.measuring.identity(base))
        weighing.add(Part(tasks.test, recipe.greedy, ONCE, *asked))
        if (samples := recipe.evaluate.samples) is not None:
            weighing.add(Part(tasks.test, samples.sampling(recipe.greedy), samples.policy, *asked))
    mean = ledger.mean_tokens(identity) or (ledger.mean_tokens(before) if before else None)
    return Plan(str(loaded.path), weighing.draws, weighing.tasks, mean, recipe.prices, recipe.teacher.replays)


class Part(NamedTuple):
    """Tasks that are asked of one teacher in the same way. `teacher` and `scorer` are identities; `admits`: as in the
    core."""

    tasks: Sequence[Task]
    sampling: SamplingParams
    policy: Policy
    teacher: str
    prompt: Prompt
    scorer: str
    admits: Admits | None = None


class Weighing:
    """Adds up what becomes of the draws of each task. `teachers`: whose attempts on record are looked at. `prices`:
    for a budget in dollars."""

    def __init__(self, ledger: Ledger, seed: int, teachers: set[str | None], prices: Prices | None = None) -> None:
        self.draws: dict[Use, int] = dict.fromkeys(Use, 0)
        self.tasks: dict[Use, int] = dict.fromkeys(Use, 0)
        self._ledger, self._seed, self._prices = ledger, seed, prices
        # Accepted share so far, as the core counts it: with one success and one failure added.
        counts = ledger.verdict_counts()
        scored = sum(counts.get(state.value, 0) for state in State)
        self._rate = (counts.get(State.ACCEPTED.value, 0) + 1) / (scored + 2)
        self._keys, self._asked_tasks = set[str](), set[str]()
        for request in ledger.requests():
            if request.teacher in teachers:
                self._keys.add(request.key)
                self._asked_tasks.add(request.task_id)

    def add(self, part: Part) -> None:
        """Counts the draws of each task."""
        limit = (part.policy.escalate or (part.sampling.max_tokens,))[-1]
        keys = [request_key(part.prompt.messages(t), part.sampling, part.teacher, self._seed) for t in part.tasks]
        left = self._left(part.policy, keys)
        for task, key in zip(part.tasks, keys, strict=True):
            scorer = scorer_key(part.scorer, task)
            found = self._ledger.find(key, limit, task.id, scorer) if key in self._keys else {}
            uses = self._uses(task, found, part)
            if missing := min(uses.pop(Use.MORE, 0), math.ceil(left)):
                if key not in self._keys:
                    why = Use.CHANGED if task.id in self._asked_tasks else Use.NEW
                else:
                    why = Use.CUT_OFF if self._ledger.draws(key) - found.keys() else Use.MORE
                uses[why] = missing
                left -= missing
            for use, n in uses.items():
                self.draws[use] += n
                self.tasks[use] += 1

    def _left(self, policy: Policy, keys: Sequence[str]) -> float:
        """Draws that what is left of a budget is about enough for, at the mean so far; more than enough otherwise."""
        spent = Spent()
        for key in keys if isinstance(policy, Budget) else ():
            spent = spent.plus(self._ledger.spent(key)) if key in self._keys else spent
        if not isinstance(policy, Budget) or not spent.attempts:
            return sys.maxsize
        cancelled = self._ledger.cancelled_tokens()
        completion = spent.completion_tokens + sum(cancelled.get(key, 0) for key in keys)
        usd = self._prices.of(spent.prompt_tokens, completion) if self._prices else 0.0
        left = [
            (total - so_far) * spent.attempts / so_far
            for total, so_far in ((policy.tokens, completion), (policy.usd, usd))
            if total is not None and so_far
        ]
        return max(0.0, min(left, default=sys.maxsize))

    def _uses(self, task: Task, found: dict[int, Recorded], part: Part) -> Counter[Use]:
        """Draws by use, in draw order; those to be asked, for whatever reason, as `MORE`."""
        uses, tally, holes = Counter[Use](), Tally(), 0
        for index in range(max(found, default=-1) + 1):
            if _stops(part.policy, tally, holes):
                uses[Use.NOT_NEEDED] += index in found
            elif index in found:
                recorded = found[index]
                uses[Use.USED if recorded.verdict else Use.SCORED_ANEW] += 1
                if (scored := recorded.scored) is not None:
                    state = counts_as(task, scored, part.admits)
                else:  # to be scored again: what it counted as before
                    state = self._ledger.last_state(recorded.row) or State.UNSCORED
                tally = tally.plus(state)
            else:
                holes += 1  # a draw that failed, or was cut off: asked again
        wanted = 0 if _stops(part.policy, tally, holes) else part.policy.expected(tally, self._rate)
        uses[Use.MORE] = max(holes, wanted)
        return +uses


def _stops(policy: Policy, tally: Tally, holes: int) -> bool:
    """Whether a task stops, its holes being filled by draws that spend but do not satisfy. That such a draw would be
    the one that makes the task look hopeless is not taken for granted."""
    if policy.stop(tally) is not None:
        return True
    filled = policy.stop(tally._replace(rejected=tally.rejected + holes))
    return filled in (StopReason.SATISFIED, StopReason.EXHAUSTED)
