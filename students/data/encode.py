"""Rows and pairs as token ids, with labels on what the student must say itself.

The prompt is rendered with the student's chat template and tokenised alone, exactly as at inference, generation
prompt included; then comes the answer with the token that ends the turn, which is trained. What a template writes
after that token (mostly a line break) is cut: the student never gets to write it.

Refuses a template that writes the turn differently from its own generation prompt, or ends it with no special token.
Leaves out and counts rows that are too long (trl would cut them) or hold the end token in their text, and pairs whose
answers are the same tokens.

    encoded = encode_rows(rows, tokenizer, max_length=2048)
    encoded.rows[0].labels        # -100 on the prompt, then the ids of the answer, the end token last
    encode_pairs(pairs, tokenizer, max_length=2048).rows[0].chosen_ids
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, Literal, NamedTuple

from stillroom.common.hashing import digest
from stillroom.common.records import Messages
from stillroom.errors import TrainingError
from stillroom.students.data.rows import PairRow, SftRow
from stillroom.students.records import LeftOut

IGNORED = -100
"""The label of a token that is not trained, as torch's cross entropy and every collator take it."""

# Tried in this order for a tokenizer without a padding token.
PADS = ("<|endoftext|>", "<pad>", "<|pad|>", "[PAD]", "<|finetune_right_pad_id|>", "<|vision_pad|>", "<unk>")


class EncodedRow(NamedTuple):
    """One row in tokens; both lists have the same length. The first label that counts is the answer's first token."""

    name: str
    input_ids: list[int]
    labels: list[int]


class Encoded(NamedTuple):
    """`end_id`: the token that ends a turn."""

    rows: list[EncodedRow]
    left_out: tuple[LeftOut, ...]
    end_id: int

    def digest(self) -> str:
        """Of everything that is trained on, in order: the same rows and template give the same."""
        return digest([[row.input_ids, row.labels] for row in self.rows])


def encode_rows(rows: Iterable[SftRow], tokenizer: Any, max_length: int) -> Encoded:
    """All rows in tokens. Raises TrainingError naming the row, or if none can be trained on."""
    kept: list[EncodedRow] = []
    left_out: list[LeftOut] = []
    special, end_id = special_ids(tokenizer), -1
    for row in rows:
        prompt_ids, answer_ids = ids_of(row, tokenizer, special)
        end_id, tokens = answer_ids[-1], len(prompt_ids) + len(answer_ids)
        if end_id in answer_ids[:-1]:
            left_out.append(LeftOut(row.name, "end_token_inside", tokens))
        elif tokens > max_length:
            left_out.append(LeftOut(row.name, "too_long", tokens))
        else:
            labels = [IGNORED] * len(prompt_ids) + answer_ids
            kept.append(EncodedRow(row.name, prompt_ids + answer_ids, labels))
    if not kept:
        raise nothing_left(left_out, max_length)
    return Encoded(kept, tuple(left_out), end_id)


def prepare_tokenizer(tokenizer: Any, end_id: int) -> None:
    """Makes the turn's end the tokenizer's EOS, and padding another token.

    Where padding and EOS are one, many a trainer masks the EOS out of the loss together with the padding, and the
    student never learns to stop. A vocabulary that has nothing else to pad with keeps it: our labels are set by
    position, so nothing of ours depends on it.
    """
    tokenizer.eos_token = tokenizer.convert_ids_to_tokens(end_id)
    if tokenizer.pad_token_id not in (None, end_id):
        return
    vocabulary = tokenizer.get_vocab()
    tokenizer.pad_token = next(
        (pad for pad in PADS if vocabulary.get(pad, end_id) != end_id), tokenizer.unk_token or tokenizer.eos_token
    )


class Ids(NamedTuple):
    """Prompt and answer in tokens, each tokenised alone; the answer ends with the token that ends the turn."""

    prompt: list[int]
    answer: list[int]


def ids_of(row: SftRow, tokenizer: Any, special: frozenset[int]) -> Ids:
    """A row in tokens. `special`: see `special_ids`. Raises TrainingError for a template that does not fit."""
    if not tokenizer.chat_template:
        raise TrainingError(
            f"the tokenizer of {tokenizer.name_or_path!r} has no chat template: choose an instruct model as student"
        )
    prompt = render(row.prompt, tokenizer, generation_prompt=True)
    whole = render(row.prompt + row.completion, tokenizer, generation_prompt=False)
    if not whole.startswith(prompt):
        at = first_difference(prompt, whole)
        raise TrainingError(
            f"{row.name}: the chat template begins the answer with {whole[at : at + 60]!r}, but prompts for it with "
            f"{prompt[at : at + 60]!r}: the student would be trained on other text than it sees later. Use a chat "
            "template that renders both alike"
        )
    prompt_ids, answer_ids = tokenizer([prompt, whole[len(prompt) :]], add_special_tokens=False)["input_ids"]
    # The answer up to and with the token that ends the turn; only white space may be cut behind it.
    last = next((i for i in reversed(range(len(answer_ids))) if answer_ids[i] in special), None)
    if last is None or tokenizer.decode(answer_ids[last + 1 :]).strip():
        raise TrainingError(
            f"{row.name}: the chat template ends an answer with {tokenizer.decode(answer_ids[-3:])!r} and no special "
            "token: the student would never learn to stop. Use a chat template that writes an end token"
        )
    return Ids(list(prompt_ids), list(answer_ids[: last + 1]))


def render(messages: Messages, tokenizer: Any, *, generation_prompt: bool) -> str:
    """The text that the chat template makes of a conversation. Raises whatever the template raises."""
    turns = [message.as_dict() for message in messages]
    return str(tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=generation_prompt))


def special_ids(tokenizer: Any) -> frozenset[int]:
    """Ids that no text but a template writes."""
    added = tokenizer.added_tokens_decoder
    return frozenset(tokenizer.all_special_ids) | {i for i, token in added.items() if token.special}


def first_difference(left: Sequence[object], right: Sequence[object]) -> int:
    """Length of the longest common prefix."""
    pairs = enumerate(zip(left, right, strict=False))
    return next((i for i, (a, b) in pairs if a != b), min(len(left), len(right)))


def nothing_left(left_out: list[LeftOut], max_length: int) -> TrainingError:
    """What to raise where every row was left out."""
    shortest = min((row.tokens for row in left_out), default=0)
    return TrainingError(
        f"no row is left to train on: all {len(left_out)} were left out, the shortest of {shortest} tokens where "
        f"max_length is {max_length}: raise `student.max_length`, or lower the filter's max_tokens"
    )


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
    """All pairs in tokens. Raises TrainingError naming the row, also where the template gives one side another prompt
    or another end, or if none can be trained on."""
    kept: list[EncodedPair] = []
    left_out: list[LeftOut] = []
    special, end_id = special_ids(tokenizer), -1
    for row in rows:
        chosen = ids_of(row.side("chosen"), tokenizer, special)
        rejected = ids_of(row.side("rejected"), tokenizer, special)
        end_id = chosen.answer[-1]
        if chosen.prompt != rejected.prompt or end_id != rejected.answer[-1]:
            raise TrainingError(
                f"{row.name}: the chat template renders the prompt, or the end of the turn, differently for the "
                "chosen and the rejected answer: their likelihoods could not be compared. Use a chat template that "
                "does not look ahead"
            )
        pair = EncodedPair(row.name, chosen.prompt, chosen.answer, rejected.answer)
        if end_id in chosen.answer[:-1] or end_id in rejected.answer[:-1]:
            left_out.append(LeftOut(row.name, "end_token_inside", pair.longest))
        elif chosen.answer == rejected.answer:
            left_out.append(LeftOut(row.name, "same_answers", pair.longest))
        elif pair.longest > max_length:
            left_out.append(LeftOut(row.name, "too_long", pair.longest))
        else:
            kept.append(pair)
    if not kept:
        raise nothing_left(left_out, max_length)
    return EncodedPairs(kept, tuple(left_out), end_id)
