r"""Does what stands around an answer take it back?

An answer may be named to be refused ("It is not \boxed{42}"), doubted ("I doubt the answer is 42"), struck out, or
corrected in the next sentence. None of these is read as the answer. The words are a closed table in the languages in
which answers are read; what is not in it changes nothing.

>>> is_denied("The answer is not simply [42].", 25, 29), is_taken_back(" No, wait, that's wrong.")
(True, True)
>>> is_of_something_else("Half "), is_of_something_else("Hence ")
(True, False)
"""

from __future__ import annotations

import re

_ADVERBS = (
    "simply|quite|just|actually|really|exactly|necessarily|likely|always|also|clearly|definitely|obviously|certainly"
    "|probably|possibly|equal|be|to|have|been|leider|wohl"
)
_BEFORE = re.compile(
    r"(?i)(?:(?:\bnot|\bnever|n't|\bcannot|\bneither|\brather than|\binstead of)"
    rf"(?:[\s*_]+(?:{_ADVERBS}))*"
    r"|\b(?:nicht|keine?|n'est pas|no es|não é|non è|не|не равен|ليس|ليست|không phải(?: là)?)"
    r"|不是|并非|並非)[\s$:(*_\\\[]*\Z"
)
_STRUCK = re.compile(r"(?:~~|\\(?:cancel|xcancel|bcancel|sout|st)\s*\{)[\s$*]*\Z")
_AFTER = re.compile(
    r"(?i)[\s$)*.,~\]\\(]*+(?:(?:which|it|that|this|but it)\s+)?(?:"
    rf"(?:is|was|are|seems|would be|can|could|will|does)(?:\s+(?:{_ADVERBS}))*"
    r"(?:n't|not|\s+(?:not|wrong|incorrect|false|invalid)\b)"
    rf"|(?:is|was)(?:\s+(?:{_ADVERBS}))+\s+(?:not|wrong|incorrect|false)\b"
    r"|(?:wrong|incorrect|false)\b|cannot\b|fails\b"
    r"|(?:ist|est|es|é|è)\s+(?:leider |pas |no )?(?:falsch|nicht|faux|fausse|falso|errado|sbagliat|pas\b)"
    r"|no es\b|non è\b|não é\b|не является|неверно|неправильно|नहीं|गलत|(?:[이가은는]\s{0,4})?(?:아니|틀)"
    r"|[はが]?(?:では?ない|じゃない|間違)|不是|是错|是錯|错误|錯誤|不对|不對|吗|嗎|[?？])"
)
_DOUBT = re.compile(
    r"(?i)\b(?:wrong|false|incorrect|tempting|trap|some say|not|never|might|may|could|somebody|someone|if|suppose"
    r"|assum\w+|whether|unless"
    r"|cannot|can't|doubt|unlikely|impossible|no way|lie|probability|chance|half|twice|double|thrice|triple|square"
    r"|cube|times|reciprocal|opposite|neither)\b|n't\b"
)
_NOT_THE = re.compile(
    r"(?i)(?:[不没沒未非勿误誤错錯候筛篩别別莫若오]|如果|错误的?|錯誤的?|間違った|間違いの?|틀린|잘못된"
    r"|\b(?:falsche[nrs]?|keine?|mauvaise|fausse|aucune|неверн\w+|неправильн\w+|нет|ninguna|incorrecta|equivocada"
    r"|errada|nenhuma|sbagliata|nessuna|không có|sai|no|non|não|не|nunca|jamais|mai|nicht|nie)\b|गलत|خاطئة|لا)"
    r"(?:\s*|[\u3040-\u9fff]{1,4})\Z"
)
_UNSURE = re.compile(r"(?i)\b(?:not sure|unsure|don't know|do not know|no idea|just a guess|i guess)\b")
_TAKEN_BACK = re.compile(
    r"(?i)\b(?:no,? wait|wait,? no|no,? actually|that(?:'s| is| was) (?:wrong|not right|incorrect)|scratch that"
    r"|actually,? (?:no|[-+$]?[0-9])|i was (?:wrong|mistaken)|i (?:am|made a) mistake\w*|correction\s*:)"
)


_NONE = re.compile(
    r"(?i)\W*(?:no|нет|keine?|sin|sem|nessuna|pas de|aucune|没有|無|ない)\s*(?:answer|ответа|antwort|respuesta"
    r"|resposta|risposta|réponse|答案)"
)


def says_none(text: str) -> bool:
    """Whether a text begins by saying that it has no answer."""
    return _NONE.match(text) is not None


def is_denied(text: str, start: int, end: int) -> bool:
    """Whether the words right before or after a place of the text say that it is not so."""
    return bool(
        _BEFORE.search(text, max(0, start - 60), start)
        or _STRUCK.search(text, max(0, start - 20), start)
        or _AFTER.match(text, end, end + 80)
    )


def is_taken_back(text: str) -> bool:
    """Whether a text that follows an answer takes it back."""
    return _TAKEN_BACK.search(text, 0, 300) is not None


def is_unsure(line: str) -> bool:
    """Whether the line before an answer denies it or doubts it: "It is not", "I am not sure."."""
    return bool(_BEFORE.search(line.rstrip() + " ") or _UNSURE.search(line))


def is_of_something_else(clause: str) -> bool:
    """Whether the words before "the answer is" deny it, doubt it, or speak of another value: "half the answer is"."""
    return bool(_DOUBT.search(clause) or _NOT_THE.search(clause[-24:]))
