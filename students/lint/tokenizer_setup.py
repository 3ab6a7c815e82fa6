"""The student as the lint needs it: its tokenizer as the trainer sets it up, its model's sizes, trl's collators.

    student = student_of(StudentSettings(model="embedded:smollm2-135m-instruct"))
    student.embeddings                    # rows of the embedding matrix, from the model's settings

No weights are loaded.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from stillroom.common.models.resolve import adapter_base, load_tokenizer, quiet_transformers, resolve_model
from stillroom.common.records import Messages
from stillroom.common.thinking import CLOSE, OPEN
from stillroom.students.data.encode import prepare_tokenizer, special_ids
from stillroom.students.methods.common import longest
from stillroom.students.methods.registry import StudentSettings

Collator = Callable[[Sequence[Mapping[str, Any]]], Mapping[str, Any]]
"""Makes a batch as trl's do: of rows with `input_ids` and `labels`, or `prompt_ids`, `chosen_ids`, `rejected_ids`."""


@dataclass(slots=True)
class Student:
    """`tokenizer`: as the rows are encoded with; `prepared`: as the trainer makes it then and saves it, so that
    inference renders with it. `special`: ids that no text but a template writes. `words`: finds such tokens in a text
    (None: there are none). `template`: those of them that the chat template writes. `embeddings`: rows of the
    embedding matrix, None where not known. `max_length`: tokens of a row. `end_id`: what ends a turn, None before the
    first row is read."""

    tokenizer: Any
    special: frozenset[int]
    words: re.Pattern[str] | None
    template: frozenset[str]
    embeddings: int | None
    max_length: int
    prepared: Any
    end_id: int | None = None

    def ends_with(self, end_id: int) -> None:
        """Prepares the tokenizer as the trainer does, once the first row has told how a turn ends."""
        self.end_id = end_id
        self.prepared = copy.deepcopy(self.tokenizer)
        prepare_tokenizer(self.prepared, end_id)

    def name(self, token_id: int) -> str:
        """A token as people read it."""
        return repr(self.tokenizer.decode([token_id]))


def student_of(settings: StudentSettings, tokenizer: Any = None, embeddings: int | None = None) -> Student:
    """The student of the settings. `tokenizer`: another than the model's (it is copied, not changed). `embeddings`:
    another number of rows than the model's settings tell. Raises MissingFile for a model that is nowhere."""
    config = model_config(settings.model)
    own = load_tokenizer(settings.model) if tokenizer is None else copy.deepcopy(tokenizer)
    special = special_ids(own)
    texts = {own.convert_ids_to_tokens(i) for i in special} - {OPEN, CLOSE}
    return Student(
        tokenizer=own,
        special=special,
        words=_any_of(texts),
        template=frozenset(text for text in texts if text in _probe(own)) | {own.eos_token or ""},
        embeddings=embeddings or width(config),
        max_length=longest(settings, SimpleNamespace(config=config)),
        prepared=own,
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


def render(messages: Messages, tokenizer: Any, *, generation_prompt: bool) -> str:
    """The text that the chat template makes of a conversation. Raises whatever the template raises."""
    turns = [message.as_dict() for message in messages]
    return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=generation_prompt))


def _any_of(texts: set[str]) -> re.Pattern[str] | None:
    words = sorted(filter(None, texts), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, words))) if words else None


def _probe(tokenizer: Any) -> str:
    """What the template writes around two words; nothing where it refuses, which each row will tell."""
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    if not tokenizer.chat_template:
        return ""
    try:
        return str(tokenizer.apply_chat_template(turns, tokenize=False))
    except Exception:  # noqa: BLE001 - templates raise whatever jinja and their authors like
        return ""


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
