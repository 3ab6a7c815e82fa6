r"""Are two answers the same? Each kind is compared as what it is: lists, tuples, sets, relations, units, words.

Three answers: yes, no, and unknown, with what stood in the way or which policy decided. Every comparison gives the
same whichever side is the gold one.

>>> from stillroom.traces.answers.parser import read
>>> compare(read("x < 3"), read(r"(-\infty, 3)"), Rules()).same
True
"""

from __future__ import annotations

import re
from itertools import chain, permutations, product

from stillroom.traces.answers._matrices import has_tables, with_scalars
from stillroom.traces.answers._parts import (
    INTEGERS,
    collections,
    congruences,
    equation_and_value,
    multiples,
    relations,
    rows,
    sets,
)
from stillroom.traces.answers._quantities import bases, ratios, texts, units
from stillroom.traces.answers.fingerprint import Undefined
from stillroom.traces.answers.limits import spend
from stillroom.traces.answers.normalise import Meaning, claimed, meaning
from stillroom.traces.answers.numeric import evaluate
from stillroom.traces.answers.sets import INFINITE, REALS
from stillroom.traces.answers.tree import VALUES, Node, add, is_inequality, number, replaced, symbols, walk
from stillroom.traces.answers.values import (
    DIFFERENT,
    LOG_BASES,
    SAME,
    UNKNOWN,
    Answer,
    Pending,
    Rules,
    compare_values,
    has_bare_log,
    rounds_to,
    with_base,
)
from stillroom.traces.answers.vocabulary import UNITS

SETS = frozenset({"interval", "union", "minus", "intersection", "builder"})
MAX_ITEMS = 200
"""Parts of a list, tuple or sum."""


def compare(one: Node, other: Node, rules: Rules) -> Answer:
    """Compares two answers. Raises OverflowError for numbers that are too large, Pending as `compare_values` does."""
    rules.compare = compare
    spend(15)
    if one == other:
        return compare_values(one, other, rules)
    if len(one.args) > MAX_ITEMS or len(other.args) > MAX_ITEMS:
        raise OverflowError(f"more than {MAX_ITEMS} parts")
    if not (_is_one_claim(one, rules) and _is_one_claim(other, rules)):
        rules.used.add(f"chains={rules.policies.chains}")
        if rules.policies.chains == "agree":
            pairs = product(_sides(one), _sides(other))
            other_value = all(rules.compare(a, b, rules).same is False for a, b in pairs)
            return DIFFERENT if other_value else Answer(None, "the sides of an equation that do not agree")
    if one.kind == other.kind == "rel" and set(one.args[0]) == {"="} and one.args[1:] == other.args[:0:-1]:
        return SAME  # a = b and b = a
    first, second = meaning(one), meaning(other)
    if _is_choice_of_names(first) != _is_choice_of_names(second) and first.value.kind == second.value.kind == "sym":
        return Answer(None, "an equation of two letters against a letter")
    if first.modulus is not None or second.modulus is not None:
        return congruences(first, second)
    if first.condition != second.condition and (first.condition or second.condition):
        return Answer(None, f"a condition in words: {(first.condition or second.condition)[:60]}")
    if first.domain and second.domain and first.domain != second.domain:
        return Answer(None, "parameters of different kinds")
    if first.domain != second.domain and (is_inequality(first.value) or is_inequality(second.value)):
        return Answer(None, "a condition on whole numbers on one side")
    if any(_is_turned(a) and b.label is None for a, b in ((first, second), (second, first))):
        return Answer(None, "a tuple of letters in another order")
    solved = equation_and_value(first, second, rules)
    if solved is not None:
        return solved
    first, second = _parameters(first, second, rules)
    first, second = _function_arguments(first, second)
    answer = _kinds(first.value, second.value, one, other, rules)
    if answer.same is False and any(_is_of_sets(part) for side in (one, other) for part in walk(side)):
        answer = Answer(None, "a formula of sets or lists that is not worked out")
    if first.label is not None and second.label is not None and _names_differ(first.label, second.label):
        if answer.same:
            return Answer(None, "they are about different things")
        sides = [[said.label, said.value] for said in (first, second) if said.label is not None]
        if all(side[1].kind in VALUES for side in sides) and multiples("=", sides[0], "=", sides[1]).same:
            return SAME  # AB = 2CD and CD = AB/2
    return answer if answer.same is True else _other_names(first, second, rules) or answer


def _is_turned(said: Meaning) -> bool:
    """(y, x) = (1, 2): a tuple about letters in another order than theirs."""
    if said.label is None or said.label.kind != "tuple" or any(part.kind != "sym" for part in said.label.args):
        return False
    names = [str(part.args[0]) for part in said.label.args]
    return names != sorted(names) and all(len(name) == 1 for name in names)


def _is_choice_of_names(said: Meaning) -> bool:
    """B = A: one of two letters, or neither."""
    names = [node.args[0] for node in (said.label, said.value) if node is not None and node.kind == "sym"]
    return len(names) == 2 and all(len(name) == 1 and name.isupper() for name in names)


def _sides(node: Node) -> list[Node]:
    """The sides of a chain that say what its value is; of anything else, itself."""
    while node.kind in ("clause", "mod"):
        node = node.args[0]
    return claimed(node) or [node]


def _is_one_claim(node: Node, rules: Rules) -> bool:
    """Whether the sides of a chain may agree; of anything else, True. `9 * 2 = 18` does, `19 = 18` and
    `18 \\approx 19` do not: they may not be taken for either side."""
    first, *others = _sides(node)
    rough = any(part.kind == "rel" and "~" in part.args[0] for part in walk(node))
    aside = Rules(rules.policies, confirm=lambda one, other: None, work=rules.work)
    agree = all(
        rules.compare(first, side, aside).same is not False or rounds_to(first, side, rough=rough) for side in others
    )
    rules.work = aside.work
    return agree


def _is_of_sets(node: Node) -> bool:
    """A sum, product, power or function of sets or lists: {1, 2} × {3}, |{1, 2}|."""
    return node.kind in ("add", "mul", "pow", "fn") and any(
        isinstance(part, Node) and part.kind in _SETS_AND_LISTS for part in node.args
    )


_SETS_AND_LISTS = SETS | {"set", "list", "both", "either"}


def _kinds(one: Node, other: Node, first: Node, second: Node, rules: Rules) -> Answer:
    """By kind, the most particular first."""
    kinds = {one.kind, other.kind}
    if "quantified" in kinds:
        if one.kind != other.kind or one.args[0] != other.args[0]:
            return Answer(None, "a quantifier on one side")
        over, said = (compare(one.args[k], other.args[k], rules) for k in (1, 2))
        return SAME if over.same and said.same else DIFFERENT if said.same is False and over.same else UNKNOWN
    if "add" in kinds and (_is_uncertain(one, other) or _is_uncertain(other, one)):
        return Answer(None, "a value with its uncertainty on one side")
    if "base" in kinds:
        return bases(one, other, rules)
    if kinds & {"unit", "compound", "percent"}:
        return units(one, other, rules)
    if "text" in kinds:
        return texts(one, other)
    if "set" in kinds and kinds & {"tuple", "bracket", "matrix"}:
        # {1, 2} against (1, 2), [1, 2] or a column: not the same thing, and yet often meant so.
        parts = [chain.from_iterable(node.args) if node.kind == "matrix" else node.args for node in (one, other)]
        as_lists = collections(Node("list", tuple(parts[0])), Node("list", tuple(parts[1])), rules)
        return Answer(None, "a set against a tuple or an interval") if as_lists.same is True else as_lists
    if REALS in (one, other):
        answer = sets(one, other, rules)
        if answer is not None:
            return answer
    signs = any(part.kind in ("pm", "mp") for node in (one, other) for part in walk(node))
    if signs and kinds <= {"list", "set", "tuple"}:
        return collections(one, other, rules)
    if kinds == {"both", "list"} and not is_inequality(one) and not is_inequality(other):
        return collections(Node("list", one.args), Node("list", other.args), rules)
    if kinds <= {"list", "set"} or (kinds & {"list", "set"} and kinds & (VALUES | {"ratio", "pm", "mp"})):
        return collections(one, other, rules)
    members = [node.kind == "rel" and node.args[0] == ("in",) for node in (first, second)]
    if kinds & SETS or is_inequality(one) or is_inequality(other) or members[0] != members[1]:
        answer = sets(one, other, rules)
        if answer is not None:
            return answer
    if "ratio" in kinds:
        return ratios(one, other, rules)
    if "rel" in kinds:
        return relations(one, other, rules)
    if kinds & {"tuple", "bracket", "matrix", "list", "set"}:
        return rows(one, other, rules)
    if kinds <= VALUES | {"pm", "mp"}:
        return _values(one, other, rules)
    return UNKNOWN


# -- values ----------------------------------------------------------------------------------------------------


def _values(one: Node, other: Node, rules: Rules) -> Answer:
    if any(part.kind in ("pm", "mp") for node in (one, other) for part in walk(node)):
        return collections(one, other, rules)
    infinite = [node for node in (one, other) if node in INFINITE]
    if infinite:
        return DIFFERENT if len(infinite) == 2 or _is_finite(one) or _is_finite(other) else UNKNOWN
    if has_tables(one) or has_tables(other):
        one, other = with_scalars(one), with_scalars(other)  # two of them may be numbers by now
        return (rows if has_tables(one) or has_tables(other) else rules.compare)(one, other, rules)
    if has_bare_log(one) != has_bare_log(other):  # open where it fits with e or 10
        bases = ((with_base(one, base), with_base(other, base)) for base in LOG_BASES)
        fits = any(compare_values(first, second, rules).same is True for first, second in bases)
        return Answer(None, "a logarithm without its base") if fits else DIFFERENT
    answer = compare_values(one, other, rules)
    if answer.same is not False:
        return answer
    roots = _has_root_of_letters(one) and _has_root_of_letters(other)
    if roots and compare_values(_squared(one), _squared(other), rules).same is True:
        return Answer(None, "the same where the letters are positive")
    for a, b in ((one, other), (other, one)):  # 8 m against 8
        letter = a.args[1] if a.kind == "mul" and len(a.args) == 2 and a.args[0] == b else None
        if letter is not None and letter.kind == "sym" and letter.args[0].lower() in UNITS:
            return Answer(None, "a letter that may be a unit")
    # x² + C against x² + K, or without a constant.
    (body, constant), (other_body, other_constant) = _without_constant(one), _without_constant(other)
    if constant is None and other_constant is None:
        return answer
    if compare_values(body, other_body, rules).same is not True:
        return answer
    named = True if constant is not None and other_constant is not None else None
    return rules.decide("constant", {"named": named, "optional": True, "strict": False})


def _is_uncertain(one: Node, other: Node) -> bool:
    """88.55 ± 0.04 against 88.55: a number, and what it may be off by, at most a tenth of it."""
    if one.kind != "add" or len(one.args) != 2 or one.args[1].kind != "pm":
        return False
    value, off, known = (_without_unit(node) for node in (one.args[0], one.args[1].args[0], other))
    if not value.kind == off.kind == known.kind == "num" or value.args[0] != known.args[0] or off.args[1] is None:
        return False
    return bool(10 * abs(off.args[0]) <= abs(value.args[0]))


def _without_unit(node: Node) -> Node:
    return node.args[0] if node.kind in ("unit", "percent") else node


def _has_root_of_letters(node: Node) -> bool:
    return any(
        part.kind == "pow" and part.args[1].kind == "num" and part.args[1].args[0].denominator == 2 and symbols(part)
        for part in walk(node)
    )


def _squared(node: Node) -> Node:
    """The node with every letter squared, so that none is negative."""
    for name in sorted(symbols(node)):
        node = replaced(node, Node("sym", (name,)), Node("pow", (Node("sym", (f"{name}²",)), number(2))))
    return node


def _is_finite(node: Node) -> bool:
    try:
        evaluate(node, {})
    except Undefined:
        return False
    return True


def _without_constant(node: Node) -> tuple[Node, Node | None]:
    """A sum without its lone capital letter, and that letter."""
    if node.kind != "add":
        return node, None
    for part in node.args:
        name = part.args[0] if part.kind == "sym" else ""
        if re.fullmatch(r"[A-Zc](?:_.*)?", str(name)) and symbols(add(*(p for p in node.args if p != part))) - {name}:
            return add(*(p for p in node.args if p != part)), part
    return node, None


# -- names -----------------------------------------------------------------------------------------------------


def _function_arguments(first: Meaning, second: Meaning) -> tuple[Meaning, Meaning]:
    """f(x) = 2x and f(z) = 2z: the name of the argument is bound, and put the same."""
    sides = []
    for said in (first, second):
        label, value = said.label, said.value
        argument = _argument(label)
        if argument is not None:
            bound = Node("sym", ("argument",))
            value, label = replaced(value, argument, bound), replaced(label, argument, bound) if label else None
        sides.append(Meaning(value, label, said.parameters, said.condition))
    both = _argument(first.label) is not None and _argument(second.label) is not None
    return (sides[0], sides[1]) if both else (first, second)


def _argument(label: Node | None) -> Node | None:
    if label is None or len(label.args) != 2:
        return None
    name, argument = label.args
    if label.kind == "fn":
        return argument if argument.kind == "sym" else None
    applied = label.kind == "mul" and name.kind == argument.kind == "sym" and name.args[0].isupper()
    return argument if applied and argument.args[0].islower() else None


def _names_differ(one: Node | None, other: Node | None) -> bool:
    """Whether both sides say what their value is of, and it is not the same thing; y and f(x) may be."""
    if one is None or other is None or one == other:
        return False
    if {one.kind, other.kind} == {"sym", "fn"}:
        name, function = (one, other) if one.kind == "sym" else (other, one)
        return name.args[0] != "y" or len(function.args) != 2 or function.args[1].kind != "sym"
    return True


def _parameters(first: Meaning, second: Meaning, rules: Rules) -> tuple[Meaning, Meaning]:
    """Declared parameters ("for some integer t") get the names of the other side, where there are as many."""
    free = [symbols(said.value) for said in (first, second)]
    mine, theirs = sorted(free[0] - free[1]), sorted(free[1] - free[0])
    if not mine or len(mine) != len(theirs) or rules.policies.parameters in ("strict", "ask"):
        return first, second
    # "x where x" must not fit every letter: both sides declare theirs, and say more than its name.
    # Of a letter such as m, one side's word is enough.
    ours, other = _declared(first), _declared(second)
    declared = set(mine) <= ours | INTEGERS and set(theirs) <= other | INTEGERS
    declared = (
        declared
        and (set(mine) <= ours or set(theirs) <= other)
        and ((set(mine) <= ours and set(theirs) <= other) or None not in (first.label, second.label))
    )
    if not declared or "sym" in (first.value.kind, second.value.kind):
        return first, second
    value = first.value
    for old, new in zip(mine, theirs, strict=True):
        value = replaced(value, Node("sym", (old,)), Node("sym", (new,)))
    rules.used.add(f"parameters={rules.policies.parameters}")
    return Meaning(value, first.label, first.parameters, first.condition), second


def _declared(said: Meaning) -> frozenset[str]:
    """The letters that are parameters: those that the words declare, and those of a tuple about other
    letters, (x, y) = (1 + 2t, 3 - t)."""
    label, value = said.label, said.value
    if label is None or not label.kind == value.kind == "tuple" or all(part.kind == "sym" for part in value.args):
        return said.parameters
    return said.parameters | (symbols(value) - symbols(label))


def _other_names(first: Meaning, second: Meaning, rules: Rules) -> Answer | None:
    """Answers that are the same but for one letter each: integer multiples of pi, or any letter by policy."""
    one, other = first.value, second.value
    mine, theirs = symbols(one), symbols(other)
    constants = sorted(name for name in mine if re.fullmatch(r"[Cc]_[0-9]", name))
    if mine == theirs and 2 <= len(constants) <= 3 and one.kind == other.kind == "add":
        # C_1 sin x + C_2 cos x and C_1 cos x + C_2 sin x: which constant has which number says nothing.
        for order in permutations(constants):
            turned = one
            for k, name in enumerate(constants):
                turned = replaced(turned, Node("sym", (name,)), Node("sym", (f"constant{k}",)))
            for k, name in enumerate(order):
                turned = replaced(turned, Node("sym", (f"constant{k}",)), Node("sym", (name,)))
            if compare_values(turned, other, rules).same is True:
                return rules.decide("constant", {"named": True, "optional": True, "strict": False})
        return None
    if len(mine - theirs) != 1 or len(theirs - mine) != 1:
        return None
    old, new = next(iter(mine - theirs)), next(iter(theirs - mine))
    if "sym" in (one.kind, other.kind):  # a name alone is the whole answer, and no parameter of it
        return Answer(None, "letters that differ in case") if old.lower() == new.lower() else None
    constant = old.lower() == new.lower() and old.lower() in ("c", "k")
    whole = old in INTEGERS and new in INTEGERS and any(part == Node("sym", ("pi",)) for part in walk(one))
    swapped = replaced(one, Node("sym", (old,)), Node("sym", (new,)))
    try:
        same = _kinds(swapped, other, swapped, other, rules).same
    except Pending:  # what nobody could say at once is not the same
        same = None
    if same is not True:
        return None
    if constant:
        return rules.decide("constant", {"named": True, "optional": True, "strict": False})
    return rules.decide("parameters", {"stated": True if whole else None, "free": True, "strict": False})
