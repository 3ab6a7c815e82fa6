"""Pairs as the student will read them: one prompt and two answers in tokens, each with the token that ends the turn.

Rendered and tokenised as SFT rows are (see `encoding`). Leaves out, and names: pairs whose longer side has more
tokens than allowed (trl would cut them, on one side only), answers that hold the end token themselves, and pairs
whose answers are the same tokens, which teach nothing.

    encoded = encode_pairs(rows, tokenizer, max_length=2048)
    encoded.rows[0].chosen_ids        # the end token last
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

from stillroom.common.hashing import digest
from stillroom.errors import TrainingError
from stillroom.students.data.encode import IGNORED, Encoded, EncodedRow, ids_of, nothing_left, special_ids
from stillroom.students.data.rows import PairRow, SftRow
from stillroom.students.records import LeftOut


class EncodedPair(NamedTuple):
    """One pair in tokens. Both answers follow the same prompt and end with the token that ends the turn."""

    name: str
    prompt_ids: list[int]
    chosen_ids: list[int]
    rejected_ids: list[int]

    @property
    def longest(self) -> int:
        """Tokens of the prompt and the longer answer."""
        return len(self.prompt_ids) + max(len(self.chosen_ids), len(self.rejected_ids))

    def side(self, which: Literal["chosen", "rejected"]) -> EncodedRow:
        """The prompt with one of the answers, as a row of SFT has it."""
        answer = self.chosen_ids if which == "chosen" else self.rejected_ids
        labels = [IGNORED] * len(self.prompt_ids) + answer
        return EncodedRow(f"{self.name}, {which}", self.prompt_ids + answer, labels)


class EncodedPairs(NamedTuple):
    """`end_id`: the token that ends a turn."""

    rows: list[EncodedPair]
    left_out: tuple[LeftOut, ...]
    end_id: int

    def digest(self) -> str:
        """Of everything that is trained on, in order: the same pairs and template give the same."""
        return digest([[row.prompt_ids, row.chosen_ids, row.rejected_ids] for row in self.rows])

    def chosen(self) -> Encoded:
        """The chosen answers as rows of SFT."""
        return Encoded([row.side("chosen") for row in self.rows], self.left_out, self.end_id)


def encode_pairs(rows: Iterable[PairRow], tokenizer: Any, max_length: int) -> EncodedPairs:
    """All pairs in tokens. Raises TrainingError naming the row, or if none can be trained on."""
    kept: list[EncodedPair] = []
    left_out: list[LeftOut] = []
    special, end_id = special_ids(tokenizer), -1
    for row in rows:
        pair = encode_pair(row, tokenizer, special)
        end_id = pair.chosen_ids[-1]
        reason = _reason(pair, end_id, max_length)
        if reason is None:
            kept.append(pair)
        else:
            left_out.append(LeftOut(row.name, reason, pair.longest))
    if not kept:
        raise nothing_left(left_out, max_length)
    return EncodedPairs(kept, tuple(left_out), end_id)


def encode_pair(row: PairRow, tokenizer: Any, special: frozenset[int]) -> EncodedPair:
    """One pair in tokens. Raises TrainingError where the template gives one side another prompt or another end."""
    chosen = ids_of(SftRow(f"{row.name}, chosen", row.prompt, row.chosen), tokenizer, special)
    rejected = ids_of(SftRow(f"{row.name}, rejected", row.prompt, row.rejected), tokenizer, special)
    if chosen.prompt != rejected.prompt or chosen.answer[-1] != rejected.answer[-1]:
        raise TrainingError(
            f"{row.name}: the chat template renders the prompt, or the end of the turn, differently for the chosen "
            "and the rejected answer: their likelihoods could not be compared. Use a chat template that does not "
            "look ahead"
        )
    return EncodedPair(row.name, chosen.prompt, chosen.answer, rejected.answer)


def _reason(
    pair: EncodedPair, end_id: int, max_length: int
) -> Literal["too_long", "end_token_inside", "same_answers"] | None:
    """Why the pair cannot be trained on, or None."""
    if end_id in pair.chosen_ids[:-1] or end_id in pair.rejected_ids[:-1]:
        return "end_token_inside"
    if pair.chosen_ids == pair.rejected_ids:
        return "same_answers"
    return "too_long" if pair.longest > max_length else None
