"""A training that goes on where it was stopped: what transformers' Trainer saves, and what it leaves out.

    class StudentTrainer(Resumable, trl.SFTTrainer): ...
    seconds = trained(trainer, kept)               # from the last checkpoint of `kept`, or from the first step

Weights, optimiser, scheduler and random states are saved and loaded by transformers. What it lacks for a student that
equals that of an uninterrupted training: the random states at the beginning of the epoch, which decided its order of
rows; our own losses; and the states before, not after, a loss of our own looks at the first step. Ctrl-C ends the
step, saves a checkpoint and stops; a second one stops at once.
"""

from __future__ import annotations

import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from stillroom.common.run_async import stopped_by
from stillroom.errors import Interrupted
from stillroom.students.methods.checkpoints import Checkpoint, Checkpoints
from stillroom.students.methods.validation import Curve, Measured

_Trainer: Any = object

EPOCH = "epoch"
"""The folder of a checkpoint with the random states of the beginning of its epoch."""
BEST = "best.safetensors"
"""The file of a checkpoint with the weights of the lowest validation loss, where these are the student's."""


class Resumable(_Trainer):  # type: ignore[misc]  # stands before one of trl's trainers, which are loaded where used
    """What a trainer needs to be saved and to go on. Its `steps`, and its loss `own` where it has one, give what they
    are with `state()` and take it back with `restore(…)`."""

    kept: Checkpoints | None = None
    _into: Path | None = None
    _resumed: Checkpoint | None = None
    _random_is_back = False
    curve: Curve | None
    best_weights: dict[str, Any] | None

    def _send_telemetry(self) -> None:
        """trl would tell the hub which trainer is made, and for which kind of model."""

    def _get_output_dir(self, trial: Any) -> Any:
        return super()._get_output_dir(trial) if self._into is None else str(self._into)

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        """Not trl's, which writes a model card first."""
        import transformers
        from safetensors.torch import save_file

        if self.kept is None:
            return
        state = {"steps": self.steps.state(), "mid_epoch": self.state.epoch != int(self.state.epoch)}
        if (own := getattr(self, "own", None)) is not None:
            state["own"] = own.state()
        if self.curve is not None:
            state["measured"] = self.curve.measured
        with self.kept.writing(self.state.global_step, self.state.max_steps, state) as into:
            self._into = into.parent
            try:
                transformers.Trainer._save_checkpoint(self, model, trial)
            finally:
                self._into = None
            shutil.copytree(self._epoch, into / EPOCH, dirs_exist_ok=True)
            if self.best_weights is not None and self.ranks.main:
                save_file(self.best_weights, into / BEST)

    def _save(self, output_dir: str | None = None, state_dict: Any = None) -> None:
        """The weights alone. Of adapters, the trained one: another is a reference, which is made again; and peft asks
        the hub for the base unless it is told that no embedding was resized."""
        adapted = hasattr(self.model, "peft_config")
        more = {"selected_adapters": ["default"], "save_embedding_layers": False} if adapted else {}
        self.model.save_pretrained(output_dir, state_dict=state_dict, **more)

    @property
    def _epoch(self) -> Path:
        return Path(self.args.output_dir) / EPOCH

    def begin_epoch(self) -> None:
        """Keeps the random states that decide the order of the rows; those of the checkpoint where one is gone on
        with amid its epoch."""
        found = self._resumed
        if found is not None and found.state["mid_epoch"] and not self._random_is_back:
            super()._load_rng_state(str(found.folder / EPOCH))
        self.begin_together()
        self._save_rng_state(str(self._epoch))

    def _load_rng_state(self, checkpoint: Any) -> None:
        """Once: transformers would do it again behind a loss of our own, which may have drawn since."""
        if not self._random_is_back:
            super()._load_rng_state(checkpoint)
        self._random_is_back = True

    def random_as_saved(self) -> None:
        """The random states of the checkpoint that is gone on with, once its epoch's rows were skipped."""
        if self._resumed is not None:
            self._load_rng_state(str(self._resumed.folder))

    def go_on(self) -> None:
        """Trains from the last checkpoint, or from the first step. Raises Interrupted after Ctrl-C."""
        from safetensors.torch import load_file

        self.add_callback(_saving(self))
        found = None if self.kept is None else self.kept.last()
        if found is None or self.kept is None:
            self.train()
            return
        self.steps.restore(found.state["steps"])
        self._tokens_told = self.steps.tokens
        if (own := getattr(self, "own", None)) is not None:
            own.restore(found.state["own"])
        if self.curve is not None:
            self.curve.measured = [Measured(*each) for each in found.state["measured"]]
            if (found.folder / BEST).is_file():
                self.best_weights = load_file(found.folder / BEST)
        if found.step < found.total and not (self.curve is not None and self.curve.stops):
            self.kept.tell(f"goes on from step {found.step:,} of {found.total:,}")
            self._resumed = found
            self.train(resume_from_checkpoint=str(found.folder))
            return
        self.kept.tell(f"all {found.step:,} steps were done before: its weights are taken from there")
        self.finished_before(found)

    def finished_before(self, found: Checkpoint) -> None:
        """Takes the weights of a checkpoint after which nothing is left to train."""
        from transformers import trainer_utils

        self._load_from_checkpoint(str(found.folder))
        self.state.global_step = self.state.max_steps = found.step
        if (align := getattr(trainer_utils, "align_special_tokens", None)) is not None:  # as a training does first
            align(self.model, self.processing_class)
        self.model.train()


def _saving(trainer: Any) -> Any:
    """A callback that has checkpoints saved, and stops after one that Ctrl-C asked for."""
    import transformers

    class Saving(transformers.TrainerCallback):  # type: ignore[misc]  # transformers has no types we follow
        def on_epoch_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if trainer.kept is not None:
                trainer.begin_epoch()

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if trainer.step_together(trainer.kept is not None and trainer.kept.due(state.global_step)):
                control.should_save = True

        def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, float], **_: Any) -> None:
            if "loss" not in logs:
                return
            if trainer.curve is not None and trainer.curve.due(state.global_step, state.max_steps):
                trainer.measure()
                control.should_training_stop = control.should_training_stop or trainer.curve.stops
            if trainer.ranks.size == 1 and trainer.kept is not None and trainer.kept.stopping:
                control.should_save = True  # pressed since the step's end

        def on_save(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if trainer.kept.stopping:
                raise _stopped(trainer)

    return Saving()


def trained(trainer: Any) -> float:
    """Trains, and gives the seconds it took, those before a checkpoint included. Raises Interrupted after Ctrl-C."""
    began, kept = time.perf_counter(), trainer.kept
    try:
        with _ctrl_c(kept):
            trainer.go_on()
            if kept is not None and trainer.ranks.share(lambda: kept.stopping):  # pressed behind the last step
                trainer._save_checkpoint(trainer.model, None)
                raise _stopped(trainer)
            trainer.take_best()
    except KeyboardInterrupt as error:
        raise _stopped(trainer) from error
    return float(trainer.steps.seconds_before + time.perf_counter() - began)


def save_last(trainer: Any) -> None:
    """Saves the weights behind the last step, for a training that goes on with another part."""
    kept = trainer.kept
    if kept is not None and kept.settings is not None and kept.saved != trainer.state.global_step:
        trainer.args.save_only_model = True
        trainer._save_checkpoint(trainer.model, None)


def _stopped(trainer: Any) -> Interrupted:
    at, saved = trainer.state, None if trainer.kept is None else trainer.kept.saved
    goes_on = (
        f"its checkpoint of step {saved:,} is kept, so run the same command to go on from there"
        if saved
        else "no checkpoint of it is there, so the same command trains it from its first step"
    )
    return Interrupted(
        f"stopped the training at step {at.global_step:,} of {at.max_steps:,}: {goes_on}; everything that had been "
        "answered is kept"
    )


@contextmanager
def _ctrl_c(kept: Checkpoints | None) -> Iterator[None]:
    """The first Ctrl-C only asks for the step to be saved; the second does what it did before."""
    if kept is None or kept.settings is None:
        yield
        return

    def ask() -> None:
        kept.stopping = True
        # In a thread: a signal may come while the main one is printing.
        threading.Thread(
            target=kept.tell,
            args=("stopping: waiting for the end of this step, to save it (Ctrl-C again to stop at once)",),
            daemon=True,
        ).start()

    if threading.current_thread() is not threading.main_thread():
        with ExitStack() as stack:

            def once() -> None:
                stack.close()
                ask()

            stack.enter_context(stopped_by(once))
            yield
        return
    before = signal.getsignal(signal.SIGINT) or signal.default_int_handler

    def on_signal(*_: Any) -> None:
        signal.signal(signal.SIGINT, before)
        ask()

    signal.signal(signal.SIGINT, on_signal)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
