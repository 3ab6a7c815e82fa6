"""Answers with labels on disk: what a student of KTO learns from, of either kind of recipe.

    distilled = label_traces(context, recipe, tasks, distilled)        # writes kto/ if a student asks for it
    rows = rows_of_pairs(context, recipe, student, paired.train)       # the pairs, or their answers with labels

A pure function of the outcomes, or the pairs, and the recipe: the same recording gives the same files, byte for byte.
What became no row is in `rejects/kto.jsonl`, each with its reason. A run whose students learn from something else has
neither.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path

from stillroom.common.files import Growing, remove
from stillroom.common.labelled_rows import (
    CARD_FILE,
    DATA_FILE,
    FOLDER,
    AnswerCard,
    AnswerCounts,
    AnswerRow,
    LeftOutAnswer,
    answer_file,
    read_answers,
    write_card,
)
from stillroom.errors import NothingLeft
from stillroom.pipeline.config.given import GivenRecipe
from stillroom.pipeline.config.preferences import PreferenceRecipe
from stillroom.pipeline.config.recipe import Recipe
from stillroom.pipeline.run.folder import WRITTEN, RunContext, RunFolder, versions
from stillroom.pipeline.stages.filter import Distilled
from stillroom.preferences import labelled as of_pairs
from stillroom.preferences.records import Pair
from stillroom.preferences.rows import FILES, dpo_row
from stillroom.sampling.teachers.base import identity_of
from stillroom.students.data.rows import Row
from stillroom.students.methods.registry import StudentSettings
from stillroom.traces import labelled as of_traces
from stillroom.traces.filters import Screen
from stillroom.traces.rows import DATA_FILE as TRACES
from stillroom.traces.rows import read_sft
from stillroom.traces.tasks import TaskSet


def label_traces(context: RunContext, recipe: Recipe, tasks: TaskSet, distilled: Distilled) -> Distilled:
    """The same rows, and those with labels where a student of the recipe learns from such.

    Raises NothingLeft where no rejected attempt became a row."""
    folder, learners = context.folder, recipe.learners_of_labels
    if not learners:
        _forget(folder)
        return distilled
    # The filters are asked as they were for the SFT rows; what a task's draws have in common is not a form.
    of_form = [each for each in recipe.filters if not each.of_tasks]
    screen, per_task = Screen(of_form, test=tasks.held_out, base=context.base), learners[0].answers_per_task
    found = of_traces.labelled(
        distilled.outcomes, read_sft(distilled.folder), screen, per_task=per_task, system=distilled.system
    )
    made_from = {
        "teacher": identity_of(recipe.teacher, context.base),
        "tasks": f"{recipe.tasks.source}, {len(tasks.train):,} tasks",
        "scorer": recipe.scorer.kind,
        "seed": str(recipe.seed),
        "version of stillroom": versions()["stillroom"],
    }
    counts = _write(
        context,
        found,
        AnswerCard(
            recipe.name,
            recipe.teacher.licence,
            made_from,
            AnswerCounts(),
            per_task,
            "accepted, and passed the filters",
            "rejected, and of the same form",
        ),
    )
    if not counts.undesirable:
        told = ", ".join(f"{name.replace('_', ' ')} {n:,}" for name, n in counts.undesirable_left_out.items())
        raise NothingLeft(
            f"no rejected attempt became a row ({told or 'none was rejected'}), and method kto learns "
            "from both kinds: set student.method: sft to train on the accepted ones, or draw more (keep.max_attempts)"
        )
    return replace(distilled, labelled=folder.path / FOLDER)


def rows_of_pairs(
    context: RunContext, recipe: PreferenceRecipe | GivenRecipe, student: StudentSettings, pairs: Sequence[Pair]
) -> list[Row]:
    """What the student learns from: the pairs, or their answers with labels, which are written to `kto/`."""
    if student.learns_from == "pairs":
        _forget(context.folder)
        return [dpo_row(pair) for pair in pairs]
    per_task = student.answers_per_task
    card = AnswerCard(
        recipe.name,
        recipe.licence,
        {
            "pairs": f"{len(pairs):,}, in dpo/",
            "seed": str(recipe.seed),
            "version of stillroom": versions()["stillroom"],
        },
        AnswerCounts(),
        per_task,
        "chosen in its pairs",
        "rejected in its pairs",
    )
    counts = _write(context, of_pairs.labelled(pairs, per_task=per_task), card)
    if not (counts.desirable and counts.undesirable):
        raise NothingLeft(
            f"{len(pairs):,} pairs give {counts}, and method kto learns from both kinds: set student.method: dpo, "
            "which compares the answers of a pair"
        )
    return list[Row](read_answers(context.folder.path / FOLDER))


def learned_from(student: StudentSettings | None, folder: Path) -> Path:
    """The file of the rows that a student of a run learns from, or would if it were written. No student: SFT rows."""
    places: Mapping[str, Path] = {
        "labelled rows": folder / FOLDER / DATA_FILE,
        "pairs": folder / "dpo" / FILES["train"],
        "rows": folder / "sft" / TRACES,
    }
    return places["rows" if student is None else student.learns_from]


def _write(context: RunContext, found: Iterable[AnswerRow | LeftOutAnswer], card: AnswerCard) -> AnswerCounts:
    """Writes `kto/` and `rejects/kto.jsonl`, one answer at a time, and shows the counts."""
    folder, counts = context.folder, AnswerCounts()
    folder.tell_lost(FOLDER, context.display)
    place, rejects = folder.path / FOLDER, Growing(_rejects(folder))
    try:
        with answer_file(place) as file:
            for each in found:
                counts.add(each)
                if isinstance(each, LeftOutAnswer):
                    with rejects.writing() as out:
                        out.write((json.dumps(asdict(each), ensure_ascii=False) + "\n").encode())
                else:
                    file.add(each)
        if counts.left_out:
            rejects.keep()
        else:
            remove(_rejects(folder))
    finally:
        rejects.discard()
    if not counts.rows:
        remove(place / DATA_FILE)  # of an earlier run
    write_card(place, replace(card, counts=counts))
    folder.mark(FOLDER, WRITTEN, place)
    context.display.line("labelled", str(counts))
    return counts


def _forget(folder: RunFolder) -> None:
    """Nothing of an earlier time stays."""
    for path in (folder.path / FOLDER / DATA_FILE, folder.path / FOLDER / CARD_FILE, _rejects(folder)):
        remove(path)


def _rejects(folder: RunFolder) -> Path:
    return folder.path / "rejects" / f"{FOLDER}.jsonl"
