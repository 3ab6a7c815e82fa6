"""The student and its rows as the lint looks at them: tokenizer, model sizes, texts, tokens, and trl's batches.

    student = student_of(StudentSettings(model="embedded:smollm2-135m-instruct"))
    item = Item("row 1", None, (look_at(row, student),))     # rendered and encoded as the trainer does
    [item] = feed([item], sft_collator(student.prepared))    # with the labels and the mask of the batch
    masked(item.sides[0], student).facts                     # "row 1: 12 tokens not in the loss, 5 in it"

No weights are loaded. What cannot be rendered or encoded is kept in `fault`, not raised, so that the rows after it
are looked at too.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any, NamedTuple

from stillroom.common.marks import CLOSE, OPEN, NamedMarks
from stillroom.common.models.quiet import quiet_transformers
from stillroom.common.models.resolve import adapter_base, load_tokenizer, resolve_model
from stillroom.errors import TrainingError
from stillroom.students.data.encode import (
    IGNORED,
    Ids,
    first_difference,
    ids_of,
    render,
    special_ids,
)
from stillroom.students.data.rows import SftRow
from stillroom.students.lint.report import Hit, Kind, MaskedRow, Stretch
from stillroom.students.methods.registry import StudentSettings, longest

Collator = Callable[[Sequence[Mapping[str, Any]]], Mapping[str, Any]]
"""Makes a batch as trl's do: of rows with `input_ids` and `labels`, or `prompt_ids`, `chosen_ids`, `rejected_ids`."""


@dataclass(slots=True)
class Student:
    """`tokenizer`: as the rows are encoded with; `prepared`: as the trainer makes it then and saves it, so that
    inference renders with it. `special`: ids that no text but a template writes. `words`: finds such tokens in a text
    (None: there are none). `template`: those of them that the chat template writes. `embeddings`: rows of the
    embedding matrix, None where not known. `max_length`: tokens of a row. `end_id`: what ends a turn, None before the
    first row is read. `thinking`: marks of its teacher's, which no row may hold."""

    tokenizer: Any
    special: frozenset[int]
    words: re.Pattern[str] | None
    template: frozenset[str]
    embeddings: int | None
    max_length: int
    prepared: Any
    end_id: int | None = None
    thinking: NamedMarks | None = None

    def name(self, token_id: int) -> str:
        """A token as people read it."""
        return repr(self.tokenizer.decode([token_id]))


def student_of(settings: StudentSettings, tokenizer: Any = None, thinking: NamedMarks | None = None) -> Student:
    """The student of the settings. `tokenizer`: another than the model's (it is copied, not changed). Raises
    MissingFile for a model that is nowhere."""
    config = model_config(settings.model)
    own = load_tokenizer(settings.model) if tokenizer is None else copy.deepcopy(tokenizer)
    special = special_ids(own)
    texts = {own.convert_ids_to_tokens(i) for i in special} - {OPEN, CLOSE}
    words = sorted(filter(None, texts), key=len, reverse=True)  # the longest first
    # What the template writes around two words; nothing where it refuses, which each row will tell.
    around = ""
    if own.chat_template:
        turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
        with suppress(Exception):  # templates raise whatever jinja and their authors like
            around = str(own.apply_chat_template(turns, tokenize=False))
    return Student(
        tokenizer=own,
        special=special,
        words=re.compile("|".join(map(re.escape, words))) if words else None,
        template=frozenset(text for text in texts if text in around) | {own.eos_token or ""},
        embeddings=width(config),
        max_length=longest(settings, config),
        prepared=own,
        thinking=thinking,
    )


def model_config(name: str) -> Any:
    """The settings of the model called `name`; of the base for an adapter."""
    folder = Path(resolve_model(name).path)
    base = adapter_base(folder)
    with quiet_transformers() as transformers:
        return transformers.AutoConfig.from_pretrained(resolve_model(base).path if base else str(folder))


def width(config: Any) -> int | None:
    """Rows of the embedding matrix, which is how many logits a model gives; None where its settings do not say."""
    return getattr(config.get_text_config(), "vocab_size", None)


def sft_collator(tokenizer: Any) -> Collator:
    """The collator of trl's SFTTrainer, set up as for a student. `tokenizer`: as it is prepared for the training."""
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

    made: Collator = DataCollatorForLanguageModeling(pad_token_id=tokenizer.pad_token_id)
    return made


def pair_collator(tokenizer: Any) -> Collator:
    """The collator of trl's DPOTrainer, set up as for a student: nothing is cut."""
    from trl.trainer.dpo_trainer import DataCollatorForPreference

    made: Collator = DataCollatorForPreference(pad_token_id=tokenizer.pad_token_id, max_length=None)
    return made


def answer_collator(tokenizer: Any) -> Collator:
    """The collator of trl's KTOTrainer, set up as for a student, for rows as `sft_collator` takes them."""
    from trl.trainer.kto_trainer import DataCollatorForUnpairedPreference

    made = DataCollatorForUnpairedPreference(pad_token_id=tokenizer.pad_token_id, max_length=None)

    def collate(rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
        starts = [next(i for i, label in enumerate(row["labels"]) if label != IGNORED) for row in rows]
        answers = [
            {"prompt_ids": row["input_ids"][:at], "completion_ids": row["input_ids"][at:], "label": True}
            for row, at in zip(rows, starts, strict=True)
        ]
        batch = {**made(answers)}
        return batch | {"labels": batch["input_ids"].masked_fill(batch["completion_mask"] == 0, IGNORED)}

    return collate


class Fed(NamedTuple):
    """One row of a batch, all three as long as the batch is wide. `mask`: 1 where attention sees the token."""

    ids: list[int]
    labels: list[int]
    mask: list[int]


@dataclass(frozen=True, slots=True)
class Look:
    """`asked`: the prompt as inference sends it, `whole`: with the answer; both as text. `sent`: the prompt as
    tokens, by the template's own way. `ids`: as it is trained, None where `fault` says why not. `left_out`: why the
    trainer leaves the row out, or None. `fed`: as the collator makes it, None for what it never gets."""

    row: SftRow
    asked: str = ""
    whole: str = ""
    sent: tuple[int, ...] = ()
    ids: Ids | None = None
    fault: Hit | None = None
    left_out: str | None = None
    fed: Fed | None = None

    @property
    def name(self) -> str:
        """What findings call the row."""
        return self.row.name

    @property
    def content(self) -> str:
        """The answer as the row has it."""
        return "\n".join(message.content for message in self.row.completion)

    @property
    def written(self) -> str:
        """The answer as the template writes it, behind the generation prompt."""
        return self.whole[len(self.asked) :]

    @property
    def tokens(self) -> int:
        """Of prompt and answer."""
        return len(self.ids.prompt) + len(self.ids.answer) if self.ids else 0

    @property
    def whole_ids(self) -> list[int]:
        """Prompt and answer in tokens."""
        return self.ids.prompt + self.ids.answer if self.ids else []


def look_at(row: SftRow, student: Student) -> Look:
    """The row, rendered and encoded; its first fault if that cannot be done."""
    tokenizer = student.tokenizer
    if not tokenizer.chat_template:
        return Look(row, fault=Hit("no_template", row.name, "tokenizer.chat_template is empty"))
    try:
        asked = render(row.prompt, tokenizer, generation_prompt=True)
        whole = render(row.prompt + row.completion, tokenizer, generation_prompt=False)
        # The prompt as whoever loads the finished student sends it.
        turns = [message.as_dict() for message in row.prompt]
        sent = student.prepared.apply_chat_template(
            turns, add_generation_prompt=True, tokenize=True, return_dict=False
        )
    except Exception as error:  # noqa: BLE001 - templates raise whatever jinja and their authors like
        return Look(row, fault=Hit("template_refuses", row.name, f"{type(error).__name__}: {error}"[:300]))
    look = Look(row, asked, whole, tuple(sent))
    if not whole.startswith(asked):
        begin = max(0, first_difference(asked, whole) - 20)
        told = f"inference prompts with {asked[begin:][:60]!r}, the row has {whole[begin:][:60]!r}"
        return replace(look, fault=Hit("other_beginning", row.name, told))
    try:
        ids = ids_of(row, tokenizer, student.special)
    except TrainingError as error:  # what is left of its refusals: an answer that no special token ends
        return replace(look, fault=Hit("no_stop_token", row.name, str(error).removeprefix(f"{row.name}: ")))
    look = replace(look, ids=ids)
    if ids.answer[-1] in ids.answer[:-1]:
        return replace(look, left_out="end_token_inside")
    return replace(look, left_out="too_long") if look.tokens > student.max_length else look


class Item(NamedTuple):
    """A row (one side) or a pair (two: chosen, rejected). `task`: its task's id, None where it names none."""

    name: str
    task: str | None
    sides: tuple[Look, ...]

    @property
    def trainable(self) -> bool:
        """Whether the trainer's encoding would take it."""
        if any(side.ids is None or side.left_out for side in self.sides):
            return False
        ids = [side.ids for side in self.sides if side.ids is not None]
        prompts, answers = ({tuple(part) for part in parts} for parts in zip(*ids, strict=True))
        return len(prompts) == 1 and len(answers) == len(ids)


def feed(items: Sequence[Item], collator: Collator) -> list[Item]:
    """Rows, or pairs, with what the collator makes of them, as one batch. All of them must be trainable."""
    ids = [[side.ids for side in item.sides if side.ids is not None] for item in items]
    if len(items[0].sides) == 1:
        rows = [{"input_ids": p + answer, "labels": [IGNORED] * len(p) + answer} for [(p, answer)] in ids]
        batch = {**collator(rows)}
    else:
        # A batch of pairs has all chosen sides first, and a mask in the place of labels.
        pairs = [
            {"prompt_ids": chosen.prompt, "chosen_ids": chosen.answer, "rejected_ids": rejected.answer}
            for chosen, rejected in ids
        ]
        batch = {**collator(pairs)}
        batch["labels"] = batch["input_ids"].masked_fill(batch["completion_mask"] == 0, IGNORED)
    columns = (batch[name].tolist() for name in ("input_ids", "labels", "attention_mask"))
    fed = [Fed(*row) for row in zip(*columns, strict=True)]
    return [
        item._replace(sides=tuple(replace(side, fed=fed[n * len(items) + i]) for n, side in enumerate(item.sides)))
        for i, item in enumerate(items)
    ]


LONGEST = 1_200
"""Characters of one stretch that are shown."""


def masked(look: Look, student: Student) -> MaskedRow | None:
    """The row with its mask; None for one that never reached the collator."""
    if look.fed is None:
        return None

    def treated(each: tuple[int, int, int]) -> tuple[Kind, bool]:
        """A label counts wherever it stands; padding is what attention does not see."""
        token, label, seen = each
        return "loss" if label != IGNORED else "prompt" if seen else "pad", token in student.special

    stretches = []
    for (kind, special), run in groupby(zip(*look.fed, strict=True), key=treated):
        ids = [token for token, _, _ in run]
        text = str(student.tokenizer.decode(ids))
        if kind == "pad" and len(set(ids)) == 1:  # of padding, which repeats, how many there are
            text = f"{student.tokenizer.decode(ids[:1])} × {len(ids):,}"
        elif len(text) > LONGEST:
            half = LONGEST // 2
            text = f"{text[:half]} […{len(text) - LONGEST:,} characters…] {text[-half:]}"
        stretches.append(Stretch(text, kind, special, len(ids)))
    return MaskedRow(look.name, tuple(stretches))
