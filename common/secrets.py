"""What must not leave this process: keys, and every value that a recipe took from the environment.

Whoever reads such a value gives it here, once, with the name of its variable; whatever goes out (a record, a message,
a page, an answer that is kept) passes here on its way. A key becomes `***`, a value of the environment the name that
the recipe has for it, and a piece of a credential that is eight characters long is a piece too many. Found are also
the forms that servers and libraries make of a value: percent-encoded, base64, hex, escaped as in JSON, other case.

It cannot find a secret that somebody spells out letter by letter, and guesses at none that it was not given. Whether
a recipe seems to hold one is another question, which `secrets_in` answers by the names of variables and settings.

    keep_key("sk-proj-a1B2c3D4e5F6")
    named("server says: bad key sk-proj-a1B2")          # 'server says: bad key ***'

>>> [names_a_secret(name) for name in ("OPENAI_API_KEY", "x-auth", "max_tokens", "bos_token", "author")]
[True, True, False, False, False]
"""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from stillroom.errors import StillroomError

# Pieces of a credential from this length on are found.
PIECE = 8
# A shorter value stands in ordinary text too often to be taken out of it; in a record it is still named.
_WHOLE = 6
# A text that holds a piece of PIECE characters holds one of every second gram of this length (8 - 4 + 1 = 5 starts).
_PROBE, _STEP = 4, 5


@dataclass(frozen=True, slots=True)
class _Known:
    """A value. `shown`: what stands in its place. `forms`: how it may be written, the longest first; none of what is
    no credential."""

    value: str
    shown: str
    forms: tuple[str, ...]


_known: list[_Known] = []  # the longest value first
_pieces: set[str] = set()  # every stretch of PIECE characters of all forms
_probes: set[str] = set()  # one of them is in any text that holds a piece
_values: dict[str, str] = {}  # of the environment, by name, as they were last read


def keep_key(value: str) -> None:
    """Keeps a key or password."""
    if value:
        _add(value, "***", [value] if len(value) >= PIECE else [])


def keep_value(value: str, variable: str, recipe: str = "") -> None:
    """Keeps what `${variable}` in a recipe was replaced by. What looks like a credential is also found in pieces,
    but for those that stand in the recipe's own text."""
    if not value:
        return
    _values[variable] = value
    credentials: list[
        str
    ] = []  # words that look like keys: not prose, not a place on this machine, not a plain address
    for word in value.split():
        if "://" in word:
            credentials += _parts_of(word)
        elif not (word.startswith(("/", "~", "./", "../")) or os.path.exists(word)) and looks_random(word):
            credentials.append(word)
    _add(value, f"${{{variable}}}", credentials, public=recipe)


def keep_address(url: str) -> None:
    """Keeps the user, the password and the query of an address."""
    for part in _parts_of(url):
        keep_key(part)


def forget() -> None:
    """Forgets everything that was kept."""
    for kept in (_known, _pieces, _probes, _values):
        kept.clear()


def blot(text: str) -> str:
    """`text` without keys and credentials, whole or in pieces: for what is kept as somebody wrote it."""
    # Whole values first: two may have a piece in common.
    for known in _known:
        for form in known.forms:
            text = text.replace(form, known.shown if form == known.value else "***")
    if not any(probe in text for probe in _probes):
        return text
    kept: list[str] = []
    end = hidden = 0  # what is before `end` is in `kept`; up to `hidden` it is a piece
    for start in range(len(text) - PIECE + 1):
        if text[start : start + PIECE] in _pieces:
            if start > hidden or not hidden:
                kept += [text[end:start], "***"]
            end = hidden = start + PIECE
    return "".join(kept) + text[end:]


def named(text: str) -> str:
    """`text` without anything that was kept: for records and messages."""
    for known in _known:
        if len(known.value) >= _WHOLE:
            text = text.replace(known.value, known.shown)
    return blot(text)


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


StillroomError.told = named


def _add(value: str, shown: str, words: list[str], public: str = "") -> None:
    """Keeps a value, of which `words` are credentials. `public`: a text whose pieces are not secret."""
    forms = {form for word in words for form in _forms(word)}
    pieces = {form[i : i + PIECE] for form in forms for i in range(len(form) - PIECE + 1)}
    # Eight digits stand in many a number, and hexadecimal is digits mostly: those are found as a whole.
    _pieces.update(piece for piece in pieces if piece not in public and not piece.isdigit())
    _probes.update(form[i : i + _PROBE] for form in forms for i in range(0, len(form) - _PROBE + 1, _STEP))
    forms |= {word.encode("utf-8", "replace").hex() for word in words}
    known = _Known(value, shown, tuple(sorted(forms, key=lambda form: (-len(form), form))))
    if known not in _known:
        _known.append(known)
        _known.sort(key=lambda known: -len(known.value))


def _whole(text: str, least: int) -> str | None:
    for known in _known:
        if known.value == text and len(text) >= least:
            return known.shown
    return None


def _forms(word: str) -> Iterator[str]:
    yield from (word, quote(word, safe="", errors="replace"), quote(word, errors="replace"), escape(word))
    yield from (json.dumps(word)[1:-1], word.replace("/", "\\/"))
    yield from (word.lower(), word.upper())
    # Of base64, what is the same wherever the word stands within something longer: it may begin at any of 3 offsets.
    data = word.encode("utf-8", "replace")
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        for before, cut in ((0, 0), (1, 2), (2, 3)):
            form = encode(b"\0" * before + data).decode("ascii")[cut : (before + len(data)) // 3 * 4]
            if len(form) >= PIECE:
                yield form


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


# -- what names and forms say -------------------------------------------------------------------------------------

_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_STRONG_WORDS = """
    apikey apikeys token secret secrets password passwords passwd passphrase passcode pwd auth authorization
    authentication bearer credential credentials creds cookie cookies jwt
"""
_STRONG = frozenset(_STRONG_WORDS.split())
_WEAK = {"key", "keys", "pass", "pin", "session", "signature"}
_END = re.compile(r"(?:password|passwd|secrets?|(?:api|access|private|my|our)[_-]?keys?|token)$")
_PAIRS = {"apikey", "apikeys", "accesskey", "privatekey", "secretkey"}
# Tokens of a text, and the name of a cache: settings of servers.
_OF_A_TEXT = {"bos", "eos", "pad", "unk", "sep", "cls", "mask", "stop", "start", "end", "special", "think", "image"}
_HARMLESS = {"prompt_cache_key"}
# What well-known services give out, wherever it stands.
_KEY = re.compile(
    r"\b(?:sk-(?=[\w-]*\d)[\w-]{16,}|hf_(?=\w*\d)\w{16,}|gh[pousr]_(?=\w*\d)\w{16,}|xox[abps]-[\w-]{10,}"
    r"|AKIA[A-Z0-9]{12,}|AIza[\w-]{30,}|eyJ[\w-]{8,}\.eyJ[\w-]{8,}|(?:Bearer|Basic) (?=\S*\d)[\w.~+/=-]{12,})"
)


def names_a_secret(name: str) -> bool:
    """Whether a value under this name is likely a secret."""
    return _is_strong(name) or not _WEAK.isdisjoint(_words(name))


def secrets_in(value: Any, place: str = "", *, strong: bool = False, weak: bool = False) -> Iterator[str]:
    """Where secrets seem to stand in plain data, by dotted place: under a name that says so, or in the form of a
    well-known service's keys. A name such as `key` says too little by itself: what stands there has to look like one,
    as has what stands deeper down (a JSON schema may well describe a password). `strong`, `weak`: what the names
    above the value say."""
    if isinstance(value, dict):
        for name, inner in value.items():
            here, said = f"{place}.{name}" if place else str(name), str(name)
            deeper = weak or strong or names_a_secret(said)
            yield from secrets_in(inner, here, strong=_is_strong(said), weak=deeper)
    elif isinstance(value, list | tuple):
        for number, inner in enumerate(value, 1):
            yield from secrets_in(inner, f"{place}.{number}" if place else str(number), strong=strong, weak=weak)
    elif isinstance(value, str) and (
        (strong and value) or (weak and any(map(looks_random, value.split()))) or is_key(value)
    ):
        yield place


def is_key(text: str) -> bool:
    """Whether a text holds what well-known services give out as keys."""
    return _KEY.search(text) is not None


def _is_strong(name: str) -> bool:
    words = _words(name)
    if "token" in words:  # of a text: bos_token, stop_token_ids
        at = words.index("token")
        if (words[at - 1 : at] and words[at - 1] in _OF_A_TEXT) or words[at + 1 : at + 2] in (["id"], ["ids"]):
            words.remove("token")
    return not _STRONG.isdisjoint(words) or any(_END.search(word) for word in words if word != "token")


def _words(name: str) -> list[str]:
    if name in _HARMLESS:
        return []
    words = [word.lower() for word in _WORD.findall(name)]
    pairs = {f"{a}{b}" for a, b in pairwise(words)}
    return [*words, *(pair for pair in pairs if pair in _PAIRS)]
