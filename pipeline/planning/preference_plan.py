"""What a run of the preference path would pay for, were its recipe run now: candidates and judgements.

Nobody is asked. Candidates are weighed as the core would count them; those on record are then judged from the ledger
alone, and every request of the judge that is not there is counted as one that would be made. For candidates that are
still to be drawn that is an estimate: as many requests each as those on record take, one where there are none.

    preference_plan(loaded, ledger).requests
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from stillroom.common.printing import Terminal, columns
from stillroom.common.records import Attempt, Messages, Outcome, SamplingParams, StopReason
from stillroom.errors import RequestFailed
from stillroom.judges.registry import JudgeBase, Made, Place
from stillroom.pipeline.config.kinds import Loaded
from stillroom.pipeline.config.preferences import PreferenceRecipe
from stillroom.pipeline.planning.plan import Part, Plan, Use, Weighing
from stillroom.pipeline.stages.candidates import identities, policy_of
from stillroom.pipeline.stages.judge import judge_all
from stillroom.preferences.candidates import Drawn, Gathered, gather
from stillroom.sampling.ledger import Ledger, request_key, scorer_key
from stillroom.sampling.scorers.none import FinishedScorer
from stillroom.sampling.teachers.base import Teacher, special_tokens_of
from stillroom.traces.tasks import load_tasks


@dataclass(frozen=True, slots=True)
class PreferencePlan:
    """What a run of the recipe as it is now would do. `sources`: the plan of each. `on_record`, `requests`: of the
    judge, those that are there and those that would be made, about. `candidates`: that are on record."""

    recipe: str
    sources: dict[str, Plan]
    candidates: int
    on_record: int
    requests: int

    @property
    def asked(self) -> int:
        """Draws that would be asked of all sources, about."""
        return sum(plan.asked for plan in self.sources.values())

    def as_dict(self) -> dict[str, Any]:
        judge = {"on_record": self.on_record, "requests": self.requests}
        sources = {name: plan.as_dict() for name, plan in self.sources.items()}
        return {"recipe": self.recipe, "asked": self.asked, "candidates": self.candidates, "judge": judge} | {
            "sources": sources
        }

    def show(self, console: Terminal) -> None:
        """Prints it: by source, then the judge."""
        numbers = ("draws", "on record", "asked")
        table = columns("if it were run now", *numbers, right=numbers)
        for name, of in self.sources.items():
            used = of.draws[Use.USED] + of.draws[Use.SCORED_ANEW]
            asked = f"about {of.asked:,}" if of.asked else "0"
            table.add_row(f"candidates of {name}", f"{used + of.asked:,}", f"{used:,}", asked)
        asked = f"about {self.requests:,}" if self.requests else "0"
        table.add_row("the judge", f"{self.on_record + self.requests:,}", f"{self.on_record:,}", asked)
        console.print(table)
        costs = self.asked + self.requests
        told = f"about {costs:,} requests would be made" if costs else "nothing would be paid for"
        console.print(told, soft_wrap=True)


@dataclass(slots=True)
class OnRecord:
    """Answers a judge's requests from the ledger alone; counts those that are not there, which fail."""

    teacher: Teacher
    sampling: SamplingParams
    ledger: Ledger
    seed: int
    found: int = 0
    missing: set[str] = field(default_factory=set)

    @property
    def identity(self) -> str:
        return self.teacher.identity

    async def ask(
        self, messages: Messages, *, about: str, index: int = 0, sampling: SamplingParams | None = None
    ) -> Attempt:
        """The answer on record. Raises RequestFailed where there is none."""
        params = sampling or self.sampling
        key = request_key(messages, params, self.identity, self.seed)
        recorded = self.ledger.find(key, params.max_tokens, about, scorer="").get(index)
        if recorded is None:
            self.missing.add(key)
            raise RequestFailed("not on record", retryable=True)
        self.found += 1
        return recorded.attempt

    @property
    def special_tokens(self) -> frozenset[str]:
        """The teacher's: its prompts are made as they are when it is asked."""
        return special_tokens_of(self.teacher)

    def room(self, messages: Messages, max_tokens: int) -> int | None:
        """Not told: nothing is asked."""
        return None

    async def close(self) -> None:
        await self.teacher.close()


def preference_plan(loaded: Loaded[PreferenceRecipe], ledger: Ledger) -> PreferencePlan:
    """Estimates what the recipe will cost, given the ledger. Raises InputError for a recipe that cannot be run."""
    recipe, path = loaded.recipe, str(loaded.path)
    tasks = load_tasks(recipe.tasks, base=loaded.base, seed=recipe.seed)
    prompts = (*tasks.train, *tasks.test)
    who = identities(recipe, loaded.base)
    plans, drawn = dict[str, Plan](), list[Drawn]()
    for source in recipe.candidates:
        identity, settings = who[source.name], source.teacher
        prompt, sampling, scorer = settings.teacher_prompt, settings.sampling, FinishedScorer.identity
        weighing = Weighing(ledger, recipe.seed, {identity})
        weighing.add(Part(prompts, sampling, policy_of(source), identity, prompt, scorer))
        mean = ledger.mean_tokens(identity)
        plans[source.name] = Plan(path, weighing.draws, weighing.tasks, mean, recipe.prices, settings.replays)

        # What is on record of it, as the run would find it.
        outcomes = []
        for task in prompts:
            key = request_key(prompt.messages(task), sampling, identity, recipe.seed)
            found = ledger.find(key, sampling.max_tokens, task.id, scorer_key(scorer, task))
            scored = tuple(s for _, r in sorted(found.items()) if (s := r.scored) is not None)
            outcomes.append(Outcome(task, scored[: 2 * source.draws], (), StopReason.EXHAUSTED))
        drawn.append(Drawn(source.name, outcomes, on_policy=source.on_policy))

    gathered = gather(drawn, order=prompts)
    count = sum(map(len, gathered.by_task.values()))
    on_record, missing = asyncio.run(_judged(loaded, ledger, gathered))
    each = (on_record + missing) / count if count else 1.0
    new = sum(plan.asked for plan in plans.values())
    requests = missing + round(each * new) if on_record + missing or not count else missing
    return PreferencePlan(path, plans, count, on_record, requests)


async def _judged(loaded: Loaded[PreferenceRecipe], ledger: Ledger, gathered: Gathered) -> tuple[int, int]:
    """Requests of the judge on all candidates: found on record, and missing."""
    askers: list[OnRecord] = []

    def asks(teacher: Teacher, settings: JudgeBase) -> OnRecord:
        askers.append(OnRecord(teacher, settings.request_sampling, ledger, loaded.recipe.seed))
        return askers[-1]

    made: Made = loaded.recipe.judge.make(Place(ledger, loaded.base, loaded.recipe.seed, asks=asks))
    try:
        if askers:  # a judge that asks nobody costs nothing
            await judge_all(made, gathered, loaded.recipe.seed)
    finally:
        await made.close()
    return sum(a.found for a in askers), sum(len(a.missing) for a in askers)
