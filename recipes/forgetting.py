"""What a student forgot: what it was not trained for, measured before and after, and reported with the gain.

    found = measure_forgetting(context, settings, models, student, scorer=recipe.scorer, concurrency=64)
    forgetting_results(found, after="student_after", before="student_before", seed=0).results

Tasks of other kinds are answered once, greedily, and checked like any answer; held-out text is read for perplexity.
What was measured is in `forgetting/<who>.json` of the run's folder and is not measured again while model, tasks,
texts and settings stay the same. A kill loses the text that was being read; of many texts, the last hundredth.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self

from stillroom.recipes.context import RunContext
from stillroom.recipes.display import Display
from stillroom.recipes.evaluation_schema import Forgetting
from stillroom.recipes.preference_writing import Measured
from stillroom.recipes.provenance import tasks_hash
from stillroom.recipes.sampling_stage import answer, as_teacher
from stillroom.recipes.schema import ScorerSettings
from stillroom.sampling.bootstrap import ratio_over_tasks
from stillroom.sampling.formatting import duration
from stillroom.sampling.hashing import digest
from stillroom.sampling.policy import Fixed
from stillroom.sampling.records import Outcome, SamplingParams, State, Task
from stillroom.sampling.statistics import wilson
from stillroom.sampling.writing import at_home, replaced
from stillroom.students.evaluate.comparing import compare_right
from stillroom.students.evaluate.everyday import everyday_texts, read_texts
from stillroom.students.evaluate.perplexity import TextLoss, exp_of, of_losses, text_losses
from stillroom.students.evaluate.results import Comparison, Result
from stillroom.students.methods.registry import StudentSettings
from stillroom.traces.tasks import load_tasks

PERPLEXITY_RATIO = "perplexity_ratio"
SAVED_EVERY = 100  # saves at every hundredth of what was read: each writes all of it, so that the sum stays linear


@dataclass(frozen=True, slots=True)
class Forgotten:
    """Of one model. `right`: by the name of the tasks and then task id, whether the answer was right; what cannot be
    read is not. `counts`: by the name of the tasks, how the answers were scored: `accepted`, `rejected`, `unscored`,
    and `missing` for tasks without one. `losses`: by text; empty where none is read."""

    right: Mapping[str, Mapping[str, bool]] = field(default_factory=dict)
    losses: Mapping[str, TextLoss] = field(default_factory=dict)
    counts: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        losses = {text: list(loss) for text, loss in self.losses.items()}
        right, counts = ({name: dict(of) for name, of in each.items()} for each in (self.right, self.counts))
        return {"right": right, "counts": counts, "losses": losses}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """From what `as_dict` gave. Raises KeyError or TypeError for anything else."""
        losses = {text: TextLoss(*loss) for text, loss in data["losses"].items()}
        return cls({name: dict(of) for name, of in data["right"].items()}, losses, data["counts"])


# -- measuring ---------------------------------------------------------------------------------------------------


class _Given(NamedTuple):
    """The tasks by name, and the texts by id."""

    tasks: dict[str, tuple[Task, ...]]
    texts: dict[str, str]


def check_forgetting(settings: Forgetting, *, base: Path, seed: int) -> None:
    """Raises what `measure_forgetting` would for tasks or texts that cannot be read: call it before anything is paid
    for."""
    _given(settings, base, seed)


def measure_forgetting(
    context: RunContext,
    settings: Forgetting,
    models: Mapping[str, str],
    student: StudentSettings,
    *,
    scorer: ScorerSettings,
    concurrency: int,
) -> dict[str, Forgotten]:
    """Measures the models, or gives what was measured before. `models`: by their names in the evaluation; they are
    asked with the student's system prompt, and their answers scored by `scorer`, as the run's are.

    Raises MissingFile or InputError for texts that are not there, what `load_tasks` does for tasks, and what loading
    a model does.
    """
    given = _given(settings, context.base, context.seed)
    return {
        who: _Measuring(context, settings, given, who, model, student, scorer, concurrency).run()
        for who, model in models.items()
    }


class _Measuring(NamedTuple):
    """The measurement of one model, called `who` in the evaluation."""

    context: RunContext
    settings: Forgetting
    given: _Given
    who: str
    model: str
    student: StudentSettings
    scorer: ScorerSettings
    concurrency: int

    @property
    def label(self) -> str:
        return self.who.removeprefix("student_")

    def run(self) -> Forgotten:
        file = self.file()
        found = file.read(self.context.display)
        for name, tasks in self.given.tasks.items():
            if name not in found.right:
                found = _with_answers(found, name, self.ask(name, tasks))
                file.write(found)
        return self.read_texts(file, found)

    def file(self) -> _File:
        from stillroom.sampling.models import fingerprint

        inputs = {
            "model": fingerprint(self.model),
            "system": self.student.system,
            "settings": self.settings.model_dump(mode="json"),
            "seed": self.context.seed,
            "scorer": self.scorer.identity(self.context.base),
            "tasks": {name: tasks_hash(tasks) for name, tasks in self.given.tasks.items()},
            "texts": digest(self.given.texts),
        }
        return _File(self.context.folder.path / "forgetting" / f"{self.who}.json", digest(inputs))

    def ask(self, name: str, tasks: Sequence[Task]) -> list[Outcome]:
        """One greedy answer to each task through the ledger; nobody is paid for it."""
        teacher = as_teacher(self.model, self.student, self.concurrency)
        policy = Fixed(policy="fixed", attempts=1)
        sampling = SamplingParams(temperature=0, max_tokens=self.settings.max_tokens)
        scorer, label = self.scorer.make(self.context.place()), self.label
        found = answer(self.context, tasks, teacher, scorer, policy, sampling, label=label, paid=False)
        told = (
            f"{found.counts.accepted:,} of {len(tasks):,} {name} tasks right, in {duration(found.counts.elapsed_s)}"
        )
        self.context.display.line(label, told)
        return found.outcomes

    def read_texts(self, file: _File, found: Forgotten) -> Forgotten:
        """Reads the texts that were not read yet, and saves as it goes."""
        texts = self.given.texts
        losses = {text: found.losses[text] for text in texts if text in found.losses}
        left = {text: content for text, content in texts.items() if text not in losses}
        if not left:
            return found
        saved, started, tokens = len(losses), time.monotonic(), 0
        read = text_losses(self.model, left, dtype=self.student.dtype)
        with self.context.display.steps(self.label) as shown:
            for step, (text, loss) in enumerate(read, 1):
                losses[text], tokens = loss, tokens + loss.tokens
                if len(losses) - saved >= max(1, len(losses) // SAVED_EVERY) or step == len(left):
                    file.write(Forgotten(found.right, losses, found.counts))
                    saved = len(losses)
                rate = tokens / max(time.monotonic() - started, 1e-9)
                shown(step, len(left), loss.nats / max(1, loss.tokens), rate)
        took = duration(time.monotonic() - started)
        self.context.display.line(self.label, f"{len(texts):,} held-out texts read for perplexity, in {took}")
        return Forgotten(found.right, losses, found.counts)


def _given(settings: Forgetting, base: Path, seed: int) -> _Given:
    tasks = {name: load_tasks(each, base=base, seed=seed).test for name, each in settings.tasks.items()}
    if settings.texts is None:
        return _Given(tasks, {})
    if settings.texts == "everyday":
        return _Given(tasks, everyday_texts())
    texts = settings.texts
    return _Given(tasks, read_texts(base / at_home(texts.path), texts.field, texts.limit))


class _File(NamedTuple):
    """Where a model's measurements are kept. `key`: names all that they depend on."""

    path: Path
    key: str

    def read(self, display: Display) -> Forgotten:
        """What is there; nothing where it is of other inputs. A file that is not as it was written is told of, and
        what it held is measured again."""
        try:
            data = json.loads(self.path.read_text(encoding="utf-8"))
            if data["key"] != self.key:
                return Forgotten()
            found = Forgotten.from_dict(data)
            whole = data["hash"] == digest(found.as_dict())
        except FileNotFoundError:
            return Forgotten()
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
            whole = False
        if whole:
            return found
        display.note(f"{self.path} is not as it was written: what it held is measured again")
        return Forgotten()

    def write(self, found: Forgotten) -> None:
        """Whole or not at all."""
        measured = found.as_dict()
        with replaced(self.path) as file:
            file.write((json.dumps({"key": self.key, "hash": digest(measured), **measured}) + "\n").encode())


def _with_answers(found: Forgotten, name: str, outcomes: Sequence[Outcome]) -> Forgotten:
    states = {o.task.id: o.attempts[0].verdict.state for o in outcomes if o.attempts}
    right = {task: state is State.ACCEPTED for task, state in states.items()}
    tally = Counter(states.values())
    counts = {state.value: tally[state] for state in State} | {"missing": len(outcomes) - len(states)}
    return Forgotten({**found.right, name: right}, found.losses, {**found.counts, name: counts})


# -- reporting ---------------------------------------------------------------------------------------------------


def forgetting_results(by_who: Mapping[str, Forgotten], *, after: str, before: str, seed: int) -> Measured:
    """Rows of `eval.json`: `<name>_accuracy` of each kind of tasks, `perplexity` and `bits_per_byte` of each model,
    `perplexity_ratio` of `after` over `before` on the same texts (above 1: they have become less likely). Comparisons
    of the accuracies of the two, each with its `metric`.
    """
    names = dict.fromkeys(name for found in by_who.values() for name in found.right)
    rows = [row for name in names for who, found in by_who.items() for row in _accuracy(who, found, name)]
    notes = [note for who, found in by_who.items() for note in _missing(who, found)]
    parts = [Measured(rows, [], notes), *(_perplexity(who, found, seed) for who, found in by_who.items())]
    if after in by_who and before in by_who:
        found = [c for name in names if (c := _compared(by_who, after, before, name)) is not None]
        parts += [Measured([], found, []), _ratio(after, by_who[after], before, by_who[before], seed)]
    results, comparisons = [row for part in parts for row in part.results], [c for p in parts for c in p.comparisons]
    return Measured(results, comparisons, [note for part in parts for note in part.notes])


def _accuracy(who: str, found: Forgotten, name: str) -> Iterator[Result]:
    right = found.right.get(name)
    if right:
        share, counts = wilson(sum(right.values()), len(right)), dict(found.counts.get(name, {}))
        yield Result(who=who, metric=f"{name}_accuracy", **share._asdict(), counts=counts or None)


def _missing(who: str, found: Forgotten) -> Iterator[str]:
    for name, counts in found.counts.items():
        if missing := counts.get("missing", 0):
            yield f"{who}: {missing:,} of {sum(counts.values()):,} {name} tasks got no answer and are left out of n"


def _compared(by_who: Mapping[str, Forgotten], after: str, before: str, name: str) -> Comparison | None:
    found = compare_right(after, by_who[after].right.get(name, {}), before, by_who[before].right.get(name, {}))
    if found is None:
        return None
    return Comparison.model_validate({**found.model_dump(), "metric": f"{name}_accuracy"})


def _perplexity(who: str, found: Forgotten, seed: int) -> Measured:
    losses = [loss for loss in found.losses.values() if loss.tokens]
    short = len(found.losses) - len(losses)
    notes = [f"{who}: {short:,} of {len(found.losses):,} texts are too short for perplexity"] if short else []
    return Measured(of_losses(losses, left_out=short, seed=seed).results(who) if losses else [], [], notes)


def _ratio(after: str, of_after: Forgotten, before: str, of_before: Forgotten, seed: int) -> Measured:
    """exp of the difference in mean nats per token; texts are drawn with both their losses."""
    shared = [text for text in of_after.losses if text in of_before.losses and of_before.losses[text].tokens]
    pairs = {text: (of_after.losses[text], of_before.losses[text]) for text in shared}
    if any(a.tokens != b.tokens for a, b in pairs.values()):
        why = f"{after} and {before} read the texts in other tokens: only bits_per_byte can be compared"
        return Measured([], [], [why])
    if not pairs:
        return Measured([], [], [])
    found = ratio_over_tasks({t: (a.nats - b.nats, b.tokens) for t, (a, b) in pairs.items()}, seed=seed)
    assert found is not None  # each has tokens
    limits = {"value": exp_of(found.value), "low": exp_of(found.low), "high": exp_of(found.high), "n": found.n}
    row = Result.model_validate({"who": after, "metric": PERPLEXITY_RATIO, **limits, "against": before})
    return Measured([row], [], [])
