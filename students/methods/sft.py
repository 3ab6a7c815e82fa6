"""Supervised fine-tuning of a student on traces: trl's trainer, a LoRA or all weights, loss on the answer alone.

    settings = Sft(model="embedded:smollm2-135m-instruct", epochs=3, learning_rate=5e-4)
    trained = settings.train(run / "sft", run / "student", seed=7, on_step=print)
    load_model(str(trained.model))                     # stillroom.common.models.resolve

On a CPU the same rows, settings and seed give the same student.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar, Literal

from stillroom.students.data.encode import encode_rows
from stillroom.students.data.rows import Row, read_rows, with_system
from stillroom.students.methods.common import finish, fits, run, training
from stillroom.students.methods.of_rows import OfRows
from stillroom.students.methods.registry import methods
from stillroom.students.methods.trainer import held_rows, make_trainer, watch
from stillroom.students.records import OnStep, Trained, TrainingPlace


@methods.register
class Sft(OfRows):
    """Supervised fine-tuning on the accepted traces."""

    trl_config: ClassVar[str] = "SFTConfig"

    method: Literal["sft"] = "sft"

    def train(
        self,
        rows: Path | str | Iterable[Row],
        out: Path,
        *,
        seed: int,
        on_step: OnStep | None = None,
        place: TrainingPlace | None = None,
    ) -> Trained:
        """See the base class. Rows hold conversational `prompt` and `completion`."""
        found = [row._replace(prompt=with_system(row.prompt, self.system)) for row in read_rows(rows)]
        place = place or TrainingPlace()
        with training(self, out, seed, place, found, encode_rows) as begun:
            with fits(self):
                trainer = make_trainer(
                    begun.model, begun.tokenizer, begun.encoded, self, begun.plan, begun.scratch, on_step
                )
                watch(trainer, begun.curve, held_rows(trainer, begun.held, self.batch_size))
            return finish(begun, trainer, self, out, run(trainer, self, begun.kept.of("sft"), place))
