"""Pairs as the audit reads them, whether they were just built or come from a data set of somebody else's.

A row of a data set may hold its prompt apart, as ours do, or within `chosen` and `rejected`, as many published ones:
then each side brings its own, and the two may differ.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from stillroom.common.records import Messages
from stillroom.errors import InputError
from stillroom.preferences.candidates import same_text
from stillroom.preferences.records import Pair


@dataclass(frozen=True, slots=True)
class Item:
    """One pair. `prompt`: the user's turns. `prompts_agree`: both sides answer the same conversation. `margin`: by
    how much the chosen side is better, None where no scores are known. `failed`: a side has no judgement.
    `on_policy`: sides that the student wrote, 0 to 2. The last two are None if that is not known."""

    id: str
    prompt: str
    prompts_agree: bool
    chosen: str
    rejected: str
    margin: float | None
    failed: bool | None = None
    on_policy: int | None = None

    @property
    def asked(self) -> str:
        """The prompt as two of them are compared: white space and case apart."""
        return same_text(self.prompt).casefold()


def item_of(pair: Pair) -> Item:
    """A pair that was built."""
    chosen, rejected = pair.chosen.candidate, pair.rejected.candidate
    return Item(
        id=pair.id,
        prompt=asked_in(pair.prompt),
        prompts_agree=chosen.task_id == rejected.task_id == pair.task.id,
        chosen=chosen.text,
        rejected=rejected.text,
        margin=pair.margin,
        failed=pair.chosen.failed or pair.rejected.failed,
        on_policy=chosen.on_policy + rejected.on_policy,
    )


def asked_in(messages: Messages) -> str:
    """What a conversation asks: its user turns. A system prompt is the same for all and says nothing."""
    return "\n".join(message.content for message in messages if message.role == "user")


def item_of_row(number: int, row: Mapping[str, Any]) -> Item:
    """A row of a data set, the `number`th from 0. Raises InputError where it is not a pair."""
    name = f"row {number + 1}"
    prompt = _turns(name, "prompt", row.get("prompt", []))
    chosen, rejected = (_turns(name, side, row.get(side)) for side in ("chosen", "rejected"))
    own = [row[key] for key in ("chosen_on_policy", "rejected_on_policy") if row.get(key) is not None]
    sides = [str(row[key]) for key in ("chosen_id", "rejected_id") if row.get(key) is not None]
    return Item(
        id=" > ".join(sides) if len(sides) == 2 else name,
        prompt="\n".join(content for role, content in (*prompt, *chosen[:-1]) if role == "user"),
        prompts_agree=chosen[:-1] == rejected[:-1],
        chosen=chosen[-1][1] if chosen else "",
        rejected=rejected[-1][1] if rejected else "",
        margin=_margin(name, row),
        on_policy=sum(map(bool, own)) if len(own) == 2 else None,
    )


def _turns(name: str, field: str, value: Any) -> list[tuple[str, str]]:
    """Role and content of each turn; a bare text is one turn: of the user in a prompt, else of the assistant."""
    if isinstance(value, str):
        return [("user" if field == "prompt" else "assistant", value)]
    if not isinstance(value, Sequence) or not all(
        isinstance(turn, Mapping) and isinstance(turn.get("role"), str) and isinstance(turn.get("content"), str)
        for turn in value
    ):
        raise InputError(f"{name}: {field!r} must be a text or a list of messages with role and content")
    return [(turn["role"], turn["content"]) for turn in value]


def _margin(name: str, row: Mapping[str, Any]) -> float | None:
    for value in (row.get(key) for key in ("margin", "chosen_score", "rejected_score")):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise InputError(f"{name}: a score or margin is {value!r}, expected a number")
    if row.get("margin") is not None:
        return float(row["margin"])
    chosen, rejected = row.get("chosen_score"), row.get("rejected_score")
    return None if chosen is None or rejected is None else float(chosen) - float(rejected)
