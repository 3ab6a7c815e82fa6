"""Runs a recipe that compares recorded judges: each is calibrated on human labels and held against the gate; those
who pass build pairs, which are compared with what the humans preferred.

Nobody is asked: what the judges wrote is read again. Writes `calibration.json` (every figure of every judge) and, for
each judge that passed, its pairs in `dpo/JUDGE-METHOD/`, with their audit.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, NamedTuple

from pydantic import Field

from stillroom.common.files import at_home
from stillroom.common.formatting import NOTHING, interval, share
from stillroom.common.preferred import Reading
from stillroom.common.printing import Terminal, columns, terminal, wide
from stillroom.common.settings import Settings
from stillroom.common.stats.intervals import Interval, wilson
from stillroom.errors import InputError
from stillroom.judges.calibrate import Calibration, GateSettings, GateVerdict, calibrate, gate
from stillroom.judges.human_labels import LabelledPair, read_labelled
from stillroom.judges.recorded import RecordedPairwise, Recording, load_recording, recorded_judge
from stillroom.pipeline.config.kinds import Loaded, RecipeBase, recipe_kinds
from stillroom.pipeline.run.flow import Flow, FlowResult, flows
from stillroom.pipeline.run.folder import RunFolder, now, versions
from stillroom.pipeline.run.progress import Display
from stillroom.pipeline.stages.pairs import judge_accuracy
from stillroom.preferences.audit import audit
from stillroom.preferences.pairs import Built, build_pairs
from stillroom.preferences.records import Candidate, Judged, Slate
from stillroom.preferences.rows import DpoCardFacts, SourceFacts, write_dpo
from stillroom.preferences.settings import PairSettings
from stillroom.report.preferences import comparison_table


class RecordedJudges(Settings):
    """A judge in a file of recordings."""

    name: str = Field(min_length=1)
    """The judge's name in the file."""
    methods: tuple[str, ...] = ()
    """Its prompting methods to measure; empty: all."""


@recipe_kinds.register(name="calibration")
class CalibrationRecipe(RecipeBase):
    """Recorded judges measured against human labels, each through the gate; those who pass build pairs, which are
    compared with what the humans preferred."""

    marks: ClassVar[frozenset[str]] = frozenset({"labelled"})

    seed: int = Field(default=0, ge=0, lt=2**31)
    """Seed of everything drawn at random."""
    labelled: str
    """File of pairs with human labels: LLMBar's, JSON Lines, CSV, or a known layout of preferences."""
    layout: str | None = None
    """How its rows are laid out; null: as the first rows plainly are."""
    prefer: str | None = None
    """What decides, where a row holds several judgements."""
    bad_rows: Literal["refuse", "skip"] = "refuse"
    """Rows of the labelled pairs and of the recordings that cannot be read are refused, or left out and counted."""
    recordings: str
    """File of what the judges wrote about these pairs."""
    dataset: str
    """What the labelled pairs are called in reports."""
    judges: tuple[RecordedJudges, ...] = ()
    """Recorded judges to measure; empty: all in the file."""
    gate: GateSettings = GateSettings()
    """What a judge must reach before it builds pairs."""


SIDES = ("output_1", "output_2")
"""The sources of the two answers of a labelled pair, as LLMBar calls them."""


class JudgeResult(NamedTuple):
    """One judge with one prompting method. `pairs`: that it built, 0 where the gate stopped it; `agree`: the share of
    them whose chosen answer is the humans', None without pairs."""

    judge: str
    method: str
    calibration: Calibration
    gate: GateVerdict
    pairs: int = 0
    agree: Interval | None = None

    def as_dict(self) -> dict[str, Any]:
        return {
            "judge": self.judge,
            "method": self.method,
            "gate": self.gate._asdict(),
            "pairs": self.pairs,
            "pairs_agree_with_humans": None if self.agree is None else self.agree._asdict(),
            "calibration": self.calibration.model_dump(mode="json"),
        }


@dataclass(frozen=True, slots=True)
class CalibrationResult(FlowResult):
    """What a comparison of judges came to."""

    folder: Path
    labelled: int
    judges: tuple[JudgeResult, ...] = field(repr=False)

    def show(self, console: Terminal | None = None) -> None:
        console = wide(console or terminal())
        console.print(comparison_table([row[:4] for row in self.judges]))
        console.print("\npairs of the judges that passed, held against what people preferred:")
        numbers = ("pairs", "agree", "95 %")
        table = columns("judge", "method", *numbers, right=numbers)
        for row in (row for row in self.judges if row.gate.passed):
            agree = (share(row.agree.value), interval(row.agree.low, row.agree.high)) if row.agree else (NOTHING, "")
            table.add_row(row.judge, row.method, f"{row.pairs:,}", *agree)
        console.print(table)
        console.print(f"every figure is in {self.folder / 'calibration.json'}", soft_wrap=True)


@flows.register(name="calibration")
class CalibrationFlow(Flow[CalibrationRecipe]):
    """Comparisons of recorded judges."""

    def run(self, loaded: Loaded[CalibrationRecipe], folder: RunFolder, display: Display) -> CalibrationResult:
        """Calibrates every judge of the recipe. Raises MissingFile or InputError for what cannot be read."""
        folder.tell(display)
        recipe, base = loaded.recipe, loaded.base
        how = Reading(layout=recipe.layout, prefer=recipe.prefer, bad_rows=recipe.bad_rows)
        found_pairs = read_labelled(base / at_home(recipe.labelled), how)
        pairs, recording = found_pairs.pairs, load_recording(base / at_home(recipe.recordings), recipe.bad_rows)
        display.line("labelled", f"{len(pairs):,} pairs with human labels")
        for note in (*found_pairs.notes, *recording.notes):
            display.note(note)
        folder.begin(loaded, labelled=found_pairs.counts, recordings=recording.counts())
        wanted = _wanted(recipe, recording, pairs)
        results = tuple(_one(loaded, folder, recording, pairs, judge, method) for judge, method in wanted)
        found = CalibrationResult(folder.path, len(pairs), results)
        folder.write("calibration.json", json.dumps(found.as_dict()["judges"], indent=2) + "\n")
        passed = sum(result.gate.passed for result in results)
        display.line("gate", f"{passed} of {len(results)} judges pass; only these built pairs")
        folder.note(finished=now(), rows=sum(result.pairs for result in results))
        return found


def _wanted(recipe: CalibrationRecipe, recording: Recording, pairs: Sequence[LabelledPair]) -> list[tuple[str, str]]:
    """Judge and method of each that is looked at. Raises InputError for one that the recording does not hold."""
    ids = {pair.task.id for pair in pairs}
    there = list(dict.fromkeys((r.judge, r.method) for r in recording.records if r.task_id in ids))
    if not recipe.judges:
        return there
    wanted = [
        (entry.name, method)
        for entry in recipe.judges
        for method in entry.methods or [m for judge, m in there if judge == entry.name] or [""]
    ]
    for judge, method in wanted:
        if (judge, method) not in there:
            known = ", ".join(f"{judge} ({method})" for judge, method in there[:8])
            raise InputError(f"{recording.path} has no judge {judge!r} with method {method!r}: it has {known}, …")
    return wanted


def _one(
    loaded: Loaded[CalibrationRecipe],
    folder: RunFolder,
    recording: Recording,
    labelled: Sequence[LabelledPair],
    name: str,
    method: str,
) -> JudgeResult:
    recipe = loaded.recipe
    judge = recorded_judge(recording, labelled, judge=name, method=method)
    calibration = asyncio.run(calibrate(judge, labelled, seed=recipe.seed))
    verdict = gate(calibration, recipe.gate)
    if not verdict.passed:
        return JudgeResult(name, method, calibration, verdict)
    strategy = "tournament" if isinstance(judge, RecordedPairwise) else "best_worst"
    slates = asyncio.run(_slates(judge, labelled))
    built = build_pairs(slates, PairSettings(strategy=strategy), seed=recipe.seed)
    if built.pairs:
        _write(loaded, folder.path / "dpo" / f"{name}-{method}", built, slates, judge.identity, calibration)

    # The share of the pairs whose chosen answer is the one that the humans preferred; ties of theirs are left out.
    better = {pair.task.id: SIDES["ab".index(pair.label)] for pair in labelled if pair.label != "tie"}
    known = [pair for pair in built.pairs if pair.task.id in better]
    same = sum(pair.chosen.candidate.source == better[pair.task.id] for pair in known)
    agree = wilson(same, len(known)) if known else None
    return JudgeResult(name, method, calibration, verdict, len(built.pairs), agree)


def _write(
    loaded: Loaded[CalibrationRecipe],
    where: Path,
    built: Built,
    slates: Sequence[Slate],
    judge: str,
    calibration: Calibration,
) -> None:
    """The pairs with their audit and card. What the audit finds is for people to judge: nothing is trained here."""
    accuracy = judge_accuracy(calibration)
    found = audit(built.pairs, slates=slates, left_out=built.left_out, accuracy=accuracy)
    card = DpoCardFacts(
        recipe=loaded.recipe.name,
        sources=[SourceFacts(side, f"{loaded.recipe.dataset}: {side}") for side in SIDES],
        licence=None,
        tasks=f"{loaded.recipe.dataset}, {len(slates):,} labelled pairs",
        judge=judge,
        settings=PairSettings(strategy=built.pairs[0].strategy),
        seed=loaded.recipe.seed,
        counts=built.counts,
        audit=found,
        calibration=calibration,
        gate="passed",
        versions={"stillroom": versions()["stillroom"]},
    )
    write_dpo(built.pairs, where, card)
    found.write(where / "audit.json")


async def _slates(judge: Any, labelled: Sequence[LabelledPair]) -> list[Slate]:
    """The two answers of each pair, judged. Only what both orders agree on makes one the best."""
    slates = []
    for pair in labelled:
        sides = (pair.a, pair.b)
        a, b = (Candidate(pair.task.id, source, 0, one.text) for source, one in zip(SIDES, sides, strict=True))
        if isinstance(judge, RecordedPairwise):
            said = await judge.compare(pair.task, pair.a, pair.b)
            ends = {"a": (a.id, b.id), "b": (b.id, a.id), None: (None, None)}[said.winner]
            slates.append(Slate(pair.task, (Judged(a, said.state), Judged(b, said.state)), *ends))
        else:
            ratings = [await judge.rate(pair.task, one) for one in sides]
            judged = (Judged(c, r.state, r.score, r.detail) for c, r in zip((a, b), ratings, strict=True))
            slates.append(Slate(pair.task, tuple(judged)))
    return slates
