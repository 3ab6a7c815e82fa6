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
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from stillroom.common.files import at_home, replaced
from stillroom.common.formatting import duration
from stillroom.common.hashing import digest
from stillroom.common.records import SamplingParams, Task
from stillroom.evaluation.forgetting import Forgotten, everyday_texts, read_texts, text_losses
from stillroom.pipeline.config.recipe import Forgetting
from stillroom.pipeline.run.folder import RunContext, tasks_hash
from stillroom.pipeline.run.progress import Display
from stillroom.pipeline.stages.sample import answer, as_teacher
from stillroom.sampling.policy import Fixed
from stillroom.sampling.scorers.base import ScorerSettings
from stillroom.students.methods.registry import StudentSettings
from stillroom.traces.tasks import load_tasks

SAVED_EVERY = 100  # saves at every hundredth of what was read: each writes all of it, so that the sum stays linear


def check_forgetting(settings: Forgetting, *, base: Path, seed: int) -> None:
    """Raises what `measure_forgetting` would for tasks or texts that cannot be read: call it before anything is paid
    for."""
    _given(settings, base, seed)


class _Given(NamedTuple):
    """The tasks by name, and the texts by id."""

    tasks: dict[str, tuple[Task, ...]]
    texts: dict[str, str]


def _given(settings: Forgetting, base: Path, seed: int) -> _Given:
    tasks = {name: load_tasks(each, base=base, seed=seed).test for name, each in settings.tasks.items()}
    texts = settings.texts
    if texts is None:
        return _Given(tasks, {})
    if texts == "everyday":
        return _Given(tasks, everyday_texts())
    return _Given(tasks, read_texts(base / at_home(texts.path), texts.field, texts.limit))


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
    from stillroom.common.models.resolve import fingerprint

    given = _given(settings, context.base, context.seed)
    measured = {}
    for who, model in models.items():
        inputs = {
            "model": fingerprint(model),
            "system": student.system,
            "settings": settings.model_dump(mode="json"),
            "seed": context.seed,
            "scorer": scorer.identity(context.base),
            "tasks": {name: tasks_hash(tasks) for name, tasks in given.tasks.items()},
            "texts": digest(given.texts),
        }
        file = _File(context.folder.path / "forgetting" / f"{who}.json", digest(inputs))
        found, label = file.read(context.display), who.removeprefix("student_")
        teacher, once = as_teacher(model, student, concurrency), Fixed(policy="fixed", attempts=1)
        sampling = SamplingParams(temperature=0, max_tokens=settings.max_tokens)
        for name, tasks in given.tasks.items():
            if name in found.stopped:  # not in files that were written before it was measured: the ledger has these
                continue
            # One greedy answer to each task through the ledger; nobody is paid for it.
            made = scorer.make(context.place())
            answers = answer(context, tasks, teacher, made, once, sampling, label=label, paid=False)
            counts = answers.counts
            told = f"{counts.accepted:,} of {len(tasks):,} {name} tasks right, in {duration(counts.elapsed_s)}"
            context.display.line(label, told)
            found = found.with_answers(name, answers.outcomes)
            file.write(found)
        measured[who] = _read_texts(context, file, found, given.texts, model, student, label)
    return measured


def _read_texts(
    context: RunContext,
    file: _File,
    found: Forgotten,
    texts: Mapping[str, str],
    model: str,
    student: StudentSettings,
    label: str,
) -> Forgotten:
    """Reads the texts that were not read yet, and saves as it goes."""
    losses = {text: found.losses[text] for text in texts if text in found.losses}
    left = {text: content for text, content in texts.items() if text not in losses}
    if not left:
        return found
    saved, started, tokens = len(losses), time.monotonic(), 0
    with context.display.steps(label) as shown:
        for step, (text, loss) in enumerate(text_losses(model, left, dtype=student.dtype), 1):
            losses[text], tokens = loss, tokens + loss.tokens
            if len(losses) - saved >= max(1, len(losses) // SAVED_EVERY) or step == len(left):
                file.write(replace(found, losses=losses))
                saved = len(losses)
            rate = tokens / max(time.monotonic() - started, 1e-9)
            shown(step, len(left), loss.nats / max(1, loss.tokens), rate)
    took = duration(time.monotonic() - started)
    context.display.line(label, f"{len(texts):,} held-out texts read for perplexity, in {took}")
    return replace(found, losses=losses)


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
            whole = data["hash"] == digest({name: of for name, of in data.items() if name not in ("key", "hash")})
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
