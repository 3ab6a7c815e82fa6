r"""Words that are spelt in two ways, British and American, and words that differ by a slip of spelling.

The two spellings of a word are one word: a closed table of endings and stems, so that "poet" is not "pet" and
"Michael" not "Michel". A slip (one letter more, less, other, or two changed round, in words of six letters or more)
may be the same word or another (causal, casual): it decides nothing, and leaves the pair open.

>>> american("haemoglobin"), american("colour"), american("poet")
('hemoglobin', 'color', 'poet')
>>> is_slip("chlorophyl", "chlorophyll"), is_slip("even", "ever"), is_slip("symmetric", "asymmetric")
(True, False, False)
"""

from __future__ import annotations

import re
from functools import lru_cache

LEAST = 6
"""Letters of a word in which one may be a slip."""
LONGEST = 40
"""Letters of a word up to which it is looked at."""
_AE_OE = re.compile(
    "aemia|aemic|aesth|aetiolog|archaeolog|caecum|caesium|encyclopaedi|faec|gynaec|haem|hyaena|mediaeval|orthopaed"
    "|paediatr|palaeo|primaeval|\\baeon|\\baether|amoeb|apnoea|coeliac|dyspnoea|diarrhoea|foetal|foetus|gonorrhoea"
    "|homoeo|manoeuv|oedem|oesoph|oestr|oenolog"
)
_OUR = (
    "arb|ard|arm|behavi|cand|clam|col|demean|endeav|enam|fav|ferv|flav|glam|harb|hon|hum|lab|neighb|od|parl|ranc|rig"
    "|rum|sav|savi|splend|succ|tum|val|vap|vig"
)
_DOUBLED = (
    "cancel|channel|chisel|counsel|dial|duel|enamel|fuel|funnel|jewel|label|level|libel|marshal|marvel|medal|model"
    "|panel|pedal|pencil|quarrel|rival|signal|snorkel|spiral|symbol|total|travel|tunnel|unravel"
)
_RULES = tuple(
    (re.compile(pattern), by)
    for pattern, by in (
        (rf"\b((?:dis|mis|multi|uni|un)?(?:{_OUR}))our", r"\1or"),
        (
            r"\b((?:epi|amphi|kilo|centi|milli|micro|nano)?(?:cent|met|lit|theat|fib|sab|somb|spect|lust|calib|maneuv"
            r"|meag|goit|och|sepulch))re(?=s?\b)",
            r"\1er",
        ),
        (r"(?<=[a-z]{4})is(?=(?:e|es|ed|ing|er|ers|ations?)\b)", "iz"),
        (r"(?<=[a-z]{3})lys(?=(?:e|es|ed|ing|er|ers)\b)", "lyz"),
        (rf"\b({_DOUBLED})l(?=(?:ed|ing|er|ers|or|ors|ist|ous|ery)\b)", r"\1"),
        (r"\b(fulfil|enrol|instal|distil|skil|wil)(?=(?:s|ments?|ful|fully)?\b)", r"\1l"),
        (r"\b(defen|offen|licen|preten)ce", r"\1se"),
        (r"\bpractis(?=e)", "practic"),
        (r"\b(catal|dial|anal|monol|prol|epil)ogue", r"\1og"),
        (r"\b(judg|acknowledg)ement", r"\1ment"),
        (r"\bprogramme(?=s?\b)", "program"),
        (r"\baluminium\b", "aluminum"),
        (r"\bsulph", "sulf"),
        (r"\bgrey", "gray"),
        (r"\bplough", "plow"),
        (r"\b(s?m)oul(?=[dt])", r"\1ol"),
        (r"\bsceptic", "skeptic"),
        (r"\bmoustache", "mustache"),
        (r"\bartefact", "artifact"),
        (r"\baeroplane", "airplane"),
    )
)
"""Rewritings of a word, in their order, from the British to the American spelling."""
_ENDINGS = ("ane", "ene", "yne"), ("ate", "ite", "ide")
"""Endings that tell apart what has the same stem: ethane and ethene, nitrate and nitrite."""


@lru_cache(maxsize=1_024)
def american(word: str) -> str:
    """A word in small letters, in its American spelling."""
    if not 4 <= len(word) <= LONGEST:
        return word
    word = _AE_OE.sub(lambda found: re.sub("ae|oe", "e", found.group()), word)
    for pattern, by in _RULES:
        word = pattern.sub(by, word)
    return word


def is_slip(one: str, other: str) -> bool:
    """Whether two words in small letters may be one, spelt wrong in one letter."""
    short, long = sorted((one, other), key=len)
    if not LEAST <= len(short) <= len(long) <= LONGEST or not (one + other).isalpha() or one == other:
        return False
    if long == "a" + short or any(_ends_apart(one, other, endings) for endings in _ENDINGS):
        return False
    start = next((k for k, (a, b) in enumerate(zip(short, long, strict=False)) if a != b), len(short))
    if len(short) < len(long):
        return short[start:] == long[start + 1 :]
    swapped = short[start : start + 2] == long[start : start + 2][::-1] and short[start + 2 :] == long[start + 2 :]
    return swapped or short[start + 1 :] == long[start + 1 :]


def _ends_apart(one: str, other: str, endings: tuple[str, ...]) -> bool:
    return one[:-3] == other[:-3] and one[-3:] in endings and other[-3:] in endings
