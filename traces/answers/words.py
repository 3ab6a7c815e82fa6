"""Words that stand beside numbers: units and their spellings, scales, number words, and short words.

>>> unit_name("meters"), unit_name("apples"), SCALES["dozen"]
('m', 'apple', Fraction(12, 1))
"""

from __future__ import annotations

from fractions import Fraction

_SPELLINGS = {
    "km": "kilometer kilometre kms", "m": "meter metre", "cm": "centimeter centimetre", "mm": "millimeter millimetre",
    "dm": "decimeter", "ft": "foot feet", "inch": "in inches", "yd": "yard", "mi": "mile", "kg": "kilogram kilo",
    "g": "gram gm", "mg": "milligram",
    "lb": "pound", "oz": "ounce", "l": "liter litre", "ml": "milliliter millilitre",
    "s": "second sec", "min": "minute", "h": "hour hr", "day": "", "week": "", "month": "", "year": "yr",
    "deg": "degree °", "$": "dollar buck usd ¤", "€": "euro eur", "£": "gbp", "¥": "yen yuan rmb", "cent": "",
    "mph": "", "rad": "radian", "kmh": "km/h kmph km/hr", "hz": "hertz", "n": "newton", "j": "joule", "w": "watt",
    "v": "volt", "pa": "pascal", "kw": "kilowatt",
    "pm": "p.m. pm. p.m", "am": "a.m. am. a.m", "unit": "", "square": "sq", "cubic": "cu", "ha": "hectare", "ppm": "",
}  # fmt: skip
UNITS: dict[str, str] = {name: unit for unit, names in _SPELLINGS.items() for name in [unit, *names.split()]}
UNITS |= {name + "s": unit for name, unit in list(UNITS.items()) if len(name) > 2}
SCALES: dict[str, Fraction] = {
    "dozen": Fraction(12), "hundred": Fraction(100), "thousand": Fraction(10**3), "million": Fraction(10**6),
    "billion": Fraction(10**9), "trillion": Fraction(10**12),
}  # fmt: skip
PERCENT = frozenset({"percent", "percentage", "pct", "percents"})
_UP_TO_TWENTY = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
    "twenty",
]
_TENS = "twenty thirty forty fifty sixty seventy eighty ninety".split()  # noqa: SIM905
NUMBERS: dict[str, int] = {name: value for value, name in enumerate(_UP_TO_TWENTY)}
NUMBERS |= {name: 10 * (k + 2) for k, name in enumerate(_TENS)}
FILLERS = frozenset(
    "only exactly just is are the a an answer approximately about equals equal to".split()  # noqa: SIM905
)
SHORT_WORDS = frozenset(
    """
    of is if the for all any are not no yes odd even to by it each per day days two one six ten red blue old
    new none only where with some when time into from this that then true false both pm cm km mm kg ft lb mph
    pct hrs hr sec min
    """.split()  # noqa: SIM905
)
CONDITIONS = frozenset("for where with when if such whenever provided".split())  # noqa: SIM905


def unit_name(word: str) -> str:
    """One name for a unit however it is spelt; of any other word, its singular."""
    lower = word.lower().strip(" .")
    known = UNITS.get(lower)
    if known is not None:
        return known
    if lower.endswith("ies") and len(lower) > 4:
        return lower[:-3] + "y"
    return lower[:-1] if lower.endswith("s") and not lower.endswith("ss") and len(lower) > 3 else lower
