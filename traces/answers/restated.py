r"""Does an answer that is right only repeat a formula of the prompt?

A formula that stands in the prompt is not an answer, with whatever changes nothing around it (-(-√50)). Nor is a
plain number of the prompt in another notation than the gold's (0.75 for 3/4). An integer may stand there. So may what
is written like the gold, but for the order of terms and factors.

>>> restated(r"5\sqrt{2}", r"\sqrt{50}", r"Simplify $\sqrt{50}$.")
True
"""

from __future__ import annotations

import itertools
import re
from collections import deque
from collections.abc import Iterator
from functools import lru_cache

from stillroom.traces.answers.normalise import meaning
from stillroom.traces.answers.tree import EULER, PI, Node, is_inequality, walk
from stillroom.traces.answers.values import Rules, compare_values
from stillroom.traces.answers.worked_out import as_written, is_plain, parts_of, shape, shapes_of

MAX_PROMPT = 20_000
"""Characters of a prompt that are looked at, from its beginning and from its end."""
MAX_FORMULAS = 80
"""Formulas of a prompt that are read, its first and its last, of at most MAX_FORMULA characters each."""
MAX_FORMULA = 600
MAX_FACTORS = 8
"""Terms or factors of which all choices are looked at."""

_TOKEN = re.compile(r"\\[A-Za-z]+|\\.|[0-9]+(?:\.[0-9]+)?|[A-Za-z]+|\S")
_ALIKE = {
    r"\cdot": "*", r"\times": "*", "×": "*", "·": "*", "−": "-", "–": "-", r"\div": "/", "÷": "/",
    r"\dfrac": r"\frac", r"\tfrac": r"\frac", "π": r"\pi", r"\%": "%", "√": r"\sqrt", "°": r"\circ",
    "≤": r"\le", r"\leq": r"\le",
    "≥": r"\ge", r"\geq": r"\ge", r"\dbinom": r"\binom", "pi": r"\pi", "sqrt": r"\sqrt",
}  # fmt: skip
_SILENT = frozenset(
    ["$", "{", "}", r"\left", r"\right", r"\,", r"\!", r"\;", r"\:", r"\ ", r"\(", r"\)", r"\[", r"\]"]
)
_NAMES = frozenset("sqrt pi sin cos tan ln log exp choose".split())  # noqa: SIM905
_ENDS = frozenset("$?;.\"'") | {r"\(", r"\)", r"\[", r"\]", r"\text", r"\\"}
_THOUSANDS = re.compile(r"(?<=[0-9]),(?=[0-9]{3}(?![0-9]))")


def restated(gold: str, answer: str, prompt: str) -> bool:
    """Whether an answer that is right is only a formula of the prompt, or one with something around it that changes
    nothing."""
    if gold == answer:
        return False
    other = as_written(answer)
    if other is None or (one := as_written(gold)) is None:
        return False
    if is_plain(other) and other not in (PI, EULER) and (other.kind != "num" or _is_decimal(answer)):
        return False  # an integer in digits, a name or a word
    if one.kind == other.kind == "num" and one.args[0] == other.args[0]:
        # the same number: no answer if it stands there in another notation, as 1.5e6 for 1500000
        return not _is_decimal(answer) and _is_decimal(gold) and _stands_in(_tokens(answer), _tokens(prompt))
    alike = shapes_of(one)
    parts = [part.node for part in parts_of(other)]
    turned = is_inequality(other) != is_inequality(one)  # x < 3 for (-∞, 3) is another notation
    if not turned and all(shape(part) in alike for part in parts):
        return False
    prompt = prompt[:MAX_PROMPT] + " " + prompt[-MAX_PROMPT:] if len(prompt) > 2 * MAX_PROMPT else prompt
    value = answer.rpartition("=")[2] if meaning(other).label is not None else answer
    if _stands_in(_tokens(value), _tokens(prompt)):
        return True
    asked = formulas(prompt)
    compound = [part for part in parts if not is_plain(part) and shape(part) not in alike]
    if any(hash(shape(part)) in asked for part in [other, *compound]):
        return True
    within = (part for each in compound for part in _within(each) if hash(shape(part)) in asked)
    return any(shape(part) not in alike and _is_one_of(part, one) for part in within)


def _is_decimal(text: str) -> bool:
    """Whether a number is written with digits alone."""
    return re.fullmatch(r"-?[0-9]*\.?[0-9]+", re.sub(r"\\[()\[\]]|[,\s$\\!{}]", "", text)) is not None


def _within(node: Node) -> Iterator[Node]:
    """The formulas in a formula, those included that some of its terms or factors make."""
    for part in walk(node):
        if not is_plain(part):
            yield part
        if part.kind in ("add", "mul") and 2 < len(part.args) <= MAX_FACTORS:
            for count in range(2, len(part.args)):
                yield from (Node(part.kind, some) for some in itertools.combinations(part.args, count))


def _is_one_of(node: Node, gold: Node) -> bool:
    """Whether a formula is the gold, or a part of it, by its value."""
    rules = Rules(confirm=lambda one, other: None)
    return any(compare_values(node, part.node, rules).same is True for part in parts_of(gold) if part.solved)


# -- the prompt ------------------------------------------------------------------------------------------------------


def _tokens(text: str) -> str:
    """The signs of a text, one space around each: brackets of LaTeX and spacing left out, signs that are spelt in
    several ways made one."""
    text = _THOUSANDS.sub("", text.replace("**", "^"))
    found = (_ALIKE.get(token, token) for token in _TOKEN.findall(text))
    return f" {' '.join(token.lower() for token in found if token not in _SILENT)} "


def _stands_in(said: str, prompt: str) -> bool:
    """Whether signs stand in a prompt, and are not part of a longer number: 1/2 is not in 3 1/2, nor in 1/4/2020."""
    if not said[1:2].isdigit():
        return said in prompt
    return re.search(rf"(?<![0-9/.^]){re.escape(said)}(?![/.^] [0-9])", prompt) is not None


@lru_cache(maxsize=256)
def formulas(prompt: str) -> frozenset[int]:
    """The hashes of the shapes of all formulas of a prompt, and of their parts, that are more than a number or name;
    the shapes themselves would be many times as long as the prompt."""
    found: set[int] = set()
    runs = _runs(prompt)
    for text in [*itertools.islice(runs, MAX_FORMULAS // 2), *deque(runs, MAX_FORMULAS // 2)]:
        for piece in dict.fromkeys([text, *re.split(r"[=,<>]|\\l?eq?|\\g?eq?", text)]):
            node = as_written(piece.strip(" ,:="))
            if node is not None:
                found.update(hash(shape(part)) for part in walk(node) if not is_plain(part))
    return frozenset(found)


def _runs(prompt: str) -> Iterator[str]:
    """What may be a formula: numbers, signs, single letters and commands in a row, words apart."""
    start = end = None
    for match in itertools.chain(_TOKEN.finditer(prompt), [None]):
        token = match.group() if match else "$"
        word = token.isalpha() and len(token) > 1 and token not in _NAMES
        if match and not word and token not in _ENDS:
            start = match.start() if start is None else start
            end = match.end()
        elif start is not None and end is not None:
            if 2 < end - start <= MAX_FORMULA:
                yield prompt[start:end]
            start = None
