"""Words that stand beside numbers: units and their spellings, scales, number words, and short words.

>>> unit_name("meters"), unit_name("apples"), SCALES["dozen"]
('m', 'apple', Fraction(12, 1))
"""

from __future__ import annotations

import re
from fractions import Fraction

_SPELLINGS = {
    "km": "kilometer kilometre kms", "m": "meter metre", "cm": "centimeter centimetre", "mm": "millimeter millimetre",
    "dm": "decimeter", "ft": "foot feet", "inch": "in inches", "yd": "yard", "mi": "mile", "kg": "kilogram kilo kgs",
    "g": "gram gm", "mg": "milligram",
    "lb": "pound lbs", "oz": "ounce", "l": "liter litre", "ml": "milliliter millilitre",
    "s": "second sec secs", "min": "minute mins", "h": "hour hr hrs", "day": "", "week": "", "month": "", "year":
    "yr", "deg": "degree °", "$": "dollar buck usd ¤", "€": "euro eur", "£": "gbp", "¥": "yen yuan rmb", "cent": "",
    "mi/h": "mph", "rad": "radian", "km/h": "kmh kmph km/hr kph", "hz": "hertz", "n": "newton", "j": "joule", "w":
    "watt", "v": "volt", "pa": "pascal", "kw": "kilowatt",
    "pm": "p.m. pm. p.m", "am": "a.m. am. a.m", "unit": "", "square": "sq", "cubic": "cu", "ha": "hectare", "ppm": "",
}  # fmt: skip
UNITS: dict[str, str] = {name: unit for unit, names in _SPELLINGS.items() for name in [unit, *names.split()]}
UNITS |= {name + "s": unit for name, unit in list(UNITS.items()) if len(name) > 2}
_SIZES = {
    "length": {"mm": "1/1000", "cm": "1/100", "dm": "1/10", "m": "1", "km": "1000", "inch": "0.0254", "ft": "0.3048",
               "yd": "0.9144", "mi": "1609.344"},
    "area": {"mm^2": "1/1000000", "cm^2": "1/10000", "m^2": "1", "km^2": "1000000", "ha": "10000", "ft^2":
    "0.09290304",
             "inch^2": "0.00064516"},
    "volume": {"ml": "1/1000000", "l": "1/1000", "cm^3": "1/1000000", "m^3": "1", "dm^3": "1/1000"},
    "mass": {"mg": "1/1000000", "g": "1/1000", "kg": "1", "lb": "0.45359237", "oz": "0.028349523125"},
    "time": {"s": "1", "min": "60", "h": "3600", "day": "86400", "week": "604800"},
    "money": {"cent": "1/100", "$": "1"},
    "angle": {"deg": "1", "'": "1/60"},
    "speed": {"km/h": "1000/3600", "m/s": "1", "mi/h": "1609.344/3600"},
}  # fmt: skip
SIZES: dict[str, tuple[str, Fraction]] = {}
"""Units that can be converted: the kind of each, and its size in the base unit of the kind."""
for _kind, _units in _SIZES.items():
    for _name, _size in _units.items():
        _top, _, _low = _size.partition("/")
        SIZES[_name] = (_kind, Fraction(_top) / Fraction(_low or "1"))
NO_UNITS = frozenset(
    """
    squared cubed half halves third thirds quarter quarters fourth fourths fifth fifths sixth sixths seventh
    sevenths eighth eighths ninth ninths tenth tenths hundredth hundredths thousandth thousandths score pair pairs
    binary base prime even odd positive negative order wrong incorrect matrix remainder point choose or not if but
    than times plus minus is are was were be to over below above under beyond short doubled tripled quadrupled halved
    reversed negated inverted rejected nope never false wrong invalid incorrect approximate maybe perhaps permille
    permil tens ones percentile power root log factorial
    """.split()  # noqa: SIM905
)
"""Words behind a value that change what it means: they are no unit."""
SCALES: dict[str, Fraction] = {
    "dozen": Fraction(12), "hundred": Fraction(100), "thousand": Fraction(10**3), "million": Fraction(10**6),
    "billion": Fraction(10**9), "trillion": Fraction(10**12), "quadrillion": Fraction(10**15), "gross": Fraction(144),
    "lakh": Fraction(10**5), "crore": Fraction(10**7),
}  # fmt: skip
SCALES |= {name + "s": value for name, value in list(SCALES.items()) if name != "gross"}
PARTS = re.compile(r"(?:ten|hundred|thousand|(?:m|b|tr|quadr)illion)ths?")
"""Words that make a number smaller."""
PERCENT = frozenset({"percent", "percentage", "pct", "percents"})
_UP_TO_TWENTY = """
    zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
    eighteen nineteen twenty
""".split()  # noqa: SIM905
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
