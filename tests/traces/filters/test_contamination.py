"""decontaminate: held-out prompts are found, templates and shared wording prove nothing."""

from __future__ import annotations

import random
from typing import Any

import pytest

from stillroom.common.records import Message, Task, user
from stillroom.errors import InputError
from tests.traces.filters.filtering import apply_filters, build_filters

EGGS = (
    "Janet's ducks lay 16 eggs per day. She eats three for breakfast every morning and bakes muffins for her friends "
    "every day with four. How much does she make?"
)
ROBE = "A robe takes 2 bolts of blue fiber and half that much white fiber. How many bolts in total does it take?"


def tasks(*prompts: str) -> list[Task]:
    return [Task(f"test/{n}", user(prompt), "1", f"t.jsonl:{n + 1}") for n, prompt in enumerate(prompts)]


@pytest.fixture
def find(make_trace: Any) -> Any:
    def _find(prompt: str, text: str, test: list[Task], **given: Any) -> Any:
        trace = make_trace(text, prompt=prompt)
        spec = {"decontaminate": {"against": "test", **given}}
        return next(iter(apply_filters([trace], build_filters([spec]), test=test).rejects), None)

    return _find


@pytest.mark.parametrize(
    ("prompt", "text", "reason"),
    [
        (EGGS, "9", "same_prompt"),
        (EGGS.upper().replace(".", " !"), "9", "same_prompt"),
        ("Solve this. " + EGGS, "9", "shared_ngram"),
        ("Something else.", "It is like this one: " + EGGS, "shared_ngram"),
        ("Ducks lay 16 eggs per day. She eats three for breakfast every day. Why?", "9", None),
        (
            "Ducks: she eats three for breakfast every morning and bakes muffins for her friends. Why?",
            "9",
            "shared_ngram",
        ),
        ("A robe of white fiber takes 3 bolts. How many bolts do two take?", "6", None),
        ("Unrelated", "Quite unrelated, too.", None),
    ],
)
def test_prompts_of_the_test_split_are_found(find: Any, prompt: str, text: str, reason: str | None) -> None:
    found = find(prompt, text, tasks(ROBE, EGGS))
    assert (found.reason if found else None) == reason
    assert found is None or found.detail.startswith("test task test/1 (t.jsonl:2): ")


def test_what_matched_is_quoted(find: Any) -> None:
    found = find("q", "a robe takes 2 bolts of blue fiber and half that much white fiber in all", tasks(EGGS, ROBE))
    assert "robe takes 2 bolts of blue fiber and half that much white" in found.detail


def test_the_length_of_the_run_can_be_set(find: Any) -> None:
    text = "bakes muffins for her friends every day"
    assert find("q", text, tasks(EGGS, ROBE)) is None
    assert find("q", text, tasks(EGGS, ROBE), ngram=6).reason == "shared_ngram"


TEMPLATE = "Solve the following arithmetic problem step by step, and give the final answer after four hashes: {}"


def test_a_template_that_all_tasks_share_proves_nothing(find: Any) -> None:
    test = tasks(TEMPLATE.format(EGGS), TEMPLATE.format(ROBE))
    assert find(TEMPLATE.format("How many days has a year?"), "365", test) is None
    assert find(TEMPLATE.format("She " + EGGS[7:]), "9", test).reason == "shared_ngram"


@pytest.mark.parametrize("template", ["What is {}?", "{} =", TEMPLATE])
def test_generated_sums_are_told_apart_by_their_numbers(find: Any, template: str) -> None:
    chooser = random.Random(1)
    pairs = [(a, b) for a in range(1, 30) for b in range(1, 30)]
    chooser.shuffle(pairs)
    test = tasks(*(template.format(f"{a} + {b}") for a, b in pairs[:100]))
    for a, b in pairs[100:300]:
        assert find(template.format(f"{a} + {b}"), f"{a} + {b} = {a + b}. The answer is {a + b}.", test) is None
    for a, b in pairs[:20]:
        assert find(template.format(f"{a}+{b}"), "x", test).reason == "same_prompt"


@pytest.mark.parametrize(
    ("prompt", "found"),
    [
        ("Compute the value of this sum of integers: 3 + 4", True),
        ("Please compute the value of this sum of integers: 3 + 4. Thank you!", True),
        ("Compute the value of this sum of integers: 3 + 4 + 5", False),
        ("Compute the value of this sum of integers: 3 - 4", False),
        ("Compute the value of this sum of integers: 13 + 4", False),
        ("Compute the value of this sum of integers: 3 + 4.5", False),
    ],
)
def test_a_short_prompt_counts_only_whole(find: Any, prompt: str, found: bool) -> None:
    test = tasks(*(f"Compute the value of this sum of integers: 3 + {n}" for n in (4, 9)))
    assert (find(prompt, "x", test) is not None) is found


def test_a_very_short_prompt_within_a_trace_is_no_contamination(find: Any) -> None:
    assert find("What is 3 + 4 + 5?", "First, what is 3 + 4? It is 7. Then 12.", tasks("What is 3 + 4?", "q")) is None


def test_a_system_prompt_says_nothing(make_trace: Any, find: Any) -> None:
    system = Message(
        "system", "You are a patient tutor of mathematics who explains every step in plain words to all."
    )
    test = [Task("test/0", (system, Message("user", "What is 3 + 4?")), "7", "t:1")]
    assert find("What is 5 + 6?", system.content, test) is None


def test_an_empty_test_split_is_an_input_error(make_trace: Any) -> None:
    with pytest.raises(InputError, match=r"test split, which is empty: set `tasks\.test`"):
        apply_filters([make_trace("x")], build_filters([{"decontaminate": "test"}]), test=[])
