"""Splits what a reasoning model wrote into its thinking and its answer.

Servers with a reasoning parser hand the two over apart; others, and local models, leave `<think>…</think>` in the
text. Only a thinking part at the very beginning is split off: a later `<think>` is text like any other.

>>> split_thinking("<think>2 and 2</think>4")
Split(reasoning='2 and 2', text='4')
"""

from __future__ import annotations

from typing import NamedTuple

OPEN, CLOSE = "<think>", "</think>"


class Split(NamedTuple):
    """`reasoning` is None where there was no thinking part; `text` is "" where it was never closed."""

    reasoning: str | None
    text: str


def split_thinking(text: str, *, opened: bool = False) -> Split:
    """Splits `text`. `opened`: the chat template had already written `<think>` into the prompt."""
    stripped = text.lstrip()
    if stripped.startswith(OPEN):
        stripped, opened = stripped[len(OPEN) :], True
    if not opened:
        return Split(None, text)
    # An unclosed thinking part was cut by the length limit: it is thinking, not an answer.
    reasoning, closed, answer = stripped.partition(CLOSE)
    return Split(reasoning.strip(), answer.lstrip() if closed else "")
