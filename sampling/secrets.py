"""What must not leave this process: keys, and every value that a recipe took from the environment.

Whoever reads such a value gives it here, once, with the name of its variable; whatever goes out (a record, a message,
a page, an answer that is kept) passes here on its way. A key becomes `***`, a value of the environment the name that
the recipe has for it, and a piece of a credential that is eight characters long is a piece too many. Found are also
the forms that servers and libraries make of a value: percent-encoded, base64, hex, escaped as in JSON, other case.

It guesses at no secret that it was not given, and cannot find one that somebody spells out letter by letter.

    keep_key("sk-proj-a1B2c3D4e5F6", "OPENAI_API_KEY")
    named("server says: bad key sk-proj-a1B2")          # 'server says: bad key ***'
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from html import escape
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

# Pieces of a credential from this length on are found.
PIECE = 8
# A shorter value stands in ordinary text too often to be taken out of it; in a record it is still named.
_WHOLE = 6
# A text that holds a piece of PIECE characters holds one of every second gram of this length (8 - 4 + 1 = 5 starts).
_PROBE, _STEP = 4, 5


@dataclass(frozen=True, slots=True)
class _Known:
    """A value. `shown`: what stands in its place. `forms`: how it may be written, the longest first. `pieces`: every
    stretch of PIECE characters of these, empty for what is no credential; `probes`: one of them is in any text that
    holds a piece."""

    value: str
    shown: str
    forms: tuple[str, ...]
    pieces: frozenset[str]
    probes: tuple[str, ...]


_known: dict[tuple[str, str], _Known] = {}
_values: dict[str, str] = {}  # of the environment, by name, as they were last read


def keep_key(value: str, variable: str) -> None:
    """Keeps a key or password; also one within an address, with the name of what holds it."""
    if value:
        _add(_Known(value, "***", *_traces([value] if len(value) >= PIECE else [], "")), variable)


def keep_value(value: str, variable: str, recipe: str = "") -> None:
    """Keeps what `${variable}` in a recipe was replaced by. What looks like a credential is also found in pieces,
    but for those that stand in the recipe's own text."""
    if not value:
        return
    _values[variable] = value
    _add(_Known(value, f"${{{variable}}}", *_traces(_credentials(value), recipe)), variable)


def keep_address(url: str, variable: str) -> None:
    """Keeps the user, the password and the query of an address."""
    for part in _parts_of(url):
        keep_key(part, variable)


def forget() -> None:
    """Forgets everything that was kept."""
    _known.clear()
    _values.clear()


def blot(text: str) -> str:
    """`text` without keys and credentials, whole or in pieces: for what is kept as somebody wrote it."""
    return _blotted(text, [known for known in _longest_first(text) if known.forms])


def named(text: str) -> str:
    """`text` without anything that was kept: for records and messages."""
    found = _longest_first(text)
    for known in found:
        if len(known.value) >= _WHOLE:
            text = text.replace(known.value, known.shown)
    return _blotted(text, found)


def named_in(value: Any) -> Any:
    """Plain data (of JSON, YAML) without anything that was kept, keys of objects included. A text or a number that is
    a value of the environment as a whole is named however short it is."""
    if isinstance(value, dict):
        return {named(k) if isinstance(k, str) else k: named_in(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [named_in(item) for item in value]
    if isinstance(value, str):
        return _whole(value, 1) or named(value)
    return _whole(str(value), _WHOLE) or value if type(value) in (int, float) else value


def revealed(text: str) -> str:
    """`text` with `${NAME}` replaced by the value: for what is hashed, so that another value is another hash."""
    for name, value in _values.items():
        text = text.replace(f"${{{name}}}", value)
    return text


def _add(known: _Known, variable: str) -> None:
    _known[variable, known.value] = known


def _longest_first(text: str) -> list[_Known]:
    if len(text) < _WHOLE:
        return []
    return sorted(_known.values(), key=lambda known: -len(known.value))


def _whole(text: str, least: int) -> str | None:
    for known in _known.values():
        if known.value == text and len(text) >= least:
            return known.shown
    return None


def _blotted(text: str, found: list[_Known]) -> str:
    """Whole values first: two may have a piece in common."""
    for known in found:
        for form in known.forms:
            text = text.replace(form, known.shown if form == known.value else "***")
    for known in found:
        if any(probe in text for probe in known.probes):
            text = _without_pieces(text, known.pieces)
    return text


def _without_pieces(text: str, pieces: frozenset[str]) -> str:
    kept: list[str] = []
    end = hidden = 0  # what is before `end` is in `kept`; up to `hidden` it is a piece
    for start in range(len(text) - PIECE + 1):
        if text[start : start + PIECE] in pieces:
            if start > hidden or not hidden:
                kept += [text[end:start], "***"]
            end = hidden = start + PIECE
    return "".join(kept) + text[end:]


def _traces(words: Iterable[str], public: str) -> tuple[tuple[str, ...], frozenset[str], tuple[str, ...]]:
    """Forms, pieces and probes of credentials. `public`: a text whose pieces are no secret."""
    words = list(words)
    forms = {form for word in words for form in _forms(word)}
    pieces = {form[i : i + PIECE] for form in forms for i in range(len(form) - PIECE + 1)}
    # Eight digits stand in many a number, and hexadecimal is digits mostly: those are found as a whole.
    pieces = {piece for piece in pieces if piece not in public and not piece.isdigit()}
    probes = {form[i : i + _PROBE] for form in forms for i in range(0, len(form) - _PROBE + 1, _STEP)}
    forms |= {word.encode("utf-8", "replace").hex() for word in words}
    longest_first = tuple(sorted(forms, key=lambda form: (-len(form), form)))
    return longest_first, frozenset(pieces), tuple(sorted(probes))


def _forms(word: str) -> Iterator[str]:
    yield from (word, quote(word, safe="", errors="replace"), quote(word, errors="replace"), escape(word))
    yield from (json.dumps(word)[1:-1], word.replace("/", "\\/"))
    yield from (word.lower(), word.upper())
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        yield from _base64(word.encode("utf-8", "replace"), encode)


def _base64(word: bytes, encode: Any) -> Iterator[str]:
    """What is the same wherever the word stands within something longer: it may begin at any of three offsets."""
    for before, cut in ((0, 0), (1, 2), (2, 3)):
        whole = (before + len(word)) // 3 * 4
        form = encode(b"\0" * before + word).decode("ascii")[cut:whole]
        if len(form) >= PIECE:
            yield form


def _credentials(value: str) -> Iterator[str]:
    """The words of a value that look like keys: not prose, not a place on this machine, not a plain address."""
    for word in value.split():
        if "://" in word:
            yield from _parts_of(word)
        elif not (word.startswith(("/", "~", "./", "../")) or os.path.exists(word)) and looks_random(word):
            yield word


def looks_random(word: str) -> bool:
    """Whether a word may be a key: no word of a language, and not short."""
    letters, digits = any(c.isalpha() for c in word), any(c.isdigit() for c in word)
    return len(word) >= (PIECE if letters and digits else 12)


def _parts_of(url: str) -> Iterator[str]:
    try:
        parts = urlsplit(url)
        found = [parts.username, parts.password, *(value for _, value in parse_qsl(parts.query))]
    except ValueError:  # no address: its reader says so
        return
    found += [segment for segment in parts.path.split("/") if looks_random(segment)]
    for part in filter(None, found):
        yield from {part, unquote(part)}
