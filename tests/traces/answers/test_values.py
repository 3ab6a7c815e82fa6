from __future__ import annotations

from typing import Any

import pytest

from stillroom.traces.answers.numeric import agree_deeply, context, points
from stillroom.traces.answers.parser import read
from stillroom.traces.answers.records import Policies
from stillroom.traces.answers.tree import Node
from stillroom.traces.answers.values import Answer, Pending, Rules, compare_values


def both(one: str, other: str, **policies: str) -> Answer:
    """What is said of two formulas; the same must be said of them the other way round."""
    first = compare_values(read(one), read(other), Rules(Policies.of(policies)))
    second = compare_values(read(other), read(one), Rules(Policies.of(policies)))
    assert first == second
    return first


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1/2", "0.5"),
        ("1/2", "0.50"),
        ("1.0", "1"),
        ("-0", "0"),
        ("0.0", "0"),
        ("1e3", "1000"),
        (r"1.2\times10^{3}", "1200"),
        ("2 1/2", "2.5"),
        (r"0.1\overline{6}", "1/6"),
        (r"0.\overline{3}", "1/3"),
        ("2^{100}", "1267650600228229401496703205376"),
        (r"\sqrt{8}", r"2\sqrt2"),
        (r"\sqrt{2+\sqrt3}", r"\frac{\sqrt6+\sqrt2}{2}"),
        (r"\sqrt[3]{2+\sqrt5}+\sqrt[3]{2-\sqrt5}", "1"),
        (r"\sin\frac{\pi}{6}", r"\frac12"),
        (r"\cos\frac{\pi}{5}", r"\frac{1+\sqrt5}{4}"),
        (r"\arctan 1", r"\frac{\pi}{4}"),
        (r"e^{i\pi}", "-1"),
        (r"e^{\ln 2}", "2"),
        (r"\log_{10} 1000", "3"),
        ("(x+1)^{10}", "(1+x)^{10}"),
        ("(x+y)(x-y)", "x^2-y^2"),
        (r"\sin 2x", r"2\sin x\cos x"),
        (r"\cos 2x", r"1-2\sin^2 x"),
        (r"\tan(x/2)", r"\frac{1-\cos x}{\sin x}"),
        (r"\ln(xy)", r"\ln x+\ln y"),
        (r"\ln(x^2)", r"2\ln|x|"),
        (r"\sqrt{xy}", r"\sqrt x\sqrt y"),
        (r"\cosh x", r"\frac{e^x+e^{-x}}{2}"),
        (r"\binom{n}{2}", r"\frac{n(n-1)}{2}"),
        (r"\frac{(n+1)!}{n!}", "n+1"),
        (r"\binom{n}{k}", r"\frac{n!}{k!(n-k)!}"),
        (r"\sum_{k=1}^{10} k", "55"),
        ("|{-x}|", "|x|"),
        (r"\sqrt{x^2}", "|x|"),
        ("(-1)^{n+2}", "(-1)^n"),
        (r"x^{\frac12}", r"\sqrt x"),
        ("a^{b+c}", "a^b a^c"),
    ],
)
def test_the_same(one: str, other: str) -> None:
    assert both(one, other).same is True


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1/2", "1/3"),
        ("0.5", "0.56"),
        ("0.0000001", "0.0000002"),
        ("1000000", "1000001"),
        ("2^{100}", "2^{100}+1"),
        ("2^{-99}", "2^{-98}"),
        (r"\frac{1}{2004!}", r"\frac{1}{2006!}"),
        (r"\frac{1}{10^{20}}", "0"),
        ("10^{-30}", "10^{-31}"),
        (r"\sqrt2", r"\sqrt3"),
        (r"\sqrt2", r"\frac{577}{408}"),
        (r"\pi", r"\frac{355}{113}"),
        (r"\pi", r"\frac{22}{7}"),
        (r"e^{\pi\sqrt{163}}", "262537412640768744"),
        (r"\sin 1", r"\sin 1+10^{-100}"),
        ("x", "x+10^{-100}"),
        (r"\sin x", r"\sin x+10^{-50}"),
        ("x", "y"),
        ("x", "-x"),
        ("x^2", "x"),
        ("(x+1)^2", "x^2+1"),
        (r"\sqrt{x^2}", "x"),
        (r"\sin x", r"\cos x"),
        (r"\sin 2x", r"2\sin x"),
        (r"\ln(x+y)", r"\ln x+\ln y"),
        (r"\sqrt{x+y}", r"\sqrt x+\sqrt y"),
        ("n!", "(n+1)!"),
        (r"\binom{n}{2}", r"\binom{n}{3}"),
        ("(-1)^n", "(-1)^{n+1}"),
        ("i", "-i"),
        ("2+3i", "2-3i"),
        ("2+3i", "2"),
        (r"\arctan x", r"\arctan(-x)"),
        ("|x|", "x"),
        ("(-1)^n", "1"),
        (r"\sin(n\pi)", "1"),
        (r"\lfloor x \rfloor", "x"),
    ],
)
def test_different(one: str, other: str) -> None:
    assert both(one, other).same is False


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (r"\frac13", "0.333", True),
        (r"\frac13", "0.3333", True),
        (r"\frac13", "0.33", None),
        (r"\frac13", "0.334", False),
        (r"\frac13", "0.332", False),
        (r"\frac23", "0.667", True),
        (r"\frac23", "0.666", False),
        (r"\frac{1}{8}", "0.13", None),
        (r"\frac{1}{8}", "0.12", None),
        (r"\pi", "3.14", True),
        (r"\pi", "3.15", False),
        (r"100\pi", "314", False),
        (r"100\pi", "314.2", True),
        (r"\sqrt2", "1.41", True),
        (r"\sqrt2", "1.42", False),
        (r"-\sqrt2", "1.41", False),
        (r"\sqrt2", "1.4142135623730951", True),
        ("0.333", "0.3333", True),
        ("0.333", "0.334", False),
        ("0.10", "0.1", True),
        ("0.0001", "0", False),
        ("12.00", "12.004", True),
        ("12", "12.004", False),
        ("12.004", "12", False),
        (r"\frac{1}{3000}", r"3.33\times10^{-4}", True),
        (r"\frac{1}{3000}", r"3.34\times10^{-4}", False),
        ("0.5", "0.51", None),
        ("1.00e-9", "1.001e-9", True),
        ("1e-9", "1.001e-9", None),
        ("1e-9", "2e-9", False),
    ],
)
def test_a_decimal_is_what_rounds_to_it(one: str, other: str, same: bool | None) -> None:
    assert both(one, other).same is same


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("0.333x", r"\frac{x}{3}"),
        ("0.33x", r"\frac{x}{3}"),
        ("3.14r^2", r"\pi r^2"),
        ("...", "1"),
        (r"\int_0^1 x", r"\frac12"),
        (r"\sum_{k=1}^{\infty} 2^{-k}", "1"),
        ("f(1)", "2"),
        (r"\sin(10^{9})", "0.545843"),
    ],
)
def test_what_cannot_be_told_is_unknown_with_its_reason(one: str, other: str) -> None:
    answer = both(one, other)
    assert answer.same is None
    assert answer.why


@pytest.mark.parametrize(
    "text", ["...", r"\int_0^1 x", "f(1)", r"\frac10", "0^{-1}", r"\infty", "x!", r"\sum_{k=1}^{\infty} 2^{-k}"]
)
def test_what_is_written_alike_is_the_same(text: str) -> None:
    assert both(text, text).same is True


@pytest.mark.parametrize(
    ("one", "other"),
    [("9999!", r"2\cdot 9999!"), (r"(2^{9999})^{9999}", "1"), ("10^{99999}", "10^{99999}+1")],
)
def test_numbers_that_are_too_large_are_over_the_limit(one: str, other: str) -> None:
    with pytest.raises(OverflowError, match=r"large|bits|limit"):
        both(one, other)


def test_large_numbers_within_the_limit_are_worked_out() -> None:
    assert both("10^{9999}", r"10^{9998}\cdot 10").same is True
    assert both("10^{9999}", "10^{9998}").same is False


def test_a_pair_may_only_take_so_much_work() -> None:
    rules = Rules()

    def compare_often() -> None:
        for _ in range(1_000):
            compare_values(read(r"\sin x + \cos y"), read(r"\sin y + \cos x"), rules)

    with pytest.raises(OverflowError, match="too many parts"):
        compare_often()


# -- confirming ------------------------------------------------------------------------------------------------------


SAME_EVERYWHERE = read(r"\cos 3x"), read(r"4\cos^3 x-3\cos x")


@pytest.mark.parametrize(("said", "same"), [(True, True), (False, False), (None, True)])
def test_what_agrees_wherever_tried_is_put_to_the_one_who_confirms(said: bool | None, same: bool) -> None:
    asked: list[tuple[Node, Node]] = []

    def confirm(one: Node, other: Node) -> bool | None:
        asked.append((one, other))
        return said

    assert compare_values(*SAME_EVERYWHERE, Rules(confirm=confirm)).same is same
    assert len(asked) == 1


def test_without_one_who_confirms_it_is_pending() -> None:
    with pytest.raises(Pending):
        compare_values(*SAME_EVERYWHERE, Rules(confirm=None))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1/2", "0.5"),
        (r"\sqrt8", r"2\sqrt2"),
        ("(x+1)^2", "x^2+2x+1"),
        ("1", "2"),
        (r"\sin x", r"\cos x"),
        (r"\sin x", r"\sin x+1"),
        (r"\pi", "3.14"),
    ],
)
def test_nobody_is_asked_where_it_can_be_seen(one: str, other: str) -> None:
    def confirm(one: Node, other: Node) -> bool | None:
        raise AssertionError("asked")

    assert compare_values(read(one), read(other), Rules(confirm=confirm)).same is not None


def test_a_deep_look_sees_what_is_very_small() -> None:
    assert agree_deeply(read(r"\sin x"), read(r"\sin x + 10^{-9999}")) is False
    assert agree_deeply(read(r"\cos 2x"), read(r"2\cos^2 x-1")) is True


# -- points ----------------------------------------------------------------------------------------------------------


def test_points_are_the_same_at_every_call() -> None:
    names = ["x", "y"]
    assert list(points(names, whole=False)) == list(points(names, whole=False))


def test_points_differ_by_variable_and_visit_both_signs_and_above_one() -> None:
    found: list[dict[str, Any]] = list(points(["x", "y"], whole=False))
    assert all(point["x"] != point["y"] for point in found)
    for name in ("x", "y"):
        values = [point[name] for point in found]
        assert any(0 < value < 1 for value in values)
        assert any(value > 1 for value in values)
        assert any(value < 0 for value in values)


def test_whole_points_are_whole_and_let_n_be_over_k() -> None:
    for point in points(["k", "n"], whole=True):
        assert all(isinstance(value, int) and value > 0 for value in point.values())
        assert point["n"] >= point["k"]


def test_the_precision_of_the_thread_is_put_back() -> None:
    before = context().dps
    compare_values(*SAME_EVERYWHERE, Rules())
    agree_deeply(*SAME_EVERYWHERE)
    assert context().dps == before
