from __future__ import annotations

import dataclasses

import pytest

from stillroom.errors import InputError
from stillroom.traces.answers.grade import Ruling, judge
from stillroom.traces.answers.records import Policies, Reason, choices

EQUAL, DIFFERENT, OPEN = Reason.EQUAL, Reason.DIFFERENT, Reason.NEEDS_POLICY
UNDONE = Reason.NOT_WORKED_OUT
COLUMN = r"\begin{pmatrix}1\\2\end{pmatrix}"

CASES: list[tuple[str, str, str, dict[str, Reason]]] = [
    ("percent", "10%", "0.1", {"value": EQUAL, "bare": EQUAL, "strict": DIFFERENT, "ask": OPEN}),
    ("percent", "10%", "10", {"value": OPEN, "bare": EQUAL, "strict": DIFFERENT, "ask": OPEN}),
    ("percent", r"\frac{1}{10}", "10%", {"value": EQUAL, "bare": EQUAL, "strict": DIFFERENT, "ask": OPEN}),
    ("percent", r"\frac13", r"33\frac13\%", {"value": EQUAL, "bare": EQUAL, "strict": DIFFERENT, "ask": OPEN}),
    ("degrees", "45°", "45", {"drop": EQUAL, "value": DIFFERENT, "strict": DIFFERENT, "ask": OPEN}),
    ("degrees", r"\frac{\pi}{6}", "30°", {"drop": EQUAL, "value": EQUAL, "strict": DIFFERENT, "ask": OPEN}),
    ("rounding", r"\frac13", "0.333", {"significant": EQUAL, "tolerant": EQUAL, "never": DIFFERENT, "ask": OPEN}),
    ("rounding", r"\frac13", "0.33", {"significant": OPEN, "tolerant": EQUAL, "never": DIFFERENT, "ask": OPEN}),
    ("rounding", r"\frac13", "0.3", {"significant": OPEN, "tolerant": OPEN, "never": DIFFERENT, "ask": OPEN}),
    ("rounding", r"\pi", "3.14", {"significant": EQUAL, "tolerant": EQUAL, "never": DIFFERENT, "ask": OPEN}),
    ("list_order", "1, 2", "2, 1", {"any": EQUAL, "given": DIFFERENT, "ask": OPEN}),
    ("list_order", "x, 2", "2, x", {"any": EQUAL, "given": DIFFERENT, "ask": OPEN}),
    ("tuples", "1, 2", "(1, 2)", {"ordered": EQUAL, "distinct": DIFFERENT, "ask": OPEN}),
    ("vectors", COLUMN, "(1, 2)", {"tuple": EQUAL, "distinct": DIFFERENT, "ask": OPEN}),
    ("interval_ends", "(0, 1]", "[0, 1)", {"strict": DIFFERENT, "loose": EQUAL, "ask": OPEN}),
    ("interval_ends", "x < 3", r"x \le 3", {"strict": DIFFERENT, "loose": EQUAL, "ask": OPEN}),
    ("inequalities", "x < 3", r"(-\infty, 3)", {"interval": EQUAL, "distinct": DIFFERENT, "ask": OPEN}),
    ("constant", "x^2 + C", "x^2 + K", {"named": EQUAL, "optional": EQUAL, "strict": OPEN, "ask": OPEN}),
    ("constant", "x^2 + C", "x^2", {"named": OPEN, "optional": EQUAL, "strict": DIFFERENT, "ask": OPEN}),
    ("lowest_terms", r"\frac{1}{2}", r"\frac{2}{4}", {"any": EQUAL, "required": DIFFERENT, "ask": OPEN}),
    ("units", "3 km", "3", {"optional": EQUAL, "required": DIFFERENT, "ask": OPEN}),
    ("units", r"\$3", "3", {"optional": EQUAL, "required": DIFFERENT, "ask": OPEN}),
    ("bases", "11_2", "3", {"strict": DIFFERENT, "value": EQUAL, "ask": OPEN}),
    ("bases", "11_2", "10_3", {"strict": DIFFERENT, "value": EQUAL, "ask": OPEN}),
    ("ratios", "5:8", "5/8", {"value": EQUAL, "strict": DIFFERENT, "ask": OPEN}),
    ("parameters", r"k\pi", r"n\pi", {"stated": EQUAL, "free": EQUAL, "strict": DIFFERENT, "ask": OPEN}),
    ("parameters", "2t + 1", "2s + 1", {"stated": OPEN, "free": EQUAL, "strict": DIFFERENT, "ask": OPEN}),
    (
        "parameters",
        "2t + 1 for some integer t",
        "2s + 1 for some integer s",
        {"stated": EQUAL, "free": EQUAL, "strict": DIFFERENT, "ask": OPEN},
    ),
    ("rounding", "1234567", "1.23e6", {"significant": OPEN, "tolerant": EQUAL, "never": DIFFERENT, "ask": OPEN}),
    ("chains", "18", "x = 19 = 18", {"agree": OPEN, "last": EQUAL}),
    ("chains", "18", r"18 \approx 19", {"agree": OPEN, "last": EQUAL}),
    ("decimal_comma", "1.22", "1,22", {"either": EQUAL, "list": DIFFERENT, "ask": OPEN, "always": EQUAL}),
]
WORKED_OUT: list[tuple[str, str, dict[str, Reason]]] = [
    ("126", "43 + 83", {"required": UNDONE, "any": EQUAL, "ask": OPEN}),
    ("2", "x + 3 = 5", {"required": UNDONE, "any": EQUAL, "ask": OPEN}),
    (r"(-\infty, 2)", "x + 3 < 5", {"required": UNDONE, "any": EQUAL, "ask": OPEN}),
    ("25", "5^2", {"required": UNDONE, "any": EQUAL, "ask": OPEN}),
]
"""The one policy that looks at the answer alone."""
EACH = [
    pytest.param(policy, value, one, other, reason, id=f"{policy}={value}: {one} / {other}")
    for policy, one, other, said in CASES
    for value, reason in said.items()
]


def ruled(gold: str, answer: str, **policies: str) -> Ruling:
    return judge(gold, answer, Policies.of(policies))


@pytest.mark.parametrize(("policy", "value", "one", "other", "reason"), EACH)
def test_a_policy_decides_and_is_named(policy: str, value: str, one: str, other: str, reason: Reason) -> None:
    for gold, answer in ((one, other), (other, one)):
        ruling = ruled(gold, answer, **{policy: value})
        assert ruling.reason is reason
        assert f"policy {policy}={value}" in ruling.detail


@pytest.mark.parametrize(("gold", "answer", "said"), WORKED_OUT)
def test_what_is_not_worked_out_is_an_answer_by_policy(gold: str, answer: str, said: dict[str, Reason]) -> None:
    for value, reason in said.items():
        ruling = ruled(gold, answer, worked_out=value)
        assert ruling.reason is reason
        assert ("policy worked_out=" in ruling.detail) is (value != "any")
    assert ruled(answer, answer).reason is EQUAL


def test_every_policy_is_tried_with_each_of_its_values() -> None:
    tried = {(policy, value) for policy, _, _, said in CASES for value in said} | {
        ("unmarked", "line"),
        ("unmarked", "last"),
        *(("worked_out", value) for _, _, said in WORKED_OUT for value in said),
    }
    assert tried == {(name, value) for name, values in choices().items() for value in values}


@pytest.mark.parametrize(("policy", "one", "other", "said"), CASES)
def test_the_default_is_one_of_the_values(policy: str, one: str, other: str, said: dict[str, Reason]) -> None:
    default = getattr(Policies(), policy)
    assert default in said
    assert judge(one, other).reason is said[default]


@pytest.mark.parametrize(
    ("one", "other", "reason"),
    [("1, 2", "1, 2", EQUAL), ("10%", "10%", EQUAL), ("45°", "45°", EQUAL), ("3 km", "3 km", EQUAL), ("(0, 1]", "(0, 1]", EQUAL), ("x < 3", "3 > x", EQUAL), ("1, 2", "1, 3", DIFFERENT),
     ("11_2", "11_2", EQUAL), ("5:8", "10:16", EQUAL), ("3 km", "3 cm", DIFFERENT), ("10%", "11%", DIFFERENT), ("1/2", "0.5", EQUAL), ("x^2 + C", "x^2 + C", EQUAL), ("0.5", "0.50", EQUAL)],
)  # fmt: skip
@pytest.mark.parametrize("value", ["default", "ask"])
def test_no_policy_is_asked_where_there_is_nothing_to_decide(
    one: str, other: str, reason: Reason, value: str
) -> None:
    asking = {name: "ask" for name, values in choices().items() if "ask" in values} if value == "ask" else {}
    ruling = ruled(one, other, **asking)
    assert ruling.reason is reason
    assert ruling.policies == ()


def test_several_policies_that_decide_are_all_named() -> None:
    detail = judge("45°, 3 km", "3, 45").detail
    assert "policy degrees=drop" in detail
    assert "policy units=optional" in detail


def test_interval_ends_decide_on_the_pair_of_their_own_description() -> None:
    """(0,1) against [0,1], though each may be a pair."""
    assert ruled("(0, 1)", "[0, 1]", interval_ends="loose").reason is EQUAL


@pytest.mark.parametrize(
    ("text", "value", "reason"),
    [
        ("We add 3 and 9.\nThat makes 12 in all.", "line", Reason.NO_ANSWER),
        ("We add 3 and 9.\nThat makes 12 in all.", "last", EQUAL),
        ("12", "line", EQUAL),
        ("12", "last", EQUAL),
        (r"We add 3 and 9.\nThat makes \boxed{12}.", "line", EQUAL),
    ],
)
def test_what_is_unmarked_is_taken_by_policy(text: str, value: str, reason: Reason) -> None:
    assert ruled("12", text, unmarked=value).reason is reason


def test_taking_the_last_formula_is_named() -> None:
    assert "policy unmarked=last" in ruled("12", "We add 3 and 9.\nThat makes 12 in all.", unmarked="last").detail


def test_an_unmarked_sentence_is_no_evidence_about_the_answer() -> None:
    assert judge("12", "We get 3 apples and 12 pears in all, you see.").reason in (
        Reason.NO_ANSWER,
        Reason.UNPARSED_ANSWER,
        OPEN,
    )


# -- settings --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", choices())
def test_an_unknown_value_names_the_policy_and_what_there_is(name: str) -> None:
    with pytest.raises(InputError) as caught:
        Policies.of({name: "nonsense"})
    assert name in str(caught.value)
    assert "'nonsense'" in str(caught.value)
    assert all(value in str(caught.value) for value in choices()[name])


def test_an_unknown_policy_names_those_there_are() -> None:
    with pytest.raises(InputError, match=r"'tolerance'.*percent.*rounding"):
        Policies.of({"tolerance": "any"})


def test_only_what_differs_from_the_default_is_part_of_the_identity() -> None:
    assert Policies().identity() == ""
    assert Policies(percent="bare", units="required").identity() == "percent=bare,units=required"
    assert Policies(percent="bare").changed() == {"percent": "bare"}


@pytest.mark.parametrize("name", choices())
def test_the_default_is_a_value_that_is_known(name: str) -> None:
    assert getattr(Policies(), name) in choices()[name]


def test_every_policy_but_two_can_be_left_open() -> None:
    assert [name for name, values in choices().items() if "ask" not in values] == ["chains", "unmarked"]


def test_policies_are_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Policies().percent = "bare"  # type: ignore[misc]
