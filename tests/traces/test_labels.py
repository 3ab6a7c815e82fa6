"""Labels: one final label is read, and nothing that could mean another."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter, ValidationError

from stillroom.common.records import Attempt, State, Task, user
from stillroom.sampling.scorers.base import ScorerSettings
from stillroom.traces.scorers.label import Labels, LabelScorer, Reason

SETTINGS: TypeAdapter[Any] = TypeAdapter(ScorerSettings)
LABELS = ("positive", "negative", "neutral")
READER = Labels(LABELS, aliases={"pos": "positive", "nég": "negative"})


@pytest.mark.parametrize(
    "text",
    [
        "positive",
        "Positive",
        "  POSITIVE.\n",
        "**positive**",
        "**Positive.**",
        "`positive`",
        '"positive"',
        "“positive”.",
        "pos",
        r"\boxed{positive}",
        r"The label is clear: \boxed{\text{positive}}",
        r"$\boxed{\textbf{Positive}}$.",
        "Answer: positive",
        "**Answer:** positive",
        "Answer: **positive**",
        "The answer is positive.",
        "The final answer is: positive",
        "Answer:\npositive",
        "label: positive",
        "Label: **positive**",
        "**Label**: positive",
        "Final label: positive",
        "#### positive",
        "It praises the film.\n\npositive",
        "It is not negative, since it praises the film.\nAnswer: positive",
        "The answer is not negative.\nAnswer: positive",
        "Answer: positive because it praises the film.",
        "Answer: positive. It praises the film.",
        "Answer: positive\nLabel: positive",
        "<think>negative? Answer: negative</think>positive",
    ],
)
def test_one_final_label_is_read(text: str) -> None:
    found = READER.find(text)
    assert (found.label, found.reason) == ("positive", None)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", Reason.NO_ANSWER),
        ("<think>positive", Reason.NO_ANSWER),
        ("<think>positive</think>", Reason.NO_ANSWER),
        ("I cannot say.", Reason.NO_LABEL),
        ("Answer: good", Reason.NO_LABEL),
        ("Answer:", Reason.NO_LABEL),
        # part of another word
        ("seropositive", Reason.NO_LABEL),
        ("positively", Reason.NO_LABEL),
        ("non-negative", Reason.NO_LABEL),
        ("Answer: positives", Reason.NO_LABEL),
        # negated
        ("not positive", Reason.NEGATED),
        ("Answer: not positive", Reason.NEGATED),
        ("It isn't positive.", Reason.NEGATED),
        ("The answer is definitely not positive.", Reason.NEGATED),
        (r"\boxed{\text{not positive}}", Reason.NEGATED),
        # only mentioned
        ("The review is positive", Reason.MENTIONED),
        ("I think the answer is mostly positive", Reason.MENTIONED),
        ("Answer: positive (strong)", Reason.MENTIONED),
        ("positive\nIt praises the film.", Reason.MENTIONED),
        # hedging
        ("positive or negative", Reason.HEDGED),
        ("positive/negative", Reason.HEDGED),
        ("Answer: positive, negative", Reason.HEDGED),
        ("Answer: positive (not negative)", Reason.HEDGED),
        ("Answer: positive. But negative would do as well.", Reason.HEDGED),
        ("Answer: positive\nOr is it negative after all?", Reason.HEDGED),
        # two final answers
        ("Answer: positive\nAnswer: negative", Reason.TWO_LABELS),
        (r"\boxed{positive} or \boxed{negative}", Reason.TWO_LABELS),
        ("Label: positive\n#### negative", Reason.TWO_LABELS),
        ("Answer: positive\n\nnegative", Reason.TWO_LABELS),
        # lookalikes: Cyrillic о, fullwidth letters, a zero-width space, a soft hyphen
        ("p\u043esitive", Reason.NO_LABEL),
        ("\uff50\uff4f\uff53\uff49\uff54\uff49\uff56\uff45", Reason.NO_LABEL),
        ("posi\u200btive", Reason.NO_LABEL),
        ("posi\u00adtive", Reason.NO_LABEL),
        # the last word is not a label, whatever was said before
        ("Answer: positive\nThe answer is unclear.", Reason.NO_LABEL),
    ],
)
def test_what_is_no_final_label_says_why(text: str, reason: Reason) -> None:
    found = READER.find(text)
    assert (found.label, found.reason) == (None, reason)


def test_composed_and_decomposed_letters_are_the_same() -> None:
    assert READER.find("ne\u0301g").label == "negative"


def test_labels_that_begin_like_others_are_told_apart() -> None:
    reader = Labels(("up", "upper", "upper left"))
    assert [reader.find(f"Answer: {text}").label for text in ("up", "upper", "upper left")] == [
        "up",
        "upper",
        "upper left",
    ]
    assert reader.find("the upper left corner").reason is Reason.MENTIONED
    assert reader.find("up, upper").reason is Reason.HEDGED


def test_a_repeated_prompt_is_not_an_answer() -> None:
    prompt = "Is the review positive or negative?\nGreat film! Label: positive\nI slept. Label:"
    assert READER.find(prompt, prompt).reason is Reason.NO_ANSWER
    assert READER.find(f"{prompt} negative", prompt).label == "negative"
    examples = "Film: great\nLabel: positive\nFilm: awful\nLabel: negative"
    assert READER.find(examples, prompt).reason is Reason.TWO_LABELS


def test_a_label_with_signs_of_its_own_is_read_as_it_is() -> None:
    reader = Labels(("C++", "C", "n/a", "U.S."))
    assert [reader.find(text).label for text in ("C++", "C", "**n/a**", "U.S.", "C.")] == [
        "C++",
        "C",
        "n/a",
        "U.S.",
        "C",
    ]


@pytest.mark.parametrize("text", ["*" * 100_000, "Answer: " * 20_000, "\\boxed{" * 20_000, "label:\n" * 20_000])
def test_hostile_text_is_read_in_linear_time(text: str) -> None:
    assert READER.find(text).label is None


def attempt(text: str, finish: Any = "stop", reasoning: str | None = None) -> Attempt:
    return Attempt("t", 0, text, reasoning, finish, 1, 1, None, 0.1, "m")


@pytest.mark.parametrize(
    ("gold", "text", "state", "reason"),
    [
        ("positive", "positive", State.ACCEPTED, "equal"),
        ("Positive", "pos", State.ACCEPTED, "equal"),
        ("positive", "negative", State.REJECTED, "different"),
        ("positive", "not negative", State.UNSCORED, "negated"),
        ("great", "positive", State.UNSCORED, "unparsed_gold"),
        ("positive or neutral", "positive", State.UNSCORED, "unparsed_gold"),
        (None, "negative", State.ACCEPTED, "labelled"),
        (None, "negative or neutral", State.UNSCORED, "hedged"),
        (None, "", State.UNSCORED, "no_answer"),
    ],
)
async def test_with_gold_it_is_compared_without_it_is_enough(
    gold: str | None, text: str, state: State, reason: str
) -> None:
    verdict = await LabelScorer(READER).score(Task("t", user("?"), gold, "by hand"), attempt(text))
    assert (verdict.state, verdict.reason, verdict.score) == (state, reason, None)


async def test_what_did_not_end_is_unscored_and_the_reasoning_is_not_read() -> None:
    task, scorer = Task("t", user("?"), None, "by hand"), LabelScorer(READER)
    assert (await scorer.score(task, attempt("positive", "length"))).reason == "truncated"
    assert (await scorer.score(task, attempt("positive", "content_filter"))).reason == "no_answer"
    assert (await scorer.score(task, attempt("", reasoning="Answer: positive"))).reason == "no_answer"


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"labels": ["a"]}, "at least 2"),
        ({"labels": [True, False]}, "in quotes"),
        ({"labels": ["yes", "Yes"]}, "twice"),
        ({"labels": ["a", "a"]}, "twice"),
        ({"labels": ["a", " b"]}, "without spaces around it"),
        ({"labels": ["a", ""]}, "cannot be a label"),
        ({"labels": ["a", "b"], "aliases": {"c": "d"}}, "not one of labels"),
        ({"labels": ["a", "b"], "aliases": {"A": "b"}}, "twice|also another"),
        ({"labels": ["a", "b"], "case": "upper"}, "ignore"),
    ],
)
def test_labels_that_cannot_be_told_apart_are_refused(settings: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        SETTINGS.validate_python({"kind": "label", **settings})


def test_the_identity_is_what_decides() -> None:
    def identity(**settings: Any) -> str:
        return str(SETTINGS.validate_python({"kind": "label", **settings}).identity(Path()))

    first = identity(labels=["a", "b"])
    assert first == identity(labels=["b", "a"])
    assert len({first, identity(labels=["a", "c"]), identity(labels=["a", "b"], case="exact")}) == 3
    assert first != identity(labels=["a", "b"], aliases={"x": "a"})
    assert identity(labels=[1, 2]) == identity(labels=["1", "2"])
    assert SETTINGS.validate_python({"kind": "label", "labels": ["a", "A"], "case": "exact"})
