"""What comes from outside, a server's JSON above all: read within bounds, whatever it holds.

JSON that is nested without end, a number of a million digits, half a surrogate pair, NaN, a byte that is not UTF-8:
none of it may end a run, and a small fault should not cost an answer that was paid for. What cannot be read is
NotJson, whatever the reason; text that is not Unicode becomes U+FFFD, and what is not a number None.

>>> read_json(b'{"n": 3, "p": NaN}'), tokens_in(10**300), logprob_in(0.0)
({'n': 3, 'p': None}, None, 0.0)
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any

from pydantic_core import from_json

from stillroom.common.files import storable

# Nobody's format nests deeper, and what is within can be walked, shown and written again. It is pydantic's own limit.
DEEPEST = 200
# No answer and no context has as many tokens: a count beyond it is a mistake or a lie, and would break sums.
MOST_TOKENS = 100_000_000
# Of a whole number; Python itself refuses to read more than 4,300.
_DIGITS = 400
# What servers report in the place of minus infinity.
LEAST_LOGPROB = -9999.0


class NotJson(ValueError):
    """It is not JSON, or not within bounds."""


def read_json(data: bytes | str, *, part: bool = False) -> Any:
    """The value in `data`; NaN, infinities and numbers of more than 400 digits are None. `part`: its texts go on
    elsewhere, where the other half of a surrogate pair may come. Raises NotJson."""
    try:
        return from_json(data, allow_inf_nan=False)
    except ValueError:
        pass  # read it patiently
    text = data.decode("utf-8", "replace") if isinstance(data, bytes) else data
    try:
        value = json.loads(
            text.removeprefix("\ufeff"),
            strict=False,
            parse_constant=lambda _: None,  # NaN and the infinities
            parse_int=lambda digits: int(digits) if len(digits) <= _DIGITS else None,
        )
    except RecursionError:
        raise NotJson("it is nested too deeply") from None
    except ValueError as error:
        raise NotJson(str(error)) from None
    return _tidy(value, DEEPEST, (lambda text: text) if part else storable)


def tokens_in(value: Any) -> int | None:
    """A count of tokens; None for whatever cannot be one."""
    whole = int(value) if isinstance(value, float) and value.is_integer() else value
    return whole if type(whole) is int and 0 <= whole <= MOST_TOKENS else None


def logprob_in(value: Any) -> float | None:
    """A log-probability, from -9999 to 0; None for whatever cannot be one. Rounding may take it a little above 0."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not value < 0.1:
        return None
    return float(min(max(value, LEAST_LOGPROB), 0.0))


def _tidy(value: Any, room: int, text: Callable[[str], str]) -> Any:
    """The value with its texts as `text` gives them. `room`: levels that are left."""
    if isinstance(value, str):
        return text(value)
    if isinstance(value, float) and not math.isfinite(value):  # 1e999
        return None
    if not isinstance(value, list | dict):
        return value
    if not room:
        raise NotJson(f"it is nested more than {DEEPEST} levels deep")
    if isinstance(value, list):
        return [_tidy(item, room - 1, text) for item in value]
    return {text(key): _tidy(item, room - 1, text) for key, item in value.items()}
