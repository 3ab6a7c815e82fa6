"""From slates to the pairs on disk: built, audited, written with their card.

A pure function of the slates and the recipe: the same recording gives the same files, byte for byte. Held-out pairs
are those of the held-out prompts (or, where the recipe holds out none, what `pairs.test` says); none of these is ever
trained on. What was left out is in `rejects/pairs.jsonl`, each with its reason.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from stillroom.common.files import replaced, storable
from stillroom.common.records import Prompt
from stillroom.common.stats.intervals import Interval
from stillroom.errors import AuditFailed, RunError
from stillroom.judges.calibrate import Calibration
from stillroom.pipeline.config.preferences import PreferenceRecipe
from stillroom.pipeline.run.folder import WRITTEN, RunContext, RunFolder, versions
from stillroom.pipeline.run.progress import Display
from stillroom.pipeline.stages.judge import Calibrated, Judgements
from stillroom.preferences.audit import Audit, audit
from stillroom.preferences.candidates import Gathered, slates_of
from stillroom.preferences.pairs import Built, build_pairs
from stillroom.preferences.records import LeftOut, Pair
from stillroom.preferences.rows import DpoCardFacts, SourceFacts, Split, split_pairs, write_dpo
from stillroom.traces.tasks import TaskSet


class Paired(NamedTuple):
    """Pairs for training and held-out ones, and the audit of those for training."""

    train: tuple[Pair, ...]
    test: tuple[Pair, ...]
    audit: Audit


def make_pairs(
    context: RunContext,
    recipe: PreferenceRecipe,
    tasks: TaskSet,
    gathered: Gathered,
    judgements: Judgements,
    sources: Mapping[str, str],
    calibrated: Calibrated | None,
) -> Paired:
    """Builds, audits and writes `dpo/`, `audit.json` and `rejects/pairs.jsonl`. `sources`: the identity of each.

    Raises RunError where no pair is left, AuditFailed where the audit refuses them.
    """
    folder = context.folder
    system = recipe.student.system if recipe.student is not None else None
    slates = slates_of(gathered, judgements.judged, ends=judgements.ends or None)
    built = build_pairs(slates.slates, recipe.pairs, system=system, seed=recipe.seed)
    write_left_out(folder, (*gathered.left_out, *slates.left_out, *built.left_out))

    held_out = {task.id for task in tasks.test}
    if held_out:
        train = tuple(pair for pair in built.pairs if pair.task.id not in held_out)
        split = Split(train, tuple(pair for pair in built.pairs if pair.task.id in held_out))
    else:
        split = split_pairs(built.pairs, recipe.pairs.test, seed=recipe.seed)
    if not split.train:
        raise RunError(nothing_left(built, folder.path))

    prompts = [Prompt(system=system).messages(task) for task in tasks.test] or [pair.prompt for pair in split.test]
    found = audit(
        split.train,
        recipe.audit,
        slates=[slate for slate in slates.slates if slate.task.id not in held_out],
        left_out=[left for left in built.left_out if left.what not in held_out],
        test=prompts,
        accuracy=None if calibrated is None else judge_accuracy(calibrated.calibration),
    )
    finish_pairs(
        context, built, split, found, _card(recipe, tasks, judgements.judge, sources, built, found, calibrated)
    )
    return Paired(split.train, split.test, found)


def write_left_out(folder: RunFolder, left_out: Iterable[LeftOut]) -> None:
    """Writes `rejects/pairs.jsonl`: each prompt, answer or row that is in no pair, with its reason."""
    with replaced(folder.path / "rejects" / "pairs.jsonl") as file:
        for left in left_out:
            file.write(storable(json.dumps(left._asdict(), ensure_ascii=False)).encode() + b"\n")


def nothing_left(built: Built, folder: Path) -> str:
    """What to say where there is no pair to train on."""
    counts = built.counts
    reasons = {**counts.slates_left_out, **counts.candidates_left_out}
    told = ", ".join(f"{name.replace('_', ' ')} {n:,}" for name, n in reasons.items())
    return (
        f"no pair to train on came out of {counts.candidates:,} candidates for {counts.slates:,} prompts "
        f"({told or 'there were no candidates'}): see {folder / 'rejects' / 'pairs.jsonl'}, then loosen `pairs`, "
        "give more candidates, or hold out fewer"
    )


def finish_pairs(context: RunContext, built: Built, split: Split, found: Audit, card: DpoCardFacts) -> None:
    """Shows what was built, and writes `audit.json` and `dpo/`. Raises AuditFailed where the audit refuses them."""
    folder, display = context.folder, context.display
    found.write(folder.path / "audit.json")
    _report(display, built, split, found)
    try:
        found.raise_if_refused()
    except AuditFailed as error:
        raise AuditFailed(f"{error}. All findings are in {folder.path / 'audit.json'}") from None
    folder.tell_lost("rows", display)
    write_dpo(split.train, folder.path / "dpo", card, held_out=split.test)
    folder.mark("rows", WRITTEN, folder.path / "dpo")


def judge_accuracy(calibration: Calibration) -> Interval | None:
    """The judge's accuracy on human labels where it decided."""
    found = calibration.decided_accuracy
    return None if found is None else Interval(found.value, found.low, found.high, found.n)


def _report(display: Display, built: Built, split: Split, found: Audit) -> None:
    left = built.counts.slates_left_out
    without = ", ".join(f"{n:,} {name.replace('_', ' ')}" for name, n in left.items())
    without = f" ({sum(left.values()):,} prompts without: {without})" if without else ""
    display.line("paired", f"{len(split.train):,} pairs to learn from, {len(split.test):,} held out{without}")
    lengths = built.lengths
    if lengths.chosen is not None and lengths.rejected is not None and lengths.longer_chosen is not None:
        display.note(
            f"chosen {lengths.chosen.value:,.0f} characters on average, rejected {lengths.rejected.value:,.0f}; "
            f"the longer one is chosen in {lengths.longer_chosen.value:.0%}"
        )
    broken = (*found.errors, *found.warnings)
    told = f"{len(found.errors):,} refused, {len(found.warnings):,} warnings" if broken else "nothing found"
    display.line("audit", f"{len(found.findings)} checks: {told}")
    for each in broken:
        severity = "refused" if each.severity == "error" else "warning"
        display.note(f"{severity}: {each.meaning.title}: {each.told}; {each.meaning.advice}")


def _card(
    recipe: PreferenceRecipe,
    tasks: TaskSet,
    judge: str,
    identities: Mapping[str, str],
    built: Built,
    found: Audit,
    calibrated: Calibrated | None,
) -> DpoCardFacts:
    sources = [
        SourceFacts(s.name, identities[s.name], s.teacher.licence, s.wrote_as(recipe.student))
        for s in recipe.candidates
    ]
    passed = None
    if calibrated is not None:
        passed = "passed" if calibrated.gate.passed else "failed: " + "; ".join(calibrated.gate.failures)
    return DpoCardFacts(
        recipe=recipe.name,
        sources=sources,
        licence=recipe.licence,
        tasks=f"{recipe.tasks.source}, {len(tasks.train):,} prompts, {len(tasks.test):,} held out",
        judge=judge,
        settings=recipe.pairs,
        seed=recipe.seed,
        rubric=getattr(recipe.judge, "rubric", None),
        counts=built.counts,
        audit=found,
        calibration=None if calibrated is None else calibrated.calibration,
        gate=passed,
        versions={"stillroom": versions()["stillroom"]},
    )
