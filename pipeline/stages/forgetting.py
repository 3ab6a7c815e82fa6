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
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from stillroom.common.files import at_home, replaced
from stillroom.common.formatting import duration
from stillroom.common.hashing import digest
from stillroom.common.records import Outcome, SamplingParams, State, Task
from stillroom.evaluation.forgetting import Forgotten, everyday_texts, read_texts, text_losses
from stillroom.pipeline.config.evaluation import Forgetting
from stillroom.pipeline.config.recipe import ScorerSettings
from stillroom.pipeline.run.context import RunContext
from stillroom.pipeline.run.progress import Display
from stillroom.pipeline.run.provenance import tasks_hash
from stillroom.pipeline.stages.sample import answer, as_teacher
from stillroom.sampling.policy import Fixed
from stillroom.students.methods.registry import StudentSettings
from stillroom.traces.tasks import load_tasks

SAVED_EVERY = 100  # saves at every hundredth of what was read: each writes all of it, so that the sum stays linear


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
        from stillroom.common.models.resolve import fingerprint

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
