"""The models that a white-box training asks, loaded, and the rows as the teacher reads them.

    models = Models(model, tokenizer, dtype="float32", device="cpu")
    models.loaded("runs/tutor/student/merged", "the teacher").states("task", part)
    read = as_the_teacher_reads(rows, encoded, Privileged(), tokenizer, context=8192, name="the teacher")

The teacher reads each row under its own chat template, and with whatever it is shown besides; only the ids of the
answer are the student's. Refuses other tokens, turns that end otherwise, and rows beyond its context: nothing is cut.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from stillroom.common.models.quiet import quiet_transformers
from stillroom.common.models.resolve import adapter_base, load_model, resolve_model
from stillroom.errors import RecipeError
from stillroom.students.data.encode import IGNORED, Encoded, EncodedRow, ids_of, special_ids
from stillroom.students.data.rows import SftRow
from stillroom.students.methods.cpu_passes import can_flatten
from stillroom.students.whitebox.head import Head
from stillroom.students.whitebox.loss import Reader, Rows
from stillroom.students.whitebox.privileged import Privileged

BASE = "base"
"""The teacher that is the student's model as it was before the training."""


class Sides(NamedTuple):
    """Who reads the rows. `read`: the task's rows as the teacher reads them, None without one. `base`: None for the
    student without its adapter, or where nobody needs it."""

    student: Reader
    teacher: Reader | None
    base: Reader | None
    read: list[EncodedRow] | None


class Models(NamedTuple):
    """Loads what a training asks and does not train. `vocabulary`: tokens of the student's tokenizer."""

    vocabulary: int
    dtype: str
    device: str

    def reader(self, model: Any, who: str, rows: Rows | None = None) -> Reader:
        """Of a model that is there. Raises RecipeError where its output layer does not fit."""
        flat = self.device == "cpu" and can_flatten(model.config)
        return Reader(model, Head(model, self.vocabulary, who), flat, rows)

    def loaded(self, name: str, who: str, rows: Rows | None = None) -> Reader:
        """Of a model by its name."""
        model = load_model(name, self.dtype, self.device)
        model.requires_grad_(False)
        return self.reader(model, who, rows)


def config_of(name: str) -> Any:
    """The configuration of a model, without its weights; None for a folder that has none, such as a tokenizer's."""
    folder = Path(resolve_model(name).path)
    if (base := adapter_base(folder)) is not None:
        return config_of(base)
    if not (folder / "config.json").is_file():
        return None
    with quiet_transformers() as transformers:
        return transformers.AutoConfig.from_pretrained(str(folder))


def context_of(config: Any) -> int:
    """Tokens that a model can read; of a configuration that does not say, or none, as many as there are."""
    text = None if config is None else config.get_text_config()
    return int(getattr(text, "max_position_embeddings", 0) or 1 << 30)


def same_tokens(teacher: Any, student: Any, teacher_name: str, student_name: str) -> None:
    """Raises RecipeError unless both tokenizers give every token the same id: sizes alone say nothing."""
    theirs, ours = teacher.get_vocab(), student.get_vocab()
    if theirs == ours:
        return
    other = sorted(token for token in theirs.keys() | ours.keys() if theirs.get(token) != ours.get(token))
    raise RecipeError(
        f"the teacher {teacher_name} and the student {student_name} have other tokens: {len(other):,} differ, such "
        f"as {other[0]!r} ({theirs.get(other[0])} and {ours.get(other[0])}). A distribution can only be learned "
        "token by token: choose a teacher of the student's family, or learn from its text with `method: sft`"
    )


def as_the_teacher_reads(
    rows: Sequence[SftRow], encoded: Encoded, shown: Privileged, tokenizer: Any, *, context: int, name: str
) -> list[EncodedRow]:
    """The student's rows behind the teacher's prompt. `rows`: with the messages, before the student's system prompt
    took their place; `context`: tokens that the teacher can read. Raises RecipeError where a turn ends otherwise, or
    a row does not fit."""
    prompts, special, found = {row.name: row for row in rows}, special_ids(tokenizer), []
    for row in encoded.rows:
        source = prompts[row.name]
        ids = ids_of(source._replace(prompt=shown.prompt(source)), tokenizer, special)
        answer = row.input_ids[next(i for i, label in enumerate(row.labels) if label >= 0) :]
        if ids.answer[-1] != encoded.end_id:
            ends = (tokenizer.decode([token]) for token in (ids.answer[-1], encoded.end_id))
            raise RecipeError(
                "the teacher {} ends a turn with {!r}, the student with {!r}: it would teach another end".format(
                    name, *ends
                )
            )
        if len(ids.prompt) + len(answer) > context:
            raise RecipeError(
                f"{row.name}: {len(ids.prompt) + len(answer):,} tokens as the teacher reads it, its context is "
                f"{context:,} and nothing is cut: show it less (teacher_examples, teacher_reference), lower "
                "`student.max_length`, or choose a teacher with a longer context"
            )
        found.append(EncodedRow(row.name, ids.prompt + answer, [IGNORED] * len(ids.prompt) + answer))
    return found
