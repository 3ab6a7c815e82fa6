"""What the words and signs of an answer mean, in LaTeX, plain text and Unicode: `vocabulary.yaml`, read once.

>>> OPERATORS["leqslant"], CHARACTERS["≤"]
('<=', '<=')
>>> unit_name("meters"), unit_name("apples"), SCALES["dozen"]
('m', 'apple', Fraction(12, 1))
"""

from __future__ import annotations

import re
from fractions import Fraction
from importlib.resources import files

import yaml

_READ = yaml.safe_load((files("stillroom.traces.answers") / "vocabulary.yaml").read_text(encoding="utf-8"))


def _words(name: str) -> frozenset[str]:
    return frozenset(_READ[name].split())


FUNCTIONS, GREEK, DROPPED, TEXT = map(_words, ("functions", "greek", "dropped", "text"))
ALIASES: dict[str, str] = _READ["aliases"]
OPERATORS: dict[str, str] = {name: does for does, names in _READ["operators"].items() for name in names.split()}
"""What a command does."""
CHARACTERS: dict[str, str] = _READ["characters"]
"""How LaTeX or ASCII writes a sign of Unicode."""
CHARACTERS |= {chr(0xFF10 + digit): str(digit) for digit in range(10)}  # full width
UNITS: dict[str, str] = {name: unit for unit, names in _READ["units"].items() for name in [unit, *names.split()]}
"""One name of a unit for each spelling."""
UNITS |= {name + "s": unit for name, unit in list(UNITS.items()) if len(name) > 2}


def _size(written: str) -> Fraction:
    top, _, low = written.partition("/")
    return Fraction(top) / Fraction(low or "1")


SIZES: dict[str, tuple[str, Fraction]] = {
    name: (kind, _size(size)) for kind, sizes in _READ["sizes"].items() for name, size in sizes.items()
}
"""Units that can be converted: the kind of each, and its size in the base unit of the kind."""
SCALES: dict[str, Fraction] = {name: Fraction(scale) for name, scale in _READ["scales"].items()}
SCALES |= {name + "s": value for name, value in list(SCALES.items()) if name != "gross"}
PARTS = re.compile(r"(?:ten|hundred|thousand|(?:m|b|tr|quadr)illion)ths?")
"""Words that make a number smaller."""
NUMBERS: dict[str, int] = {name: value for value, name in enumerate(_READ["up_to_twenty"].split())}
NUMBERS |= {name: 10 * (k + 2) for k, name in enumerate(_READ["tens"].split())}
NUMBER_WORDS = frozenset(NUMBERS) | SCALES.keys() | _words("number_like")
"""Words that may be a number, or a part of one."""
PER_CENT = frozenset(["per cent", "pour cent", "por ciento", "por cento", "per cento"])
NO_UNITS, PERCENT, FILLERS = map(_words, ("no_units", "percent", "fillers"))
SHORT_UNITS: dict[str, str] = _READ["short_units"]
"""One name of a unit for each short spelling that is a letter elsewhere."""
SHORT_WORDS, CONDITIONS = map(_words, ("short_words", "conditions"))
PROPERTIES, SAYS_NOTHING = map(_words, ("properties", "says_nothing"))


_MEGA = {"Mm": "megametre", "Mg": "megagram", "ML": "megalitre"}
"""Units that differ from others by a capital alone."""


def unit_name(word: str) -> str:
    """One name for a unit however it is spelt; of any other word, its singular."""
    if word in _MEGA:
        return _MEGA[word]
    lower = word.lower().strip(" .")
    known = UNITS.get(lower)
    if known is not None:
        return known
    if lower.endswith("ies") and len(lower) > 4:
        return lower[:-3] + "y"
    return lower[:-1] if lower.endswith("s") and not lower.endswith("ss") and len(lower) > 3 else lower
