"""Which names say that a secret stands under them: of variables, of settings, of what is sent along with a request.

>>> [names_a_secret(name) for name in ("OPENAI_API_KEY", "x-auth", "max_tokens", "bos_token", "author")]
[True, True, False, False, False]
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

from stillroom.common.secrets import looks_random

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
