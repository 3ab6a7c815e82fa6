"""What a server turned out not to take: learned from its refusal, and remembered as long as the process runs.

Newer models of OpenAI want `max_completion_tokens` in the place of `max_tokens`; many servers know no `seed` or no
`stream_options`. Whoever refuses says so and names the parameter. Where the recipe did not name it, it is renamed or
left out, and the same request is sent again. What the recipe names is never left out, unless it is a temperature or
top_p of 1, which changes nothing: the answers would be others than those that were asked for.

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
# Sent though no recipe names them: an answer without them is the same kind of answer.
_MAY_GO = frozenset({"seed", "stream_options"})
_NEUTRAL = frozenset({"temperature", "top_p"})
_LIMITS = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}
_LOOKED_AT = 4096


class Learned:
    """What one server takes. `limit`: its name for the limit of tokens; `left_out`: what is not sent."""

    def __init__(self, limit: str) -> None:
        self.limit = limit
        self.left_out: set[str] = set()
        self._first = limit

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
        if name in _MAY_GO or (name in _NEUTRAL and value == 1):
            self.left_out.add(name)
            return True
        return False
