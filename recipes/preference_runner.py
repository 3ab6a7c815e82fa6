"""Runs a recipe of the preference path: candidates, judgements, pairs, audit, DPO, evaluation.

As on the other path each request is in the ledger before anything depends on it, and a stage whose inputs did not
change is not done again: the same command resumes, and a finished run costs nothing to run again.

    run("writing_recorded")                     # stillroom.recipes.runner
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stillroom.errors import GateFailed
from stillroom.judges.calibrate import Calibration, calibrate
from stillroom.judges.gate import GateVerdict, gate
from stillroom.judges.human_labels import load_labelled
from stillroom.preferences.audit import Audit
from stillroom.preferences.candidates import Gathered, gather
from stillroom.recipes import preference_students, students_stage
from stillroom.recipes.candidates_stage import draw_candidates
from stillroom.recipes.display import Display
from stillroom.recipes.distinct import identities, refuse_same_judges
from stillroom.recipes.folder import RunFolder, now, versions
from stillroom.recipes.forgetting import check_forgetting
from stillroom.recipes.judging_stage import Judgements, judge_candidates, judge_of
from stillroom.recipes.loading import Loaded, dump
from stillroom.recipes.pairs_stage import make_pairs
from stillroom.recipes.preference_schema import CandidateSource, PreferenceRecipe, RecipeGate
from stillroom.recipes.provenance import made_from
from stillroom.recipes.sampling_stage import run_async
from stillroom.sampling.ledger import Ledger
from stillroom.sampling.limits import Meter
from stillroom.students.evaluate.results import Evaluation
from stillroom.traces.tasks import TaskSet, load_tasks


@dataclass(frozen=True, slots=True)
class PreferenceResult:
    """What a run came to. `calibration` and `gate`: None where the recipe has no gate; `evaluation`: None where it
    asks for none. `pairs` are for training, `test_pairs` held out."""

    folder: Path
    prompts: int
    candidates: int
    judgements: dict[str, int]
    pairs: int
    test_pairs: int
    audit: Audit
    calibration: Calibration | None = None
    gate: GateVerdict | None = None
    evaluation: Evaluation | None = None

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""
        evaluation = self.evaluation
        return {
            "folder": str(self.folder),
            "prompts": self.prompts,
            "candidates": self.candidates,
            "judgements": self.judgements,
            "pairs": self.pairs,
            "test_pairs": self.test_pairs,
            "audit": self.audit.as_dict(),
            "calibration": None if self.calibration is None else self.calibration.model_dump(mode="json"),
            "gate": None if self.gate is None else self.gate._asdict(),
            "evaluation": None if evaluation is None else evaluation.model_dump(mode="json", exclude_none=True),
        }


@dataclass(slots=True)
class PreferenceRun:
    """One run of a preference recipe in its folder. `identities`: of the sources, by name, and of the judge."""

    loaded: Loaded[PreferenceRecipe]
    folder: RunFolder
    ledger: Ledger
    display: Display
    meter: Meter = field(init=False)
    identities: dict[str, str] = field(default_factory=dict)
    judge_identity: str = ""
    sampled: dict[str, Any] = field(default_factory=dict)
    calibration: Calibration | None = None
    gate: GateVerdict | None = None

    def __post_init__(self) -> None:
        self.meter = Meter(self.recipe.limits)

    @property
    def recipe(self) -> PreferenceRecipe:
        """The recipe."""
        return self.loaded.recipe

    def execute(self) -> PreferenceResult:
        """All stages."""
        students_stage.require(self.recipe)
        self.identities = identities(self.recipe, self.loaded.base)
        refuse_same_judges(self.recipe, self.ledger, self.loaded.base)
        tasks = self._load_tasks()
        evaluate = self.recipe.evaluate
        if evaluate is not None and evaluate.forgotten is not None:
            check_forgetting(evaluate.forgotten, base=self.loaded.base, seed=self.recipe.seed)
        self._note_start(tasks)
        self.folder.note(finished=None)  # where the recipe is another now
        run_async(self._calibrate())
        gathered, judgements = run_async(self._judged(tasks))
        paired = make_pairs(self, tasks, gathered, judgements)
        evaluation = preference_students.train_and_evaluate(self, tasks, paired)
        self.folder.note(
            finished=now(),
            rows=len(paired.train),
            judge=self.judge_identity,
            judgements=judgements.states(),
        )
        return PreferenceResult(
            folder=self.folder.path,
            prompts=len(tasks.train) + len(tasks.test),
            candidates=len(judgements.judged),
            judgements=judgements.states(),
            pairs=len(paired.train),
            test_pairs=len(paired.test),
            audit=paired.audit,
            calibration=self.calibration,
            gate=self.gate,
            evaluation=evaluation,
        )

    def is_on_policy(self, source: CandidateSource) -> bool:
        """Whether the student that will be trained wrote it: the recipe says so, or both are of one model."""
        student, teacher = self.recipe.student, source.teacher
        return source.on_policy or (student is not None and teacher.model == student.model)

    # -- stages --------------------------------------------------------------------------------------------

    def _load_tasks(self) -> TaskSet:
        tasks = load_tasks(self.recipe.tasks, base=self.loaded.base, seed=self.recipe.seed)
        left = f", {len(tasks.left_out):,} left out" if tasks.left_out else ""
        self.display.line("prompts", f"{len(tasks.train):,} to learn from, {len(tasks.test):,} held out{left}")
        for note in tasks.notes:
            self.display.note(note)
        return tasks

    def _note_start(self, tasks: TaskSet) -> None:
        self.folder.write("recipe.yaml", dump(self.recipe))
        self.folder.note(
            started=self.folder["started"] or now(),
            seed=self.recipe.seed,
            versions=versions(),
            tasks={"train": len(tasks.train), "test": len(tasks.test), "left_out": len(tasks.left_out)},
            **made_from(self.loaded, tasks),
        )

    async def _calibrate(self) -> None:
        """Measures the judge on human labels, and stops the run where the gate is required and does not open."""
        wanted = self.recipe.gate
        if wanted is None:
            return
        async with judge_of(self, self.recipe.judge) as made:
            pairs = load_labelled(self.loaded.base / wanted.labelled)
            self.calibration = await calibrate(made.judge, pairs, seed=self.recipe.seed, kind=made.kind)
        self.folder.write("calibration.json", self.calibration.model_dump_json(indent=2) + "\n")
        self.gate = gate(self.calibration, wanted)
        self._tell_gate(wanted, len(pairs))

    def _tell_gate(self, wanted: RecipeGate, pairs: int) -> None:
        assert self.gate is not None
        if self.gate.passed:
            self.display.line("gate", f"the judge passes, on {pairs:,} labelled pairs")
            return
        failed = "; ".join(self.gate.failures)
        if wanted.required:
            raise GateFailed(
                f"the judge fails the gate on {pairs:,} labelled pairs: {failed}. No pairs were built. Choose "
                "another judge or rubric (`stillroom judge calibrate` measures it); gate.required: false builds them "
                "all the same"
            )
        self.display.line("gate", f"the judge FAILS the gate: {failed}")

    async def _judged(self, tasks: TaskSet) -> tuple[Gathered, Judgements]:
        prompts = (*tasks.train, *tasks.test)
        drawn = await draw_candidates(self, prompts)
        self.folder.note(sources=self.identities, sampling=self.sampled)
        gathered = gather(drawn, order=prompts)
        return gathered, await judge_candidates(self, gathered)
