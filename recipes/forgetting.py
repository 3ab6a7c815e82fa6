"""What a student forgot: what it was not trained for, measured before and after, and reported with the gain.

    found = {who: measure_forgetting(run, settings, who, model, system=None) for who, model in models.items()}
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
from typing import Any, NamedTuple, Protocol, Self

from stillroom.recipes.display import Display, duration
from stillroom.recipes.evaluation_schema import Forgetting
from stillroom.recipes.folder import RunFolder
from stillroom.recipes.preference_writing import Measured
from stillroom.recipes.provenance import tasks_hash
from stillroom.recipes.sampling_stage import run_async, sample
from stillroom.sampling.bootstrap import ratio_over_tasks
from stillroom.sampling.core import Core
from stillroom.sampling.hashing import digest
from stillroom.sampling.ledger import Ledger
from stillroom.sampling.policy import Fixed
from stillroom.sampling.prompt import Prompt
from stillroom.sampling.records import Outcome, SamplingParams, State, Task
from stillroom.sampling.statistics import wilson
from stillroom.sampling.teachers.base import dtype_of
from stillroom.sampling.writing import at_home, replaced
from stillroom.students.evaluate.comparing import compare_right
from stillroom.students.evaluate.everyday import everyday_texts, read_texts
from stillroom.students.evaluate.perplexity import TextLoss, exp_of, of_losses, text_losses
from stillroom.students.evaluate.results import Comparison, Result
from stillroom.traces.answers import AnswerChecker, AnswerScorer
from stillroom.traces.tasks import load_tasks

PERPLEXITY_RATIO = "perplexity_ratio"
SAVED_EVERY = 100  # saves at every hundredth of what was read: each writes all of it, so that the sum stays linear


class _Based(Protocol):
    @property
    def base(self) -> Path: ...


class _Concurrent(Protocol):
    @property
    def concurrency(self) -> int: ...


class _Recipe(Protocol):
    @property
    def seed(self) -> int: ...
    @property
    def evaluate(self) -> _Concurrent | None: ...


class Measures(Protocol):
    """What a run of either path has, and all that is needed of it here."""

    @property
    def loaded(self) -> _Based:
        """The recipe as loaded, with the folder that its paths start from."""
        ...

    @property
    def recipe(self) -> _Recipe:
        """The recipe as resolved."""
        ...

    @property
    def folder(self) -> RunFolder:
        """Where what was measured is kept."""
        ...

    @property
    def ledger(self) -> Ledger:
        """Where answers are kept."""
        ...

    @property
    def display(self) -> Display:
        """Where progress is told."""
        ...


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
    run: Measures, settings: Forgetting, who: str, model: str, *, system: str | None, dtype: str = "auto"
) -> Forgotten:
    """Measures a model, or gives what was measured before. `who`: its name in the evaluation; `model`, `dtype`: as
    `load_model` has them; `system`: the system prompt that it is asked with. Paths are relative to the recipe's
    folder.

    Raises MissingFile or InputError for texts that are not there, what `load_tasks` does for tasks, and what loading
    the model does.
    """
    given, measured = _given(settings, run.loaded.base, run.recipe.seed), _Model(who, model, system, dtype)
    file = _File.of(run, settings, measured, given)
    found = file.read(run.display)
    for name, tasks in given.tasks.items():
        if name not in found.right:
            found = _with_answers(found, name, run_async(_ask(run, settings, measured, name, tasks)))
            file.write(found)
    return _read_texts(run, file, found, measured, given.texts)


class _Model(NamedTuple):
    who: str
    model: str
    system: str | None
    dtype: str

    @property
    def label(self) -> str:
        return self.who.removeprefix("student_")


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

    @classmethod
    def of(cls, run: Measures, settings: Forgetting, measured: _Model, given: _Given) -> Self:
        from stillroom.sampling.models import fingerprint

        with AnswerChecker() as checker:
            scorer = AnswerScorer(checker).identity
        inputs = {
            "model": fingerprint(measured.model),
            "system": measured.system,
            "settings": settings.model_dump(mode="json"),
            "seed": run.recipe.seed,
            "scorer": scorer,
            "tasks": {name: tasks_hash(tasks) for name, tasks in given.tasks.items()},
            "texts": digest(given.texts),
        }
        return cls(run.folder.path / "forgetting" / f"{measured.who}.json", digest(inputs))

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


async def _ask(
    run: Measures, settings: Forgetting, measured: _Model, name: str, tasks: Sequence[Task]
) -> list[Outcome]:
    """One greedy answer to each task through the ledger; nobody is paid for it."""
    from stillroom.sampling.teachers.transformers import TransformersTeacher

    assert run.recipe.evaluate is not None
    concurrency = run.recipe.evaluate.concurrency
    teacher = TransformersTeacher(measured.model, concurrency=concurrency, dtype=measured.dtype)
    scorer, once = AnswerScorer(), Fixed(policy="fixed", attempts=1)
    sampling, prompt = SamplingParams(temperature=0, max_tokens=settings.max_tokens), Prompt(system=measured.system)
    try:
        core = Core(teacher, scorer, once, run.ledger, sampling=sampling, seed=run.recipe.seed, prompt=prompt)
        outcomes = await sample(core, tasks, measured.label, run.display)
    finally:
        run.folder.note_dtype(measured.label, dtype_of(teacher))
        await teacher.close()
        await scorer.close()
    took = duration(core.counts.elapsed_s)
    run.display.line(measured.label, f"{core.counts.accepted:,} of {len(tasks):,} {name} tasks right, in {took}")
    return outcomes


def _read_texts(
    run: Measures, file: _File, found: Forgotten, measured: _Model, texts: Mapping[str, str]
) -> Forgotten:
    """Reads the texts that were not read yet, and saves as it goes."""
    losses = {text: found.losses[text] for text in texts if text in found.losses}
    left = {text: content for text, content in texts.items() if text not in losses}
    if not left:
        return found
    saved, started, tokens = len(losses), time.monotonic(), 0
    read = text_losses(measured.model, left, dtype=measured.dtype)
    with run.display.steps(measured.label) as shown:
        for step, (text, loss) in enumerate(read, 1):
            losses[text], tokens = loss, tokens + loss.tokens
            if len(losses) - saved >= max(1, len(losses) // SAVED_EVERY) or step == len(left):
                file.write(Forgotten(found.right, losses, found.counts))
                saved = len(losses)
            shown(step, len(left), loss.nats / max(1, loss.tokens), tokens / max(time.monotonic() - started, 1e-9))
    took = duration(time.monotonic() - started)
    run.display.line(measured.label, f"{len(texts):,} held-out texts read for perplexity, in {took}")
    return Forgotten(found.right, losses, found.counts)


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
