"""A model that rates one answer by a rubric.

The score is the weighted mean of the criteria's ratings: expected ones where the server gives log-probabilities, else
as they were written. It asks for ratings alone where it reads probabilities, because reasons written first narrow the
distribution (`expected_score.py`), and for reasons first where it does not. A failure is a rating without a score.

    asker = Asker(teacher, ledger, SamplingParams(temperature=0, max_tokens=64), seed=0)
    judge = Pointwise(asker, load_rubric("helpfulness"))
    rating = await judge.rate(task, attempt)
"""

from __future__ import annotations

from typing import NamedTuple

from stillroom.common.records import Attempt, Task
from stillroom.judges.dialogue import Asks, Dialogue, Question, Said
from stillroom.judges.expected_score import expected_rating
from stillroom.judges.prompts import VERSION as PROMPTS
from stillroom.judges.prompts import (
    Form,
    Found,
    pointwise_prompt,
    ratings_schema,
    repair_form,
    wanted,
)
from stillroom.judges.reading import VERSION as READING
from stillroom.judges.reading import Ratings, read_ratings
from stillroom.judges.records import JudgeState, Rating
from stillroom.judges.rubric import Rubric


class _Scored(NamedTuple):
    ratings: dict[str, float]
    expected: bool
    why_not: str


class Pointwise:
    """`logprobs`: score by the expected value. `structured`: ask for JSON by schema, where the server knows that.
    `reasons`: reasons before the ratings; None: only where `logprobs` is off."""

    def __init__(
        self,
        ask: Asks,
        rubric: Rubric,
        *,
        logprobs: bool = True,
        structured: bool = False,
        reasons: bool | None = None,
    ) -> None:
        self._rubric, self._logprobs = rubric, logprobs
        self._reasons = not logprobs if reasons is None else reasons
        schema = ratings_schema(rubric, self._reasons) if structured else None
        self._dialogue = Dialogue(ask, logprobs=logprobs, schema=schema)

    @property
    def identity(self) -> str:
        """Prompt and parser versions, rubric, reasons, sampling (with log-probabilities and schema), model."""
        reasons = " reasons" if self._reasons else ""
        return f"pointwise:{PROMPTS}.{READING} {self._rubric.identity}{reasons} {self._dialogue.identity}"

    @property
    def scale(self) -> tuple[float, float]:
        return float(self._rubric.low), float(self._rubric.high)

    async def rate(self, task: Task, answer: Attempt) -> Rating:
        """Rates `answer`. Raises TaskError where the rubric needs a reference answer that the task lacks."""
        found = Found(0, 0)

        def question(structured: bool) -> Question:
            nonlocal found
            form = Form(structured, self._reasons)
            prompt = pointwise_prompt(self._rubric, task, answer, form, special=self._dialogue.special_tokens)
            found = prompt.found
            return Question(prompt.messages, repair_form(self._rubric, structured))

        asked_for = wanted(self._rubric)
        said = await self._dialogue.judge(question, lambda text: read_ratings(text, asked_for))
        return self._rating(said, found)

    async def close(self) -> None:
        await self._dialogue.close()

    def _rating(self, said: Said[Ratings], found: Found) -> Rating:
        if said.state is not JudgeState.OK or said.read is None:
            return Rating(said.state, None, calls=said.calls, text=said.text, detail=said.detail)
        scored = self._scored(said, said.read)
        changed = f"{found.changed} places made harmless" if found.changed else ""
        addressed = "the texts address their judge" if found.addressed else ""
        return Rating(
            JudgeState.OK,
            self._rubric.score(scored.ratings),
            scored.ratings,
            scored.expected,
            said.calls,
            said.text,
            "; ".join(filter(None, [said.detail, scored.why_not, changed, addressed])),
        )

    def _scored(self, said: Said[Ratings], read: Ratings) -> _Scored:
        """Expected ratings where all criteria have one: a score half of one kind would compare with neither."""
        plain = {name: float(rating) for name, rating in read.ratings.items()}
        if not self._logprobs or said.attempt is None:
            return _Scored(plain, False, "")
        means: dict[str, float] = {}
        for name, rating in read.ratings.items():
            mean = expected_rating(said.attempt.choices, name, rating, self._rubric.low, self._rubric.high)
            if mean.value is None:
                return _Scored(plain, False, f"as written, not expected: {mean.why}")
            means[name] = mean.value
        return _Scored(means, True, "")
