"""One row as the lint looks at it: its texts and tokens, and how the trainer's collator hands it to the model.

    item = Item("row 1", None, (look_at(row, student),))     # rendered and encoded as the trainer does
    [item] = feed([item], collator)                          # with the labels and the mask of the batch
    masked(item.sides[0], student).facts                     # "row 1: 12 tokens not in the loss, 5 in it"

What cannot be rendered or encoded is kept in `fault`, not raised, so that the rows after it are looked at too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, NamedTuple

from stillroom.errors import TrainingError
from stillroom.students.data.encode import IGNORED, Ids, first_difference, ids_of
from stillroom.students.data.rows import SftRow
from stillroom.students.lint.report import Hit, Kind, MaskedRow, Stretch
from stillroom.students.lint.tokenizer_setup import Collator, Student, render


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
    """The row, rendered and encoded; its first fault where that cannot be done."""
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
    """Rows with what the collator makes of them, as one batch. All of them must be trainable."""
    ids = [side.ids for item in items for side in item.sides if side.ids is not None]
    rows = [{"input_ids": p + answer, "labels": [IGNORED] * len(p) + answer} for p, answer in ids]
    return _with(items, _fed(collator(rows)))


def feed_pairs(items: Sequence[Item], collator: Collator) -> list[Item]:
    """The same for pairs, whose batch has all chosen sides first, and a mask in the place of labels."""
    pairs = [[side.ids for side in item.sides if side.ids is not None] for item in items]
    rows = [
        {"prompt_ids": chosen.prompt, "chosen_ids": chosen.answer, "rejected_ids": rejected.answer}
        for chosen, rejected in pairs
    ]
    batch = collator(rows)
    labels = batch["input_ids"].masked_fill(batch["completion_mask"] == 0, IGNORED)
    fed = _fed({**batch, "labels": labels})
    half = len(items)
    return _with(items, [each for pair in zip(fed[:half], fed[half:], strict=True) for each in pair])


def _fed(batch: Mapping[str, Any]) -> list[Fed]:
    columns = (batch[name].tolist() for name in ("input_ids", "labels", "attention_mask"))
    return [Fed(*row) for row in zip(*columns, strict=True)]


def _with(items: Sequence[Item], fed: Sequence[Fed]) -> list[Item]:
    """Each side with its row of the batch; `fed`: item by item, side by side."""
    rows = iter(fed)
    return [item._replace(sides=tuple(replace(side, fed=next(rows)) for side in item.sides)) for item in items]


LONGEST = 1_200
"""Characters of one stretch that are shown."""


def masked(look: Look, student: Student) -> MaskedRow | None:
    """The row with its mask; None for one that never reached the collator."""
    if look.fed is None:
        return None
    stretches = []
    for (kind, special), run in groupby(
        zip(*look.fed, strict=True),
        key=lambda each: (_kind(each[1], each[2]), each[0] in student.special),
    ):
        ids = [token for token, _, _ in run]
        stretches.append(Stretch(_text(ids, kind, student), kind, special, len(ids)))
    return MaskedRow(look.name, tuple(stretches))


def _kind(label: int, seen: int) -> Kind:
    """A label counts wherever it stands; padding is what attention does not see."""
    return "loss" if label != IGNORED else "prompt" if seen else "pad"


def _text(ids: list[int], kind: Kind, student: Student) -> str:
    """What the tokens say; of padding, which repeats, how many there are."""
    if kind == "pad" and len(set(ids)) == 1:
        return f"{student.tokenizer.decode(ids[:1])} × {len(ids):,}"
    text = str(student.tokenizer.decode(ids))
    if len(text) <= LONGEST:
        return text
    half = LONGEST // 2
    return f"{text[:half]} […{len(text) - LONGEST:,} characters…] {text[-half:]}"
