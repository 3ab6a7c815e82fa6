"""What a student that learned from pairs has become, on prompts that it has not seen.

    evaluate_writing(context, recipe, student, recipe.evaluate, tasks, paired, model)     # also in eval.json

Before and after answer the same held-out prompts. The judge that built the pairs scores both, another one compares
them; each with length taken out, in both orders where it compares, and with what failed counted. What was not trained
is measured, too: a task whose answers can be checked.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from stillroom.common.formatting import duration
from stillroom.common.hashing import digest
from stillroom.common.records import Attempt, SamplingParams, Task
from stillroom.common.stats.intervals import mean_interval, wilson
from stillroom.evaluation.forgetting import forgetting_results
from stillroom.evaluation.results import AFTER, BEFORE, Evaluation, Measured, Result, result_of, write_eval
from stillroom.evaluation.winrate import Duel, Scores, WinRate, duel, duel_from_scores, score_gain, win_rate
from stillroom.judges.records import PairwiseJudge, PointwiseJudge, Rating
from stillroom.pipeline.config.preferences import PreferenceEvaluation, PreferenceRecipe
from stillroom.pipeline.run.folder import WRITTEN, RunContext
from stillroom.pipeline.stages.forgetting import measure_forgetting
from stillroom.pipeline.stages.judge import each_of, open_judge
from stillroom.pipeline.stages.pairs import Paired
from stillroom.pipeline.stages.sample import answer, as_teacher, write_answers
from stillroom.pipeline.stages.token_kl import measure_kl
from stillroom.pipeline.stages.train import STUDENT
from stillroom.preferences.candidates import same_text
from stillroom.preferences.rows import dpo_row
from stillroom.sampling.policy import Fixed
from stillroom.sampling.scorers.none import EveryAnswer
from stillroom.students.methods.dpo import Dpo
from stillroom.students.methods.kto import Kto
from stillroom.students.methods.registry import StudentSettings
from stillroom.traces.scorers.answer import AnswerScorerSettings
from stillroom.traces.tasks import TaskSet

PAIRS_FILE = "held_out_pairs.json"

Answers = Mapping[tuple[str, int], Attempt]
"""By task id and draw."""
Both = Sequence[tuple[Task, Attempt, Attempt]]
"""Task, answer after, answer before."""


def evaluate_writing(
    context: RunContext,
    recipe: PreferenceRecipe,
    student: StudentSettings,
    settings: PreferenceEvaluation,
    tasks: TaskSet,
    paired: Paired,
    model: str,
) -> Evaluation:
    """Measures the trained `model` against the one before; writes `eval.json`."""
    models = {BEFORE: student.model, AFTER: model}
    results = _pair_results(context, student, paired, model)
    writing = Writing(context, recipe, student, settings)
    written = {who: writing.write(tasks.test, who, model) for who, model in models.items()}
    judged = asyncio.run(writing.judge(tasks.test, written))
    retention = Measured([], [], ["what was forgotten is not measured: see evaluate.retention"])
    if settings.retention is not None:
        scorer, at_once = AnswerScorerSettings(), settings.concurrency
        found = measure_forgetting(context, settings.retention, models, student, scorer=scorer, concurrency=at_once)
        retention = forgetting_results(found, after=AFTER, before=BEFORE, seed=recipe.seed)
    first = {task: attempt for (task, draw), attempt in written[BEFORE].items() if draw == 0}
    shift = measure_kl(context, student, model, tasks.test, first)
    evaluation = Evaluation(
        results=(*results, *judged.results, *shift.results, *retention.results),
        comparisons=(*judged.comparisons, *retention.comparisons),
        notes=(*judged.notes, *shift.notes, *retention.notes),
    )
    file = context.folder.path / "eval.json"
    context.folder.tell_lost("evaluation", context.display)
    write_eval(evaluation, file)
    context.folder.mark("evaluation", WRITTEN, file)
    return evaluation


def _pair_results(context: RunContext, student: StudentSettings, paired: Paired, model: str) -> list[Result]:
    """Implicit rewards on the held-out pairs; measured once for the same student and pairs."""
    from stillroom.evaluation.implicit_rewards import implicit_rewards

    folder, display = context.folder, context.display
    beta = student.dpo.beta if isinstance(student, Dpo) else student.kto.beta if isinstance(student, Kto) else None
    if not paired.test or beta is None:
        why = f"{student.method} has none" if paired.test else "there are no held-out pairs"
        display.note(f"implicit rewards are not measured: {why}")
        return []
    rows, file = [dpo_row(pair) for pair in paired.test], folder.path / PAIRS_FILE
    inputs = digest([rows, folder["stages"][STUDENT], folder.made(STUDENT)])
    if folder.done("held_out_pairs", inputs):
        lost = folder.lost("held_out_pairs")
        if not lost:
            return [Result.model_validate(row) for row in json.loads(file.read_text(encoding="utf-8"))]
        display.note(f"{lost}: the held-out pairs are measured again")
    found = implicit_rewards(
        model, student.model, rows, beta=beta, system=student.system, max_length=student.max_length
    )
    results = found.results()
    folder.write(PAIRS_FILE, json.dumps([row.model_dump(mode="json", exclude_none=True) for row in results]))
    folder.mark("held_out_pairs", inputs, file)
    a = found.accuracy
    display.line("pairs", f"{a.value:.1%} of {a.n:,} held-out pairs preferred the right way (implicit rewards)")
    return results


@dataclass(frozen=True, slots=True)
class Writing:
    """Measures what the student writes. `student`, `settings`: the recipe's, which are there."""

    context: RunContext
    recipe: PreferenceRecipe
    student: StudentSettings
    settings: PreferenceEvaluation

    def write(self, tasks: Sequence[Task], who: str, model: str) -> Answers:
        """A local model's answers to the held-out prompts, under the student's own prompt; they cost nothing."""
        label, settings = who.removeprefix("student_"), self.settings
        teacher = as_teacher(model, self.student, settings.concurrency)
        policy = Fixed(policy="fixed", attempts=settings.draws)
        sampling = SamplingParams(temperature=settings.temperature, max_tokens=settings.max_tokens)
        asked = answer(self.context, tasks, teacher, EveryAnswer(), policy, sampling, label=label, paid=False)
        write_answers(self.context.folder, who, asked.outcomes)
        found = {(o.task.id, s.attempt.index): s.attempt for o in asked.outcomes for s in o.attempts}
        took = duration(asked.counts.elapsed_s)
        self.context.display.line(label, f"{len(found):,} answers to {len(tasks):,} held-out prompts, in {took}")
        return found

    async def judge(self, tasks: Sequence[Task], written: Mapping[str, Answers]) -> Measured:
        """Lengths and shares that stop; scores by the pairs' judge; what another judge prefers."""
        results = [row for who, answers in written.items() for row in _lengths(who, list(answers.values()))]
        notes: list[str] = []
        by_id = {task.id: task for task in tasks}
        after_before = [(written[AFTER][key], written[BEFORE].get(key), key[0]) for key in written[AFTER]]
        both = [(by_id[task], after, before) for after, before, task in after_before if before is not None]
        if same := sum(same_text(after.text) == same_text(before.text) for _, after, before in both):
            notes.append(f"{same:,} of {len(both):,} answers are the same before and after")
        others = (self.settings.judge, *self.settings.also)
        named = {f"other_judge_{n}" if n else "other_judge": judge for n, judge in enumerate(others)}
        for name, settings in ({"pairs_judge": self.recipe.judge} | named).items():
            async with open_judge(self.context, settings, self.recipe.judge_prices) as made:
                notes.append(f"{name}: {made.identity}")
                found: list[Result] = []
                if made.pointwise is not None:
                    found = await self._scored(made.pointwise, both, name, notes)
                elif made.pairwise is not None:
                    found = await self._compared(made.pairwise, both, name, notes)
            results += [row.model_copy(update={"judge": settings.kind}) for row in found]
        return Measured(results, [], notes)

    async def _scored(self, judge: PointwiseJudge, both: Both, name: str, notes: list[str]) -> list[Result]:
        ratings = dict[tuple[int, str], Rating]()

        async def one(item: tuple[int, str]) -> None:
            task, after, before = both[item[0]]
            ratings[item] = await judge.rate(task, after if item[1] == AFTER else before)

        await each_of([(i, who) for i in range(len(both)) for who in (AFTER, BEFORE)], one)
        scores = [
            Scores(task.id, ratings[i, AFTER].score, ratings[i, BEFORE].score, len(after.text), len(before.text))
            for i, (task, after, before) in enumerate(both)
        ]
        failed = Counter(rating.state for rating in ratings.values() if rating.failed)
        notes += [f"{name}: {n:,} of {len(ratings):,} judgements failed ({state})" for state, n in failed.items()]
        if not any(s.after is not None and s.before is not None for s in scores):
            notes.append(f"{name}: no answer has a score both before and after")
            return []
        gain = score_gain(scores, ratio=self.settings.length_ratio, seed=self.recipe.seed)
        known = {
            BEFORE: [s.before for s in scores if s.before is not None],
            AFTER: [s.after for s in scores if s.after is not None],
        }
        results = [result_of(who, f"{name}_score", mean_interval(of)) for who, of in known.items()]
        gains = {"raw": gain.raw, "at_equal_length": gain.at_equal_length, "matched_length": gain.matched}
        for metric, found in gains.items():
            if found is not None:
                results.append(result_of("after_minus_before", f"{name}_score_{metric}", found))
        wins = win_rate([duel_from_scores(s) for s in scores], seed=self.recipe.seed)
        return [*results, *_wins(name, wins)]

    async def _compared(self, judge: PairwiseJudge, both: Both, name: str, notes: list[str]) -> list[Result]:
        duels = dict[int, Duel]()

        async def one(index: int) -> None:
            task, after, before = both[index]
            said = await judge.compare(task, after, before)
            duels[index] = duel(task.id, said, len(after.text), len(before.text))

        await each_of(range(len(both)), one)
        found = [duels[i] for i in sorted(duels)]
        if not any(d.points is not None for d in found):
            notes.append(f"{name}: no comparison came to a judgement")
            return []
        wins = win_rate(found, seed=self.recipe.seed)
        notes += [f"{name}: {n:,} of {len(found):,} comparisons failed ({state})" for state, n in wins.failed.items()]
        if wins.conflicts:
            notes.append(f"{name}: in {wins.conflicts:,} of {len(found):,} comparisons the two orders disagree: ties")
        return _wins(name, wins)


def _lengths(who: str, answers: Sequence[Attempt]) -> list[Result]:
    if not answers:
        return []
    stopped = wilson(sum(a.finish_reason == "stop" for a in answers), len(answers))
    tokens = mean_interval([float(a.completion_tokens) for a in answers])
    return [
        result_of(who, "share_stopped", stopped),
        result_of(who, "mean_completion_tokens", tokens._replace(low=max(0.0, tokens.low))),
    ]


def _wins(name: str, wins: WinRate) -> list[Result]:
    counts = {"wins": wins.wins, "ties": wins.ties, "losses": wins.losses}
    rows = [result_of("after_against_before", f"{name}_win_rate", wins.raw, counts=counts)]
    if wins.at_equal_length is not None:
        rows.append(result_of("after_against_before", f"{name}_win_rate_at_equal_length", wins.at_equal_length))
    return rows
