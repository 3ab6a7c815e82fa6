r"""Does a prompt ask for the unit of its answer? Then a bare number is not an answer to a gold with a unit.

A prompt that names the unit ("in metres") or that wants none ("do not include units") does not ask for it.

>>> asks_for_unit("How heavy is it? (Include unit)"), asks_for_unit("Give the area in square units.")
(True, False)
"""

from __future__ import annotations

import re
from functools import lru_cache

MAX_PROMPT = 20_000
"""Characters of a prompt, from its end, that are looked at."""
_ADJECTIVES = (
    "the|its|their|your|a|an|all|any|both|appropriate|correct|proper|suitable|right|relevant|si|metric|measurement"
    "|answer|answers|value|number|result|to|include|add|write|state|specify|give|with|and"
)
_ASKING = re.compile(
    r"\b(?:includ(?:e|es|ing)|with|specify|specifying|state|stating|give|giving|write|add|show|supply|provide"
    r"|indicate|forget|remember|and|appropriate|correct|proper)\s+"
    rf"(?:(?:{_ADJECTIVES})\s+){{0,6}}units?\b"
    r"(?!\s+(?:circle|vector|price|cost|square|cube|digit|length|fraction|rate|test|interval|ball|disk|disc|sphere"
    r"|of(?!\s+measure)|root|mass|normal|tangent|radius|matrix|cell)|\s*[:=]|-)"
    r"|\b(?:in|using)\s+(?:what|which)\s+(?:\w+\s+)?units?\b|\bwhat (?:is|are) (?:the|its) (?:correct |si )?units?\b"
    r"|\bunits? (?:must|should) be (?:included|given|stated|specified|shown)|\bunits? (?:is|are) required"
    r"|\b(?:mit|samt|inklusive|einschließlich) (?:der |den |passende[rn] |richtige[rn] )?(?:maß)?einheit(?:en)?\b"
    r"|\b(?:maß)?einheit(?:en)? (?:angeben|an\b|nicht vergessen)|\bin welche[rn] (?:maß)?einheit"
    r"|\b(?:avec|précise[rz]?|indique[rz]?|inclu(?:re|ez|s)|oublie[rz]? pas)"
    r" (?:l'|les? |d'|son |leurs? |une )?unités?\b"
    r"|\b(?:en|dans) quelle unité"
    r"|\b(?:con|inclu(?:ye|ya|ir|yendo)|indi(?:ca|que|car)|especifi(?:ca|que|car))"
    r" (?:sus? |las? |la )?unidad(?:es)?\b"
    r"|\ben qué unidad"
    r"|\b(?:com|inclu(?:a|ir|indo)|indi(?:que|car|cando)|especifique) (?:suas? |as? )?unidades?\b|\bem que unidade"
    r"|\b(?:con|includ(?:i|ere|endo)|indica(?:re|ndo)?|specifica(?:re|ndo)?) (?:l'|le |la )?unità\b"
    r"|\bin (?:che|quale) unità"
    r"|(?:укажите|указать|указав|с указанием|включите|запишите) (?:\w{1,20} ){0,3}единиц|в каких единицах"
    r"|(?:带上?|帶上?|注明|写出|写上|寫上|写明|标明|包括|包含|含|加上).{0,4}单?單?位|(?:什么|什麼|何种|哪种)单?單?位"
    r"|単位(?:も|を|まで)?(?:つけ|付け|含め|書|明記|添え)|単位付き|単位込み"
    r"|단위(?:도|를|까지)?\s?(?:포함|쓰|써|적|표시|붙)"
)
_BEFORE = re.compile(
    r"(?:\b(?:not|never|no need to|without|need not|nicht|ohne|sans|sin|sem|senza|не|без)\b|n't\b)[^.!?\n]{0,20}\Z"
    r"|[不无無勿别別][^。.]{0,3}\Z"
)
_AFTER = re.compile(
    r"[^.!?\n]{0,12}\b(?:(?:is|are) not|isn't|aren't|optional|unnecessary|not (?:needed|required|necessary))\b"
    r"|.{0,3}(?:ない|ず|不要|지 마|하지)"
)
_FORGET = re.compile(r"forget|vergessen|oublie|and\b")


@lru_cache(maxsize=256)
def asks_for_unit(prompt: str) -> bool:
    """Whether a prompt asks for the unit of its answer."""
    text = prompt[-MAX_PROMPT:].lower().replace("’", "'")
    return any(_is_meant(text, found) for found in _ASKING.finditer(text))


def _is_meant(text: str, found: re.Match[str]) -> bool:
    """Whether the words that ask for it are not denied."""
    before = text[max(0, found.start() - 40) : found.start()]
    denied = _BEFORE.search(before) and not _FORGET.match(found.group())
    return not denied and _AFTER.match(text, found.end(), found.end() + 60) is None
