"""What a server turned out not to take: learned from its refusal, and remembered as long as the process runs, by all
who ask the same model at the same address (the rounds of a loop, judges, the evaluation), and by nobody else.

Newer models of OpenAI want `max_completion_tokens` in the place of `max_tokens`; many servers know no `seed` or no
`stream_options`. Whoever refuses says so and names the parameter. Where the recipe did not name it, it is renamed or
left out, and the same request is sent again. Servers that answer in parts only are asked to stream. What the recipe
names is never left out, unless it is a temperature or top_p of 1, which changes nothing: the answers would be others
than those that were asked for.

>>> learned = Learned("max_tokens")
>>> said = {"message": "'max_tokens' is not supported. Use 'max_completion_tokens' instead.", "param": "max_tokens"}
>>> learned.parameter(400, said, {"max_tokens": 5}), learned.take("max_tokens", 5, said), learned.limit
('max_tokens', True, 'max_completion_tokens')
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

_REFUSES = re.compile(
    r"unsupported|not support|unrecogni[sz]ed|unknown|unexpected|not permitted|not allowed|extra inputs|deprecated"
    r"|no longer|cannot both|not available|not compatible|only the default",
    re.IGNORECASE,
)
# "This model only support stream mode, please enable the stream parameter", "Stream must be set to true",
# "parameter.enable_thinking must be set to false for non-streaming calls".
_WANTS_STREAM = re.compile(
    r"\b(?:only|must|requires?|enable|set)\b[^.]{0,60}\bstream(?!_)|\bstream(?:ing)?\b[^.]{0,40}\b(?:must|required|only)\b"
    r"|\bnon-?_? ?stream",
    re.IGNORECASE,
)
# Sent though no recipe names them: an answer without them is the same kind of answer.
_MAY_GO = frozenset({"seed", "stream_options"})
_NEUTRAL = frozenset({"temperature", "top_p"})
_LIMITS = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
_LOOKED_AT = 4096


_KNOWN: dict[tuple[str, str, str], Learned] = {}


def learned_of(address: str, model: str, limit: str) -> Learned:
    """What is known of a model at an address. `limit`: what the recipe calls the limit of tokens."""
    return _KNOWN.setdefault((address, model, limit), Learned(limit))


def forget() -> None:
    """Forgets all that was learned: between tests, say."""
    _KNOWN.clear()


class Learned:
    """What one server takes. `limit`: its name for the limit of tokens; `left_out`: what is not sent, unless the
    recipe names it; `streams`: whether it answers in parts only."""

    def __init__(self, limit: str) -> None:
        self.limit = limit
        self.left_out: set[str] = set()
        self.streams = False
        self._first = limit

    def take_stream(self, status: int, error: Mapping[str, Any], sent: Mapping[str, Any]) -> bool:
        """Learns that the answer has to stream, where a refusal of a request says so that did not ask for it."""
        said = str(error.get("message") or error.get("detail") or "")[:_LOOKED_AT]
        if status not in (400, 422) or sent.get("stream") or not _WANTS_STREAM.search(said):
            return False
        self.streams = True
        return True

    def parameter(self, status: int, error: Mapping[str, Any], sent: Mapping[str, Any]) -> str | None:
        """The parameter among those that were sent that a refusal is about; None where it is about something else."""
        said = str(error.get("message") or error.get("detail") or "")[:_LOOKED_AT]
        code = str(error.get("code") or "")
        if status not in (400, 422) or not (_REFUSES.search(said) or code.startswith("unsupported_")):
            return None
        named = error.get("param")
        if isinstance(named, str) and named in sent:
            return named
        found = [(at.start(), name) for name in sent if (at := re.search(rf"\b{re.escape(name)}\b", said))]
        return min(found)[1] if found else None

    def take(self, name: str, value: Any, error: Mapping[str, Any]) -> bool:
        """Learns that `name`, sent as `value`, is not taken; whether asking again makes sense."""
        other = _LIMITS.get(name)
        if other is not None:
            if name == self.limit == self._first and other in str(error.get("message") or "")[:_LOOKED_AT]:
                self.limit = other
                return True
            return name != self.limit  # another request has learned it meanwhile
        if _may_go(name, value):
            self.left_out.add(name)
            return True
        return False

    def without(self, body: Mapping[str, Any]) -> dict[str, Any]:
        """What is sent of a body: a temperature of 0.5 is, where one of 1 was refused."""
        return {name: v for name, v in body.items() if name not in self.left_out or not _may_go(name, v)}


def _may_go(name: str, value: Any) -> bool:
    return name in _MAY_GO or (name in _NEUTRAL and value == 1)
