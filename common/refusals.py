"""Answers that decline to answer, told by whole phrases at their beginning.

"cannot" alone is an everyday word ("we cannot divide by zero"), so only whole phrases of refusal count, and only
where an answer opens with them. English only: a refusal in another language is not found.

>>> is_refusal("I'm sorry, but I can't help with that."), is_refusal("You cannot divide by zero.")
(True, False)
"""

from __future__ import annotations

import re
from collections.abc import Iterable

OPENING = 240
"""Characters at the beginning of the answer in which a refusal is looked for."""

_CANNOT = r"(?:can\s?not|can't|won't|will not|am unable to|am not able to|must decline to|have to decline to)"
_DECLINED = (
    r"(?:help|assist|comply|fulfil+|answer (?:that|this|your|the)|respond|provide (?:an?|the|that|this|any)"
    r"|do (?:that|this)|discuss|engage|continue with|support|participate)"
)
_REFUSAL = re.compile(
    rf"\bas an? (?:ai|artificial intelligence|(?:large )?language model)\b"
    rf"(?: (?:language )?(?:model|assistant))?,? (?:i|my)\b"
    rf"|\bi(?:'m| am) (?:just |only )?an? (?:ai|language model)\b"
    rf"|\bi {_CANNOT} {_DECLINED}\b"
    rf"|\b(?:sorry|apologi[sz]e)\b[^.\n]{{0,40}}\bi {_CANNOT}\b"
    rf"|\bi(?:'m| am) sorry,? (?:but )?(?:this|that) (?:request|question) (?:violates|goes against)\b"
    rf"|\bi(?:'d| would) (?:rather|prefer) not (?:to )?(?:answer|help|discuss|say)\b",
)


def is_refusal(answer: str, phrases: Iterable[str] = ()) -> bool:
    """Whether an answer opens with a refusal. `phrases`: further ones that it may begin with."""
    opening = " ".join(answer[:OPENING].replace("’", "'").casefold().split())
    return _REFUSAL.search(opening) is not None or any(opening.startswith(phrase.casefold()) for phrase in phrases)
