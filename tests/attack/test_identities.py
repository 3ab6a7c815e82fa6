"""Pairs that are equal by construction are never rejected, and pairs that nearly are never accepted.

Each generator writes one thing in two ways, and a third that is wrong by a little. Answers are judged in this process:
what agrees wherever it was tried, and is left for a worker to confirm, counts as not rejected.
"""

from __future__ import annotations

import itertools
import random
import re
from collections.abc import Callable, Iterator
from fractions import Fraction
from functools import cache
from math import comb, factorial
from typing import NamedTuple

import pytest

from stillroom.traces.answers.grade import judge
from stillroom.traces.answers.records import Policies, Reason

SEED = 20_261_130
EQUALITY = Policies(worked_out="any")
"""What is asked here is what is equal, not whether it is worked out."""


class Pair(NamedTuple):
    """One thing written in two ways, and what is nearly it."""

    one: str
    other: str
    wrong: str


Table = list[list[Fraction]]


def frac(value: Fraction | int) -> str:
    value = Fraction(value)
    if value.denominator == 1:
        return str(value)
    sign = "-" if value < 0 else ""
    return rf"{sign}\frac{{{abs(value.numerator)}}}{{{value.denominator}}}"


def written(table: Table) -> str:
    body = r"\\".join("&".join(map(frac, row)) for row in table)
    return rf"\begin{{pmatrix}}{body}\end{{pmatrix}}"


def product(one: Table, other: Table) -> Table:
    columns = list(zip(*other, strict=True))
    return [
        [sum((a * b for a, b in zip(row, column, strict=True)), Fraction(0)) for column in columns] for row in one
    ]


def entries(rng: random.Random, rows: int, columns: int) -> Table:
    return [[Fraction(rng.randint(-4, 4)) for _ in range(columns)] for _ in range(rows)]


def off_by_one(table: Table, rng: random.Random) -> Table:
    changed = [list(row) for row in table]
    changed[rng.randrange(len(table))][rng.randrange(len(table[0]))] += rng.choice((-1, 1))
    return changed


def trigonometry(rng: random.Random) -> Iterator[Pair]:
    """Values at multiples of pi that are zero, one, or a root."""
    zeros = [r"\sin\pi", r"\cos(\pi/2)", r"\sin(2\pi)", r"\cos\frac{3\pi}{2}", r"\tan\pi", r"\cot\frac{\pi}{2}",
             r"\sin 180^\circ", r"\cos 90^\circ", r"1+\cos\pi", r"\sin\frac{\pi}{4}-\cos\frac{\pi}{4}"]  # fmt: skip
    for k, zero in itertools.product(range(1, 4), zeros):
        number = rng.randint(1, 9)
        yield Pair("0", rf"{k}\left({zero}\right)", f"{number}+{zero}")
        yield Pair(str(number), f"{number}+{zero}", f"{number}+{zero}+10^{{-50}}")
    exact = {"6": r"\frac12", "4": r"\frac{\sqrt2}{2}", "3": r"\frac{\sqrt3}{2}",
             "12": r"\frac{\sqrt6-\sqrt2}{4}", "10": r"\frac{\sqrt5-1}{4}", "2": "1"}  # fmt: skip
    for part, value in exact.items():
        turns = rng.randint(1, 5)
        yield Pair(value, rf"\sin\frac{{\pi}}{{{part}}}", rf"\sin\frac{{\pi}}{{{part}}}+10^{{-30}}")
        yield Pair(value, rf"\sin(\frac{{\pi}}{{{part}}}+{2 * turns}\pi)", rf"\cos(\frac{{\pi}}{{{part}}})-{turns}")
        yield Pair(value, rf"\cos(\frac{{\pi}}{{2}}-\frac{{\pi}}{{{part}}})", rf"-\sin\frac{{\pi}}{{{part}}}")
    for p, q in ((1, 7), (2, 7), (3, 11), (5, 13), (4, 9)):
        angle = rf"\frac{{{p}\pi}}{{{q}}}"
        yield Pair("1", rf"\sin^2 {angle}+\cos^2 {angle}", rf"\sin^2 {angle}-\cos^2 {angle}")
        yield Pair("0", rf"\sin({angle}+\pi)+\sin({angle})", rf"\sin({angle}+\pi)-\sin({angle})")
        yield Pair("0", rf"\cos({angle}+x)+\cos({angle}+\pi+x)", rf"\cos({angle}+x)+\cos({angle}+x)")


def exponentials(rng: random.Random) -> Iterator[Pair]:
    """Powers of e, logarithms, and roots of unity."""
    yield Pair("0", r"e^{i\pi}+1", r"e^{i\pi}+2")
    yield Pair("-1", r"e^{i\pi}", r"e^{2i\pi}")
    yield Pair("0", r"(e^{i\pi}+1)^2", r"(e^{i\pi}-1)^2")
    yield Pair("0", r"x(e^{i\pi}+1)", r"x(e^{i\pi}+2)")
    yield Pair("i", r"\sqrt{e^{i\pi}}", r"-\sqrt{e^{i\pi}}")
    for n in range(2, 13):
        yield Pair("1", rf"(e^{{2\pi i/{n}}})^{{{n}}}", rf"(e^{{\pi i/{n}}})^{{{n}}}")
        yield Pair(
            rf"\cos\frac{{2\pi}}{{{n}}}+i\sin\frac{{2\pi}}{{{n}}}",
            rf"e^{{2\pi i/{n}}}",
            rf"e^{{-2\pi i/{n}}}" if n > 2 else "1",
        )
        yield Pair("0", "+".join(rf"e^{{2\pi i\cdot {k}/{n}}}" for k in range(n)),
                   "+".join(rf"e^{{2\pi i\cdot {k}/{n}}}" for k in range(n - 1)))  # fmt: skip
    for _ in range(40):
        a, b, c = rng.randint(2, 40), rng.randint(2, 40), rng.randint(2, 6)
        yield Pair(rf"\ln {a * b}", rf"\ln {a}+\ln {b}", rf"\ln {a}+\ln {b + 1}")
        yield Pair("0", rf"\ln {a * b}-\ln {a}-\ln {b}", rf"\ln {a * b}-\ln {a}-\ln {b + 1}")
        yield Pair(str(c), rf"\log_{{{a}}} {a**c}", rf"\log_{{{a}}} {a**c + 1}")
        yield Pair(str(a), rf"e^{{\ln {a}}}", rf"e^{{\ln {a}}}+e^{{-200}}")


def complexes(rng: random.Random) -> Iterator[Pair]:
    """Products and quotients of complex numbers."""

    def name(real: Fraction, imaginary: Fraction) -> str:
        return rf"{frac(real)}{'+' if imaginary >= 0 else '-'}{frac(abs(imaginary))}i"

    for _ in range(30):
        a, b, c, d = (Fraction(rng.choice([-5, -4, -3, -2, -1, 1, 2, 3, 4, 5])) for _ in range(4))
        there = name(a * c - b * d, a * d + b * c)
        yield Pair(there, rf"({name(a, b)})({name(c, d)})", rf"({name(a, b)})({name(c, d)})+i")
        norm = c * c + d * d
        there = name((a * c + b * d) / norm, (b * c - a * d) / norm)
        yield Pair(there, rf"\frac{{{name(a, b)}}}{{{name(c, d)}}}", rf"\frac{{{name(a, b)}}}{{{name(c, -d)}}}+1")
        yield Pair("0", rf"({name(a, b)})-({name(a, b)})", rf"({name(a, b)})-({name(a, -b)})")


def matrices(rng: random.Random) -> Iterator[Pair]:
    """Products, powers, transposes, inverses, sums, multiples, determinants and traces."""
    for rows, inner, columns in itertools.product((1, 2, 3), repeat=3):
        one, other = entries(rng, rows, inner), entries(rng, inner, columns)
        if (rows, columns) != (1, 1):
            there = product(one, other)
            text = written(one) + rng.choice(("", r"\cdot ")) + written(other)
            yield Pair(written(there), text, written(off_by_one(there, rng)))
        mark = rng.choice(("T", "{T}", r"\top", r"{\mathsf{T}}", r"{\mathrm{T}}", r"{\intercal}"))
        turned = [list(column) for column in zip(*one, strict=True)]
        if rows != 1 and inner != 1:
            yield Pair(written(turned), f"{written(one)}^{mark}", written(off_by_one(turned, rng)) + "^T")
    for side, power in itertools.product((2, 3), range(2, 8)):
        base = entries(rng, side, side)
        there = base
        for _ in range(power - 1):
            there = product(there, base)
        yield Pair(written(there), f"{written(base)}^{{{power}}}", written(off_by_one(there, rng)))
        yield Pair(
            written(there), written(base) * power, written(base) * (power + 1) + written(entries(rng, side, 2))
        )
    for _ in range(20):
        a, b, c, d = (Fraction(rng.randint(-5, 5)) for _ in range(4))
        base = [[a, b], [c, d]]
        determinant = a * d - b * c
        yield Pair(frac(determinant), rf"\det{written(base)}", rf"\det{written(base)}+1")
        yield Pair(frac(a + d), rf"\operatorname{{tr}}{written(base)}", frac(a + d + 1))
        if determinant:
            there = [[d / determinant, -b / determinant], [-c / determinant, a / determinant]]
            yield Pair(written(there), f"{written(base)}^{{-1}}", written(off_by_one(there, rng)))
            yield Pair(written([[Fraction(1), Fraction(0)], [Fraction(0), Fraction(1)]]),
                       f"{written(base)}{written(base)}^{{-1}}", written(base) * 2 + written([[a], [b]]))  # fmt: skip
        more = entries(rng, 2, 2)
        there = [
            [3 * x - 2 * y for x, y in zip(row, mate, strict=True)] for row, mate in zip(base, more, strict=True)
        ]
        yield Pair(written(there), f"3{written(base)}-2{written(more)}", written(off_by_one(there, rng)))


def vectors(rng: random.Random) -> Iterator[Pair]:
    """Sums and multiples of tuples."""

    def name(values: list[int]) -> str:
        return "(" + ",".join(map(str, values)) + ")"

    for length, _ in itertools.product((2, 3, 4), range(10)):
        one, other = ([rng.randint(-6, 6) for _ in range(length)] for _ in range(2))
        factor = rng.randint(2, 5)
        there = [a + factor * b for a, b in zip(one, other, strict=True)]
        wrong = [*there[:-1], there[-1] + 1]
        yield Pair(name(there), f"{name(one)}+{factor}{name(other)}", name(wrong))
        yield Pair(name(there), f"{name(one)}+{name(other)}" + f"+{name(other)}" * (factor - 1), name(wrong))
        yield Pair(
            name([factor * a for a in one]), rf"{factor}\cdot {name(one)}", name([factor * a + 1 for a in one])
        )
        yield Pair(name([-a for a in one]), f"-{name(one)}", name([1 - a for a in one]))
        angles = "(" + ",".join(rf"{a}+\sin\pi" for a in one) + ")"
        yield Pair(name(one), angles, name([a + 1 for a in one]))


def sets(rng: random.Random) -> Iterator[Pair]:
    """Sets in any order, unions, differences, and intervals with ends that are worked out."""

    def name(values: list[int]) -> str:
        return r"\{" + ",".join(map(str, values)) + r"\}"

    for size in range(2, 12):
        values = rng.sample(range(-20, 20), size)
        shuffled = rng.sample(values, size)
        cut = rng.randint(1, size - 1)
        yield Pair(name(values), name(shuffled), name([*shuffled[:-1], 99]))
        yield Pair(name(values), rf"{name(shuffled[:cut])}\cup {name(shuffled[cut:])}", name(shuffled[:-1]))
        yield Pair(name(values[:-1]), rf"{name(shuffled)}\setminus {name(values[-1:])}", name(values))
        yield Pair(name(values), r"\{" + ",".join(rf"{v}+\cos\frac{{\pi}}{{2}}" for v in shuffled) + r"\}",
                   r"\{" + ",".join(rf"{v}+\cos\pi" for v in [*shuffled[:-1], 99]) + r"\}")  # fmt: skip
        low, high = sorted(rng.sample(range(-9, 9), 2))
        yield Pair(rf"({low},{high}]", rf"({low}+\sin\pi,{high}]", rf"[{low}+\sin\pi,{high}]")
        yield Pair(rf"({low},{high})\cup({high},30)", rf"({low},30)\setminus\{{{high}\}}", rf"({low},30)")


def sums(rng: random.Random) -> Iterator[Pair]:
    """Finite sums and products, factorials and binomials."""
    for n in range(2, 26):
        yield Pair(str(n * (n + 1) // 2), rf"\sum_{{k=1}}^{{{n}}} k", rf"\sum_{{k=1}}^{{{n}}} k+1")
        yield Pair(str(factorial(n)), rf"\prod_{{k=1}}^{{{n}}} k", rf"\prod_{{k=2}}^{{{n + 1}}} k")
        yield Pair(
            "0",
            rf"\sum_{{k=1}}^{{{n}}} (-1)^k\binom{{{n}}}{{k}}+1",
            rf"\sum_{{k=1}}^{{{n}}} (-1)^k\binom{{{n}}}{{k}}",
        )
        k = rng.randint(0, n)
        yield Pair(str(comb(n, k)), rf"\frac{{{n}!}}{{{k}!\,{n - k}!}}", rf"\binom{{{n}}}{{{k}}}+1")
        yield Pair(rf"\binom{{{n}}}{{{k}}}", rf"\binom{{{n}}}{{{n - k}}}", rf"\binom{{{n + 1}}}{{{k + 1}}}+1")
        yield Pair(
            "0",
            rf"\sum_{{k=0}}^{{{n - 1}}}\cos\frac{{2\pi k}}{{{n}}}",
            rf"\sum_{{k=0}}^{{{n}}}\cos\frac{{2\pi k}}{{{n}}}",
        )


def steps(rng: random.Random) -> Iterator[Pair]:
    """Floors, ceilings, absolute values, largest and smallest, remainders."""
    for _ in range(20):
        n, m = rng.randint(2, 60), rng.randint(2, 9)
        yield Pair(str(n), rf"\lfloor\sqrt{{{n}}}^2\rfloor", rf"\lfloor\sqrt{{{n}}}^2\rfloor-1")
        yield Pair(
            str(n), rf"\lceil\sqrt{{{n}}}\cdot\sqrt{{{n}}}\rceil", rf"\lceil\sqrt{{{n}}}\cdot\sqrt{{{n}}}\rceil+1"
        )
        yield Pair(str(m), rf"\lfloor\log_{{{n}}}{n**m}\rfloor", rf"\lfloor\log_{{{n}}}{n**m}\rfloor-1")
        yield Pair(
            str(n % m), rf"{n}-{m}\lfloor\frac{{{n}}}{{{m}}}\rfloor", rf"{n}-{m}\lceil\frac{{{n}+1}}{{{m}}}\rceil"
        )
        yield Pair(rf"\sqrt{{{n}}}", rf"|-\sqrt{{{n}}}|", rf"-|\sqrt{{{n}}}|")
        yield Pair(str(n + m), rf"\max({n},{n}+{m}+\sin\pi)", rf"\min({n},{n}+{m}+\sin\pi)")
        yield Pair(str(n % m), rf"{n} \bmod {m}", rf"{n}+1 \bmod {m}")


def numbers(rng: random.Random) -> Iterator[Pair]:
    """Roots, nested radicals, and large terms that cancel."""
    for _ in range(25):
        a, b = rng.randint(2, 30), rng.randint(2, 30)
        yield Pair(rf"\sqrt{{{a * a * b}}}", rf"{a}\sqrt{{{b}}}", rf"{a}\sqrt{{{b}+1}}")
        yield Pair(
            rf"\sqrt{{{a}}}+\sqrt{{{b}}}",
            rf"\sqrt{{{a + b}+2\sqrt{{{a * b}}}}}",
            rf"\sqrt{{{a + b}+3\sqrt{{{a * b}}}}}",
        )
        yield Pair(
            "0", rf"\sqrt{{{a}}}\sqrt{{{b}}}-\sqrt{{{a * b}}}", rf"\sqrt{{{a}}}\sqrt{{{b}}}-\sqrt{{{a * b + 1}}}"
        )
        yield Pair("1", rf"(e^{{{a}}}+1)-e^{{{a}}}", rf"(e^{{{a}}}+1)-e^{{{a}}}+10^{{-99}}")
        yield Pair("0", rf"\sqrt[3]{{{a}}}^3-{a}", rf"\sqrt[3]{{{a}}}^2-{a}")


def unevaluated(rng: random.Random) -> Iterator[Pair]:
    """What is not worked out, or whose order is not known, in another way of writing it."""
    pieces = ["(a,b)", "[c,d]", r"(e_1,\infty)", r"\{f\}"]
    for order in itertools.permutations(pieces):
        yield Pair(r"\cup ".join(pieces), r"\cup ".join(order), r"\cup ".join(order[:3]))
    for _ in range(15):
        a, b, c, d = (rng.randint(1, 9) for _ in range(4))
        yield Pair(
            rf"\{{({a},{c}),({b + 9},{c})\}}", rf"\{{{a},{b + 9}\}}\times\{{{c}\}}", rf"\{{({a},{c}),({b},{c})\}}"
        )
        row, column = rf"\begin{{pmatrix}}{a}&{b}\end{{pmatrix}}", rf"\begin{{pmatrix}}{c}\\{d}\end{{pmatrix}}"
        yield Pair(str(a * c + b * d), row + column, f"{row}{column}+1")
        yield Pair(str(a * c + b * d), rf"({a},{b})\cdot({c},{d})", rf"({a},{b})\cdot({c},{d + 1})")
        yield Pair(rf"{a}-{b}i", rf"\overline{{{a}+{b}i}}", rf"\overline{{{a}-{b}i}}")
        yield Pair(rf"({a},{b})", rf"{a}\hat{{i}}+{b}\hat{{j}}", rf"{b + 1}\hat{{i}}+{a}\hat{{j}}")
        yield Pair(rf"({a},{b})", rf"{a}\mathbf{{i}}+{b}\mathbf{{j}}", rf"{b + 1}\mathbf{{i}}+{a}\mathbf{{j}}")
        yield Pair(str(a), rf"{a}\pm\sin\pi", rf"{a}\pm\cos\pi")
        yield Pair("2", rf"|\{{{a},{a + b}\}}|", rf"|\{{{a},{a + b},{a + b + c}\}}|+{d}")
        yield Pair(rf"\begin{{pmatrix}}{a}&0\\0&{a}\end{{pmatrix}}", f"{a}I", f"{a + 1}I_3")
        yield Pair(rf"x^2<{a}", rf"|x|<\sqrt{{{a}}}", rf"|x|>\sqrt{{{a}}}")
        yield Pair(frac(Fraction(1, a + 1)), rf"\int_0^1 x^{{{a}}}\,dx", rf"\int_0^1 x^{{{a}}}\,dx+1")


WITHIN = [r"\left(@\right)+7", r"3\left(@\right)", r"x+\left(@\right)", r"\left(@\right)x^2+1", r"(5,@)", r"(@,-2,y)", r"\{@,77\}",
          r"@,88", r"\begin{pmatrix}1&@\\2&3\end{pmatrix}", r"x=@", r"99+\left(@\right)i", r"\left(@\right)\text{ km}",
          r"[@,\infty)", r"x\le @", r"\frac{\left(@\right)+3}{2}", r"\begin{pmatrix}1\\@\end{pmatrix}+\begin{pmatrix}1\\2\end{pmatrix}",
          r"2(1,@)", r"e^{@}", r"(-\infty,@)\cup(10^{99},\infty)"]  # fmt: skip
"""Places for a real number."""


def nested(rng: random.Random) -> Iterator[Pair]:
    """Equal numbers in one place of something larger."""
    values = [
        pair
        for generator in (trigonometry, sums, steps, numbers)
        for pair in generator(rng)
        if not {"x", "bmod"} & set(re.findall("[a-z]+", "".join(pair)))
    ]
    for place in WITHIN:
        for pair in rng.sample(values, 12):
            yield Pair(*(place.replace("@", side) for side in pair))


GENERATORS: list[Callable[[random.Random], Iterator[Pair]]] = [
    trigonometry, exponentials, complexes, matrices, vectors, sets, sums, steps, numbers, unevaluated, nested,
]  # fmt: skip
PAIRS = {generator.__name__: list(dict.fromkeys(generator(random.Random(SEED)))) for generator in GENERATORS}


@cache
def verdicts(one: str, other: str) -> frozenset[Reason | None]:
    """Whichever side is the gold one."""
    return frozenset({judge(one, other, EQUALITY).reason, judge(other, one, EQUALITY).reason})


def test_there_are_many() -> None:
    assert sum(map(len, PAIRS.values())) >= 500


@pytest.mark.parametrize("kind", PAIRS)
def test_what_is_equal_is_never_rejected(kind: str) -> None:
    rejected = [pair for pair in PAIRS[kind] if Reason.DIFFERENT in verdicts(pair.one, pair.other)]
    assert rejected == []


@pytest.mark.parametrize("kind", PAIRS)
def test_what_is_nearly_equal_is_never_accepted(kind: str) -> None:
    accepted = [pair for pair in PAIRS[kind] if Reason.EQUAL in verdicts(pair.one, pair.wrong)]
    assert accepted == []


@pytest.mark.parametrize("kind", PAIRS)
def test_most_of_what_is_equal_is_decided_right(kind: str) -> None:
    decided = [pair for pair in PAIRS[kind] if verdicts(pair.one, pair.other) <= {Reason.EQUAL, None}]
    assert len(decided) >= DECIDED.get(kind, 0.95) * len(PAIRS[kind])


DECIDED = {"steps": 0.8, "unevaluated": 0.0}  # whether 17 mod 5 is a number or a class of them is not decided
