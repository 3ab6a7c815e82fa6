"""`kind: llm`: a model that judges by a rubric: rates one answer, or compares two.

judge: {kind: llm, rubric: helpfulness, mode: pairwise, teacher: {kind: openai, model: m, base_url: "http://…/v1"}}

asker = Asker(teacher, ledger, SamplingParams(temperature=0, max_tokens=64), seed=0)
rating = await Pointwise(asker, load_rubric("helpfulness")).rate(task, attempt)
preference = await Pairwise(asker, load_rubric("helpfulness")).compare(task, a, b)
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from stillroom.common.records import Attempt, SamplingParams, Task
from stillroom.judges.dialogue import Asks, Dialogue, Question, asker
from stillroom.judges.prompts import (
    VERSION,
    Form,
    pairwise_prompt,
    pointwise_prompt,
    ratings_schema,
    repair_form,
    winner_schema,
)
from stillroom.judges.reading import VERSION as READING
from stillroom.judges.reading import Wanted, expected_rating, read_ratings, read_winner
from stillroom.judges.records import (
    JudgeState,
    OrderVerdict,
    Preference,
    Rating,
    both_orders,
    one_order,
    shows_second_first,
    together,
)
from stillroom.judges.registry import JudgeBase, Made, Name, Place, judges
from stillroom.judges.rubric import Rubric, load_rubric
from stillroom.judges.unread import MOST_UNREAD
from stillroom.sampling.teachers.base import TeacherSettings


class Pointwise:
    """Rates one answer. The score is the weighted mean of the criteria's ratings: expected ones where the server
    gives log-probabilities, else as they were written. A failure is a rating without a score.

    `logprobs`: score by the expected value. `structured`: ask for JSON by schema, where the server knows that.
    `reasons`: reasons before the ratings; None: only where `logprobs` is off, because reasons written first narrow
    the distribution (see `expected_rating`). `max_unread`: unreadable replies in a row after which it stops.
    """

    def __init__(
        self,
        ask: Asks,
        rubric: Rubric,
        *,
        logprobs: bool = True,
        structured: bool = False,
        reasons: bool | None = None,
        max_unread: int | None = MOST_UNREAD,
    ) -> None:
        self._rubric, self._logprobs = rubric, logprobs
        self._reasons = not logprobs if reasons is None else reasons
        schema = ratings_schema(rubric, self._reasons) if structured else None
        self._dialogue = Dialogue(ask, logprobs=logprobs, schema=schema, max_unread=max_unread)

    @property
    def identity(self) -> str:
        """Prompt and parser versions, rubric, reasons, sampling (with log-probabilities and schema), model."""
        reasons = " reasons" if self._reasons else ""
        return f"pointwise:{VERSION}.{READING} {self._rubric.identity}{reasons} {self._dialogue.identity}"

    @property
    def scale(self) -> tuple[float, float]:
        return float(self._rubric.low), float(self._rubric.high)

    async def rate(self, task: Task, answer: Attempt) -> Rating:
        """Rates `answer`. Raises TaskError where the rubric needs a reference answer that the task lacks."""
        rubric, changed, addressed = self._rubric, 0, 0

        def question(structured: bool) -> Question:
            nonlocal changed, addressed
            form, special = Form(structured, self._reasons), self._dialogue.special_tokens
            prompt = pointwise_prompt(rubric, task, answer, form, special=special)
            changed, addressed = prompt.changed, prompt.addressed
            return Question(prompt.messages, repair_form(rubric, structured))

        wanted = Wanted(rubric.names, rubric.low, rubric.high)
        said = await self._dialogue.judge(question, lambda text: read_ratings(text, wanted))
        if said.state is not JudgeState.OK or said.read is None:
            return Rating(said.state, None, calls=said.calls, text=said.text, detail=said.detail)
        ratings, expected, why_not = {name: float(value) for name, value in said.read.ratings.items()}, False, ""
        if self._logprobs and said.attempt is not None:
            # Expected ratings where all criteria have one: a score half of one kind would compare with neither.
            means: dict[str, float] = {}
            for name, value in said.read.ratings.items():
                mean = expected_rating(said.attempt.choices, name, value, rubric.low, rubric.high)
                if mean.value is None:
                    why_not = f"as written, not expected: {mean.why}"
                    break
                means[name] = mean.value
            else:
                ratings, expected = means, True
        notes = [said.detail, why_not, f"{changed} places made harmless" if changed else ""]
        notes.append("the texts address their judge" if addressed else "")
        detail = "; ".join(filter(None, notes))
        return Rating(JudgeState.OK, rubric.score(ratings), ratings, expected, said.calls, said.text, detail)

    async def close(self) -> None:
        await self._dialogue.close()


class Pairwise:
    """Compares two answers, shown in both orders. Only what both orders agree on counts (see `both_orders`). Two
    answers of the same text are a tie, which nobody is asked about.

    `structured`: ask for JSON by schema, where the server knows that. `reasons`: reasons before the verdict.
    `both_orders`: show each pair twice; else in one order, which a hash of the two texts decides: half the calls, and
    position bias becomes noise; what a swap does cannot be told then. `max_unread`: as in Pointwise.
    """

    def __init__(
        self,
        ask: Asks,
        rubric: Rubric,
        *,
        structured: bool = False,
        reasons: bool = True,
        both_orders: bool = True,
        max_unread: int | None = MOST_UNREAD,
    ) -> None:
        self._rubric, self._reasons, self._both_orders = rubric, reasons, both_orders
        schema = winner_schema(reasons) if structured else None
        self._dialogue = Dialogue(ask, schema=schema, max_unread=max_unread)

    @property
    def identity(self) -> str:
        """Prompt and parser versions, rubric, reasons, orders, sampling (with the schema), model."""
        flags = " reasons" * self._reasons + " one order" * (not self._both_orders)
        return f"pairwise:{VERSION}.{READING} {self._rubric.identity}{flags} {self._dialogue.identity}"

    async def compare(self, task: Task, a: Attempt, b: Attempt) -> Preference:
        """Compares `a` and `b`; exchanging them exchanges the verdict. Raises TaskError where the rubric needs a
        reference answer that the task lacks."""
        if a.text == b.text:
            same = OrderVerdict(JudgeState.TIE, None, detail="the two are the same text: nobody was asked")
            return Preference(JudgeState.TIE, None, (same, same), calls=0)
        calls = 0

        async def order(first: Attempt, second: Attempt) -> OrderVerdict:
            def question(structured: bool) -> Question:
                form, special = Form(structured, self._reasons), self._dialogue.special_tokens
                prompt = pairwise_prompt(self._rubric, task, first, second, form, special=special)
                return Question(prompt.messages, repair_form(None, structured))

            nonlocal calls
            said = await self._dialogue.judge(question, read_winner)
            calls += said.calls
            winner = None if said.read is None else said.read.winner
            return OrderVerdict(said.state, winner, said.text, said.detail)

        if self._both_orders:
            forward, backward = await together(order(a, b), order(b, a))
            return both_orders(forward, backward, calls)
        exchanged = shows_second_first(a, b)
        verdict = await (order(b, a) if exchanged else order(a, b))
        return one_order(verdict, exchanged, calls)

    async def close(self) -> None:
        await self._dialogue.close()


@judges.register
class LlmJudgeSettings(JudgeBase):
    """A model that judges by a rubric."""

    kind: Literal["llm"]
    teacher: TeacherSettings
    """The model that judges."""
    rubric: Name = "helpfulness"
    """Name of a shipped rubric, or a file."""
    mode: Literal["pointwise", "pairwise", "tournament"] = "pointwise"
    """`pointwise` rates each candidate, `pairwise` compares two, `tournament` finds best and worst by comparisons."""
    logprobs: bool = True
    """Pointwise scores are expected values, where the model gives log-probabilities."""
    structured: bool = False
    """Ask for verdicts as JSON that follows a schema, where the server can."""
    reasons: bool | None = None
    """Ask for reasons before the verdict; null: where no probabilities are read."""
    accept: float | None = None
    """Least score that is accepted; null: every score."""
    both_orders: bool = True
    """Compare each pair in both orders; false shows it once, at half the cost."""
    max_unread: int | None = Field(default=MOST_UNREAD, ge=1)
    """Replies in a row that could not be read, after which it stops, before more is paid for; null: never."""

    @model_validator(mode="after")
    def _fits(self) -> LlmJudgeSettings:
        if self.accept is not None and self.mode != "pointwise":
            raise ValueError(f"accept is about scores, and mode is {self.mode}: leave one out")
        if not self.both_orders and self.mode == "pointwise":
            raise ValueError("both_orders is about comparisons, and mode is pointwise: leave it out")
        if self.teacher.gathers:
            raise ValueError(
                "a judge cannot wait for batches, one reply after the other for hours: drop batch from its teacher"
            )
        return self

    @property
    def compares(self) -> bool:
        return self.mode != "pointwise"

    @property
    def request_sampling(self) -> SamplingParams:
        return self.teacher.sampling

    def make(self, place: Place) -> Made:
        teacher = self.teacher.make(place.base)
        rubric = load_rubric(self.rubric, place.base)
        ask: Asks = asker(teacher, self.teacher, place) if place.asks is None else place.asks(teacher, self)
        most, structured = self.max_unread, self.structured
        if self.mode == "pointwise":
            judge = Pointwise(
                ask, rubric, logprobs=self.logprobs, structured=structured, reasons=self.reasons, max_unread=most
            )
            return Made(judge, None, (teacher,))
        reasons, both = self.reasons is not False, self.both_orders
        pairwise = Pairwise(ask, rubric, structured=structured, reasons=reasons, both_orders=both, max_unread=most)
        return Made(None, pairwise, (teacher,))
