"""Whatever the text: the checker never raises, says something of its closed set, the same both ways round, within its
limits (a hang ends in the time-out of the test), and holds no way to run what it reads."""

from __future__ import annotations

import ast
import random
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import stillroom.traces.answers
from stillroom.common.records import State
from stillroom.traces.answers import AnswerChecker, Reason, state_of
from stillroom.traces.answers.grade import Ruling
from stillroom.traces.answers.grade import judge as judge_by
from stillroom.traces.answers.records import Policies

EQUALITY = Policies(worked_out="any")
"""These are laws of what is equal. What is worked out is asked of the answer alone, and differs by side."""


def judge(gold: str, answer: str) -> Ruling:
    return judge_by(gold, answer, EQUALITY)


Data = Callable[[str], list[dict[str, Any]]]
REASONS = frozenset(Reason) - {Reason.TRUNCATED}
FUZZ = settings(derandomize=True, max_examples=400, deadline=None)

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def strict() -> Iterator[AnswerChecker]:
    with AnswerChecker(workers=1, timeout_s=1) as made:
        yield made


def sound(checker: AnswerChecker, gold: str, answer: str) -> None:
    """The verdict is of the closed set, with the state that its reason means, and stays within the time limit twice
    (a look at many digits, then a proof)."""
    verdict = checker.check(gold, answer)
    assert verdict.reason in REASONS
    assert verdict.state is state_of(Reason(verdict.reason))
    assert verdict.seconds < 2 * checker.timeout_s + 5


# -- grammar -------------------------------------------------------------------------------------------------------------

LEAVES = st.sampled_from(
    ["0", "1", "2", "10", "3.14", "0.001", "1,234", "x", "y", "n", "k", "e", "i", "C", r"\pi", r"\infty", r"\theta", "AB", r"\text{km}", "5%", r"45^\circ", "11_2", r"\ldots",
     r"\mathbb{R}", r"\emptyset", "9999", "10^{9999}", "2^{-99}", "f(x)", "1:2", "½", "−3", r"\text{for all } n", "apples", "-", ""]
)  # fmt: skip
SHAPES: list[str] = [
    "({} + {})", "{} - {}", r"{} \cdot {}", r"\frac{{{}}}{{{}}}", "{}^{{{}}}", "{}/{}", "{}{}", "({}, {})", "[{}, {})", r"\{{{}, {}\}}", "{}, {}", "{} = {}", "{} < {}",
    r"{} \le {}", r"{} \in {}", r"{} \cup {}", r"{} \setminus {}", r"{} \pm {}", r"\binom{{{}}}{{{}}}", r"\{{{} | {}\}}", r"{} \pmod{{{}}}", "{} : {}", r"\sqrt[{}]{{{}}}",
    r"\log_{{{}}} {}", r"\begin{{pmatrix}} {} & {} \end{{pmatrix}}", r"\begin{{pmatrix}} {} \\ {} \end{{pmatrix}}", r"{} \text{{ or }} {}", r"{} \text{{ and }} {}", "{} for {}",
    r"{} \approx {}", r"\sum_{{k=1}}^{{{}}} {}", r"\prod_{{k=1}}^{{{}}} {}", r"\max({}, {})", r"\gcd({}, {})", "{}_{{{}}}", r"\int_{{{}}}^{{1}} {}", r"\lim_{{x \to {}}} {}",
]  # fmt: skip
SINGLE: list[str] = [
    "({})", "-{}", r"\sqrt{{{}}}", "{}!", "|{}|", r"\left({}\right)", r"\sin {}", r"\cos({})", r"\tan^2 {}", r"\ln {}", r"e^{{{}}}", r"\arcsin({})", r"\lfloor {} \rfloor", r"\boxed{{{}}}", "${}$",
    r"\text{{{}}}", "{}%", r"{}\%", r"{}^\circ", r"\overline{{{}}}", r"\pm {}", r"{}\text{{ km}}", r"\${}", "x = {}", r"\vec{{{}}}", r"\mathrm{{{}}}", "f({})", "{}'", "{}^2", "1/{}",
    r"\Gamma({})", "{}.", r"\cot^{{-1}}({})", "{},", r"\displaystyle {}",
]  # fmt: skip
FORMULAS = st.recursive(
    LEAVES,
    lambda inner: (
        st.builds(lambda shape, a, b: shape.format(a, b), st.sampled_from(SHAPES), inner, inner)
        | st.builds(lambda shape, a: shape.format(a), st.sampled_from(SINGLE), inner)
    ),
    max_leaves=10,
)
PIECES = st.sampled_from(
    [*r"0123456789xyznABC+-*/^_(){}[]|,;:=<>!'&%$.~\ ", r"\frac", r"\sqrt", r"\boxed{", r"\left", r"\right", r"\{", r"\}", r"\\", r"\text{", r"\begin{pmatrix}", r"\end{pmatrix}", r"\begin{cases}",
     r"\end{cases}", r"\pmod", r"\overline", r"\sum", r"\infty", r"\cup", r"\in", r"\mathrm{", r"\limits", r"\over", r"\choose", r"\middle|", r"\unknown", "####", "answer is ", " and ", " or ", " for ", " where ",
     "\n", "<think>", "</think>", "π", "√", "²", "½", "∞", "∪", "\u200b", "\u202e", "\f", "１", "漢", "𝟙", "é"]
)  # fmt: skip


@FUZZ
@given(gold=FORMULAS, answer=FORMULAS)
def test_any_two_formulas(strict: AnswerChecker, gold: str, answer: str) -> None:
    sound(strict, gold, answer)


@FUZZ
@given(text=FORMULAS)
def test_any_formula_against_itself_is_never_different(strict: AnswerChecker, text: str) -> None:
    assert strict.check(text, text).reason != Reason.DIFFERENT


@FUZZ
@given(one=FORMULAS, other=FORMULAS)
def test_any_two_formulas_both_ways_round(one: str, other: str) -> None:
    there, back = judge(one, other).reason, judge(other, one).reason
    unread = {Reason.UNPARSED_GOLD, Reason.UNPARSED_ANSWER, Reason.NO_ANSWER, Reason.OVER_LIMIT}
    assert there is back or (there in unread and back in unread)


@FUZZ
@given(gold=FORMULAS, pieces=st.lists(PIECES, max_size=40))
def test_any_row_of_pieces(strict: AnswerChecker, gold: str, pieces: list[str]) -> None:
    sound(strict, gold, "".join(pieces))
    sound(strict, "".join(pieces), gold)


@FUZZ
@given(gold=st.text(max_size=80), answer=st.text(max_size=80))
def test_any_text(strict: AnswerChecker, gold: str, answer: str) -> None:
    sound(strict, gold, answer)


@FUZZ
@given(raw=st.binary(max_size=120), encoding=st.sampled_from(["latin-1", "utf-16-le", "utf-8"]))
def test_any_bytes(strict: AnswerChecker, raw: bytes, encoding: str) -> None:
    text = raw.decode(encoding, errors="surrogateescape" if encoding == "utf-8" else "replace")
    sound(strict, "5", text)
    sound(strict, text, "5")
    sound(strict, "5", rf"\boxed{{{text}}}")


# -- damaged answers -------------------------------------------------------------------------------------------------------


def test_a_math_gold_that_is_cut_off_is_not_accepted_for_the_whole(strict: AnswerChecker, data: Data) -> None:
    chance = random.Random(7)
    wrong = []
    for row in data("math500/math500_dev.jsonl"):
        gold = row["answer"]
        cut = gold[: chance.randrange(len(gold))].strip()
        verdict = strict.check(gold, rf"\boxed{{{cut}}}")
        assert verdict.reason in REASONS
        if verdict.state is State.ACCEPTED:
            wrong.append((gold, cut))
    # What is cut off may carry nothing: a closing brace, a unit, the zeros of a decimal.
    assert [pair for pair in wrong if not harmless(*pair)] == []


def harmless(gold: str, cut: str) -> bool:
    """Whether only a unit, a degree sign, closing brackets or spaces are gone."""
    lost = gold[len(cut) :].strip()
    return not any(char.isdigit() for char in lost) and (
        "\\text" in gold or "\\circ" in gold or "\\%" in gold or "mbox" in gold or not any(map(str.isalnum, lost))
    )


def test_a_damaged_solution_is_never_an_error(strict: AnswerChecker, data: Data) -> None:
    chance = random.Random(11)
    for row in data("math500/math500_dev.jsonl")[:150]:
        text = row["solution"]
        place = chance.randrange(len(text))
        for damaged in (
            text[:place],
            text[place:],
            text[:place] + chance.choice("{}\\$^_&%\x00") + text[place:],
            text.replace("{", "", 1),
            text.replace("}", "", 1),
        ):
            sound(strict, row["answer"], damaged)


@pytest.mark.parametrize(
    "text",
    ["{" * 4_000, "}" * 4_000, "(" * 39 + "1" + ")" * 39, "^" * 4_000, "_" * 4_000, "\\" * 4_000, "$" * 4_001, "-" * 4_000 + "1", "1," * 2_000, "x" * 4_000, r"\frac" * 800, r"\sqrt" * 800 + "2",
     "1+" * 2_000 + "1", r"x\cdot" * 680 + "x", r"\pm1" * 900, r"\pm1," * 700, "(1,2)," * 600, r"\cup(1,2)" * 400, r"(0,1)\setminus\{0.5\}" * 190, "|" * 4_000, "|x" * 2_000, "!" * 4_000, "5" + "!" * 4_000, "'" * 4_000,
     "%" * 4_000, "a=" * 2_000 + "1", "a<" * 2_000 + "1", ":" * 4_000, "1:" * 2_000 + "1", r"\text{a}" * 500, "and " * 1_000, "for " * 1_000, "𝟙" * 4_000, "½" * 4_000, "²" * 4_000, "\u200b" * 4_000 + "5",
     r"\begin{pmatrix}" * 200, r"\begin{pmatrix}" + "1&" * 1_900 + r"1\end{pmatrix}", r"\sum_{k=1}^{2000}" * 20 + "k", r"\sum_{k=1}^{2000} k!", r"\sin" * 900 + "x", r"\binom{3000}{1500}^{9999}", "(9999!)^{9999}",
     r"(x+y+z)^{9999}", "x^{9999}-x^{9998}", r"\prod_{k=1}^{1999} \sin(k)", r"\sqrt{" * 39 + "x" + "}" * 39, r"(\sqrt2+\sqrt3)^{9999}", "0.(3)" * 500, "e^{e^{9999}}", r"\ln" * 1_000 + "2", r"\arcsin" * 500 + "2"],
    ids=lambda text: f"{text[:16]}… ({len(text)})",
)  # fmt: skip
def test_long_rows_of_one_thing(strict: AnswerChecker, text: str) -> None:
    for gold in ("5", r"\sin x + 1", "1, 2", "(1, 2)"):
        sound(strict, gold, rf"\boxed{{{text}}}")
        sound(strict, text, gold)
    assert strict.check(text, text).reason != Reason.DIFFERENT


@pytest.mark.timeout(15)
@pytest.mark.parametrize(
    "text",
    [
        r"42+\frac{1}{(999+\pi)!}",
        r"42+\frac{1}{\Gamma(2000+\pi)}",
        r"42+\frac{1}{(99+\pi)!}",
        r"42+\binom{999+\pi}{499+e}^{-1}",
        "42+10^{-9999}",
        r"42+e^{-9999\pi}",
        r"42+10^{-9999}\sin x",
        r"42+10^{-9999}\Gamma(x)",
        r"42+10^{-9999}\prod_{k=1}^{1900}\sin k",
        r"42+e^{-9999}\sum_{k=1}^{1900}\frac{1}{k!}",
        r"42+x^{9999}e^{-9999}",
        r"42+\frac{1}{2999!}",
        r"42+2^{-9999}\arctan x",
        r"42\cdot\frac{\sin x+10^{-300}}{\sin x}",
    ],
)
def test_what_is_very_close_to_the_gold_is_not_accepted_and_ends(strict: AnswerChecker, text: str) -> None:
    sound(strict, "42", text)
    assert strict.check("42", text).state is not State.ACCEPTED


# -- no way to run anything ------------------------------------------------------------------------------------------------

SOURCES = sorted(Path(stillroom.traces.answers.__file__).parent.rglob("*.py"))
FORBIDDEN = frozenset(
    {
        "eval",
        "exec",
        "compile",
        "sympify",
        "parse_expr",
        "parse_latex",
        "lambdify",
        "literal_eval",
        "S",
        "__import__",
        "nsimplify",
        "srepr",
        "loads",
    }
)
"""Names that run or parse text as code; `json.loads` apart."""


def names_called(tree: ast.AST) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = node.func
            if isinstance(called, ast.Name):
                yield called.id, node.lineno
            elif isinstance(called, ast.Attribute) and not (
                called.attr in ("loads", "compile")
                and isinstance(called.value, ast.Name)
                and called.value.id in ("json", "re")
            ):
                yield called.attr, node.lineno
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield alias.name, node.lineno


def test_there_are_sources_to_look_at() -> None:
    assert {"parser.py", "lexer.py", "worker.py", "grade.py", "disagreements.py"} <= {path.name for path in SOURCES}


def test_only_the_comparison_itself_imports_what_drives_math_verify() -> None:
    others = [path for path in SOURCES if path.parent.name != "math_verify"]
    assert [path.name for path in others if "answers.math_verify" in path.read_text(encoding="utf-8")] == []


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_no_source_runs_or_sympifies_text(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert [(name, line) for name, line in names_called(tree) if name in FORBIDDEN] == []


@pytest.mark.parametrize(
    "code",
    [
        "eval('1')",
        "exec(x)",
        "sympy.sympify(x)",
        "from sympy import sympify",
        "parse_expr(x)",
        "pickle.loads(x)",
        "__import__('os')",
        "compile(x, '', 'eval')",
        "sympy.S(x)",
    ],
)
def test_the_look_at_the_sources_would_see_it(code: str) -> None:
    assert any(name in FORBIDDEN for name, _ in names_called(ast.parse(code)))


def test_only_known_names_are_taken_from_sympy_by_an_answer(strict: AnswerChecker) -> None:
    """A function's name in an answer is never looked up in a module: only those of a table are."""
    for name in ("__class__", "os.system", "sympify", "Lambda", "eval", "preview"):
        verdict = strict.check(rf"\operatorname{{{name}}}(x) + \sin^2 x", rf"\sin^2 x + \operatorname{{{name}}}(x)")
        assert verdict.reason in REASONS
        assert strict.check(rf"\operatorname{{{name}}}(2)", "2").state is not State.ACCEPTED
