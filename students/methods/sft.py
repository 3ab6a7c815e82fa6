"""Supervised fine-tuning of a student on traces: trl's trainer, a LoRA or all weights, loss on the answer alone.

    settings = Sft(model="embedded:smollm2-135m-instruct", epochs=3, learning_rate=5e-4)
    trained = settings.train(run / "sft", run / "student", seed=7, on_step=print)
    load_model(str(trained.model))                     # stillroom.common.models.resolve

Refuses to train what would fail silently (see `preflight`), to cut rows, to go on after a loss that is no number,
and to leave half a student behind. On a CPU the same rows, settings and seed give the same student.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from stillroom.common.models.resolve import fingerprint, load_model, load_tokenizer
from stillroom.common.records import Task
from stillroom.students.data.encode import Encoded, encode_rows, prepare_tokenizer
from stillroom.students.data.rows import Row, read_rows, with_system
from stillroom.students.export.save import check_room, whole_folder, write_record
from stillroom.students.methods.common import (
    TRL,
    bytes_to_save,
    fits,
    load_dtype,
    longest,
    make_plan,
    make_record,
    places,
    quiet_training,
    run,
    save,
)
from stillroom.students.methods.registry import StudentSettings, methods
from stillroom.students.methods.trainer import make_trainer
from stillroom.students.records import LeftOut, OnStep, Plan, StepInfo, Trained

if TYPE_CHECKING:
    from stillroom.students.lint.report import LintReport
    from stillroom.students.records import Checker

__all__ = ["LeftOut", "Sft", "StepInfo", "Trained"]


@methods.register
class Sft(StudentSettings):
    """Supervised fine-tuning on the accepted traces."""

    method: Literal["sft"] = "sft"

    def train(
        self, rows: Path | str | Iterable[Row], out: Path, *, seed: int, on_step: OnStep | None = None
    ) -> Trained:
        """See the base class. Rows hold conversational `prompt` and `completion`."""
        found = [row._replace(prompt=with_system(row.prompt, self.system)) for row in read_rows(rows)]
        with quiet_training(), whole_folder(out) as work:
            tokenizer = load_tokenizer(self.model)
            plan = make_plan(self, seed)
            model = load_model(self.model, load_dtype(self, plan), plan.device)
            encoded = encode_rows(found, tokenizer, longest(self, model))
            prepare_tokenizer(tokenizer, encoded.end_id)
            check_room(work, bytes_to_save(model))
            with fits(self):
                trainer = make_trainer(model, tokenizer, encoded, self, plan, work / TRL, on_step)
            seconds = run(trainer, self)
            return _finish(trainer, tokenizer, encoded, self, plan, work, out, seconds)

    def lint(
        self, rows: Path | str | Iterable[Row], *, test: Sequence[Task] = (), checker: Checker | None = None
    ) -> LintReport:
        """See the base class."""
        from stillroom.students.lint import lint_sft

        return lint_sft(rows, self, test=test, checker=checker)


def _finish(
    trainer: Any,
    tokenizer: Any,
    encoded: Encoded,
    settings: Sft,
    plan: Plan,
    work: Path,
    out: Path,
    seconds: float,
) -> Trained:
    """Saves the student and says what it is."""
    adapter, merged = places(settings, out)
    trained = Trained(
        folder=out,
        adapter=adapter,
        merged=merged,
        rows=len(encoded.rows),
        left_out=encoded.left_out,
        losses=tuple(trainer.steps.losses),
        tokens=trainer.steps.tokens,
        seconds=seconds,
    )
    save(trainer.model, tokenizer, settings, plan, work)
    record = make_record(trained, tokenizer, settings, plan, model=fingerprint(settings.model), data=encoded.digest())
    write_record(record, work)
    return trained
