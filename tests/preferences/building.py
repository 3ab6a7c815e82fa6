"""Small slates for the tests of this room."""

from __future__ import annotations

from stillroom.common.records import Attempt, Outcome, ScoredAttempt, State, StopReason, Task, Verdict, user
from stillroom.judges.records import JudgeState
from stillroom.preferences.pairs import Built, build_pairs
from stillroom.preferences.records import Candidate, Judged, Slate
from stillroom.preferences.settings import PairSettings


def task(name: str = "t", prompt: str | None = None) -> Task:
    return Task(name, user(prompt or f"Write about {name}."), None, "by hand")


def judged(
    score: float | None,
    text: str | None = None,
    *,
    of: str = "t",
    source: str = "teacher",
    index: int = 0,
    state: JudgeState = JudgeState.OK,
    own: bool = False,
) -> Judged:
    text = f"answer {index} of {source}" if text is None else text
    return Judged(Candidate(of, source, index, text, len(text), own), state, score)


def slate(
    *scores: float | None, of: str = "t", own: tuple[int, ...] = (), ends: tuple[int, int] | None = None
) -> Slate:
    """Answers with these scores, all of one length; None is a judgement that failed. `own`: indexes of the student's.
    `ends`: indexes of what a tournament found best and worst."""
    found = tuple(
        judged(score, of=of, index=i, own=i in own, state=JudgeState.OK if score is not None else JudgeState.REFUSED)
        for i, score in enumerate(scores)
    )
    best, worst = (found[i].candidate.id for i in ends) if ends else (None, None)
    return Slate(task(of), found, best, worst)


def indexes(built: Built) -> list[tuple[int, int]]:
    """Chosen and rejected of each pair, by their index."""
    return [(pair.chosen.candidate.index, pair.rejected.candidate.index) for pair in built.pairs]


def reasons(built: Built) -> list[str]:
    return [left.reason for left in built.left_out]


def build(*slates: Slate, seed: int = 0, **settings: object) -> Built:
    return build_pairs(slates, PairSettings.model_validate(settings), seed=seed)


def outcome(of: Task, *texts: str, finish: str = "stop", reasoning: str | None = None) -> Outcome:
    attempts = [Attempt(of.id, i, text, reasoning, finish, 1, 5, None, 0.1, "m") for i, text in enumerate(texts)]  # type: ignore[arg-type]
    scored = tuple(ScoredAttempt(attempt, Verdict(State.ACCEPTED, "finished")) for attempt in attempts)
    return Outcome(of, scored, tuple(range(len(texts))), StopReason.SATISFIED, failed=1)
