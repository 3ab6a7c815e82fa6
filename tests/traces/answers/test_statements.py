"""What a plain sentence states, where nothing else was understood: accepted where it is the gold one, never rejected."""

from __future__ import annotations

import time

import pytest

from stillroom.common.records import State
from stillroom.traces.answers import check
from stillroom.traces.answers.statements import Stated, concluding, stated

SALE = "Natalia sold clips to 48 friends in April, and half as many in May. How many clips did she sell altogether?"
EGGS = "How much in dollars does Janet make every day at the market?"
READ = "He has 39 pages left and reads for 4 more days. How many pages does he need to read each day, on average?"
WORDS = [
    # one value, after a mark or at the end of a text that has none
    ("72", "Answer: Natalia sold a total of 72 clips in April and May.", SALE),
    ("72", "48 / 2 = 24.\n\nSo she sold 48 + 24 = 72 clips. I hope this helps!", SALE),
    ("72", "* **Answer:** Natalia sold a total of 72 clips in April and May. \n\n**", SALE),
    ("18", "9 * 2 = 18.\n\nJanet makes $18 every day at the market.", EGGS),
    ("18", "Final Answer:\nJanet makes $18 every day at the market.", EGGS),
    ("27000", "Therefore, Jean paid **27,000 dollars** for the makeup.", ""),
    ("70", "p = 48 + 22.\n\nTherefore, there are 70 pink gumballs.", ""),
    ("30", "Total cost = 10 + 20\n= 30 dollars", ""),
    # the numbers of the prompt are not new
    ("6", "Answer: He needs to read 6 pages a day in the remaining 4 days.", READ),
    # of several values, the last after "is"
    ("4", "The difference between the square root of 64 and the cube root of 64 is 4.", ""),
    ("19.5", "She paid 3.9*5.\n\nIn one decimal place, the amount she spent is 19.5.", ""),
    # words, yes and no, choices
    ("valid", "It follows from the premises.\n\nTherefore, the argument is **valid**.", ""),
    ("no", "So the final answer is: No, the sentence is not plausible.", ""),
    ("(F)", "Therefore, the translation contains an error pertaining to (F) Facts.", ""),
    ("D", "Thus, the correct option is:\n\n**(D) 12/02/1960**", ""),
    ("B", "So the best choice would be (B) a fish.", ""),
    ("B", "Option B is correct because it names the cat.", ""),
    ("(K)", "Therefore, the answer is (K) trapezoid.", ""),
    ("0", "There are none.", "How many people do you see?"),
    # other languages
    ("92", "79 * 2 = 158. لذا، ناتج العملية الحسابية 79 * 2 - 66 هو **92**.", ""),
    ("6", "24 ÷ 4 = 6\n\n>> FINAL ANSWER:\nソロは1日平均6ページ読む必要があります。", "1日平均何ページ読む必要がありますか?"),
    ("595", "Jibu:\nAnswer: Jumla ya vito katika hazina hiyo ni 595.", ""),
    ("7", "Entonces 3 y 4 son 7.", ""),
    ("17", "Answer: 17 টি", ""),
    # the words of the question
    ("Tokyo", "The capital of Japan is Tokyo.", "What is the capital of Japan?"),
    ("Denver Broncos", "The Denver Broncos represented the AFC.", "Which team represented the AFC?"),
]  # fmt: skip
NOT_THESE = [
    ("48", "Answer: Here we know that Natalia sold 48 clips in April. Altogether, she sold 48 + 24 = 72 clips.", SALE),
    ("4", "Answer: He needs to read 6 pages a day in the remaining 4 days.", READ),
    ("64", "The difference between the square root of 64 and the cube root of 64 is 4.", ""),
    ("43", "So the total is 40 + 2 = 43.", ""),
    ("12", "So there are 12 or 13 of them.", ""),
    ("12", "It cannot be that there are 12 of them.", ""),
    ("12", "Therefore there are more than 12 apples.", ""),
    ("12", "There are 12 apples in each bag.", "How many apples are there?"),
    ("12", "Some say the answer is 12.", ""),
    ("12", "So the answer is the square of 12.", ""),
    ("12", "Therefore, x is 3 and y is 12.", ""),
    ("6", "Answer: 合計は6万です。", ""),
    ("4000 ml", "Answer: The tank needs 4000 bananas.", ""),
    ("A", "A nice approach to think about it", ""),
    ("A", "Answer: We rule out (A) and (B).", ""),
    ("C", "Answer: Both (C) and (D) would do.", ""),
    ("Paris", "The capital of Japan is Tokyo.", "What is the capital of Japan?"),
    ("Tokyo", "The capital of Japan is not Tokyo.", "What is the capital of Japan?"),
    ("Kyoto", "Kyoto is larger than Tokyo.", "Which is larger, Tokyo or Kyoto?"),
    ("18", "First she collects 16 eggs, then she bakes with 4, leaving 9, and 18 times", EGGS),
    ("5", "\\boxed{x + 3 = 5}", "Solve x + 3 = 8."),
]  # fmt: skip


@pytest.mark.parametrize(("gold", "answer", "prompt"), WORDS)
def test_what_a_sentence_states_is_accepted(gold: str, answer: str, prompt: str) -> None:
    verdict = check(gold, answer, prompt)
    assert verdict.state is State.ACCEPTED, verdict.detail


@pytest.mark.parametrize(("gold", "answer", "prompt"), NOT_THESE)
def test_what_it_does_not_state_is_not(gold: str, answer: str, prompt: str) -> None:
    verdict = check(gold, answer, prompt)
    assert verdict.state is not State.ACCEPTED, verdict.detail


def test_another_value_in_a_sentence_is_left_open() -> None:
    assert check("71", "Answer: Natalia sold a total of 72 clips in April and May.", SALE).state is State.UNSCORED


def test_words_of_order_and_share_must_be_in_the_question() -> None:
    said = "So each of them gets 12."
    assert stated(said, "How many does each of them get?") == Stated("12")
    assert stated(said, "How many are there?") is None


def test_the_end_of_a_text_without_a_mark() -> None:
    assert concluding("1 + 1 = 2.\nSo it is 2. Let me know if you have questions!") == "So it is 2"
    assert concluding("She then sells the eggs.\nA dog barks 3 times.") is None
    assert concluding("So the answer is:") is None
    assert concluding("So is it 3?") is None


@pytest.mark.parametrize("filler", ["is ", "1 ", "$", "(A) ", "So ", "**", "= ", "1, ", "the 1 is "])
def test_a_long_text_takes_no_longer_than_its_length(filler: str) -> None:
    start = time.process_time()
    check("12", "Answer: " + filler * (200_000 // len(filler)), "How many are there?")
    concluding(filler * (200_000 // len(filler)), filler * 1_000)
    assert time.process_time() - start < 5
