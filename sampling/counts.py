"""What a sampling run has done so far: numbers for the display and for `run.json`."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field

from stillroom.common.records import SECOND_OPINION, Outcome, State, Verdict


@dataclass(slots=True)
class Counts:
    """Counts of one call of the core. Tokens are the teacher's; `reused` attempts came from the ledger.

    `surplus`: attempts that were answered after their task's fate was sealed; `cancelled` ones were not answered.
    `truncated`: attempts that ended at their limit; `escalated`: those that were drawn again under a longer one.
    `estimated`: attempts whose tokens nobody counted, and which are estimated by their characters.
    `unknown_ends`: answers of which it is not known why they ended; `unknown_end`: what the last of them said.
    `odd`: answers next to which something (log-probabilities, counts, thinking) could not be read, and is absent.
    `refused`: how often a server said "too many requests", and the request waited; `last_refusal`: its words;
    `refused_since`: on the monotonic clock, the first refusal since the last answer; None: there was none since.
    `verified`, `refuted`: of those accepted and of those rejected, by a second opinion.
    `lines_unknown`, `lines_twice`, `lines_unread`: lines in the results of batches that are about nothing that was
    asked, about what was answered already, or cannot be read. `waves`: how often requests were sent together; `wave`:
    how many the last time; `overdraw`: how many of all were expected not to be needed; `batches`: how far those under
    way are, in words.
    `accepted_tokens` and `kept_tokens`: completion tokens of all accepted attempts, and of those that are kept.
    """

    tasks_total: int | None = None
    satisfied: int = 0
    gave_up: int = 0
    exhausted: int = 0
    open: int = 0
    accepted: int = 0
    rejected: int = 0
    unscored: int = 0
    verified: int = 0
    refuted: int = 0
    failed: int = 0
    cancelled: int = 0
    surplus: int = 0
    reused: int = 0
    truncated: int = 0
    escalated: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cancelled_tokens: int = 0
    estimated: int = 0
    accepted_tokens: int = 0
    kept: int = 0
    kept_tokens: int = 0
    unknown_ends: int = 0
    unknown_end: str = ""
    odd: int = 0
    lines_unknown: int = 0
    lines_twice: int = 0
    lines_unread: int = 0
    waves: int = 0
    wave: int = 0
    overdraw: float = 0.0
    batches: str = ""
    refused: int = 0
    last_refusal: str = ""
    refused_since: float | None = None
    last_failure: str = ""
    started: float = field(default_factory=time.monotonic)

    def add(self, verdict: Verdict) -> None:
        """Counts a verdict."""
        state = verdict.state
        setattr(self, state.value, getattr(self, state.value) + 1)
        if verdict.reason == SECOND_OPINION:
            self.verified += state is State.ACCEPTED
            self.refuted += state is State.REJECTED

    def close(self, outcome: Outcome, surplus: int) -> None:
        """Counts a task that has stopped."""
        self.open -= 1
        self.surplus += surplus
        setattr(self, outcome.stop.value, getattr(self, outcome.stop.value) + 1)
        kept = set(outcome.kept)
        self.kept += len(kept)
        self.kept_tokens += sum(s.attempt.completion_tokens for s in outcome.attempts if s.attempt.index in kept)

    @property
    def tokens(self) -> int:
        """Of prompts and answers together, those of cancelled requests included."""
        return self.prompt_tokens + self.completion_tokens + self.cancelled_tokens

    @property
    def finished(self) -> int:
        """Tasks that have stopped."""
        return self.satisfied + self.gave_up + self.exhausted

    @property
    def scored(self) -> int:
        """Attempts with a verdict."""
        return self.accepted + self.rejected + self.unscored

    @property
    def run_rate(self) -> float:
        """Accepted share of the scored attempts, with one success and one failure added: in (0, 1)."""
        return (self.accepted + 1) / (self.scored + 2)

    @property
    def elapsed_s(self) -> float:
        """Seconds since the start."""
        return time.monotonic() - self.started

    @property
    def eta_s(self) -> float | None:
        """Seconds left at the pace so far, or None while nothing can be said."""
        if not self.tasks_total or not self.finished:
            return None
        return self.elapsed_s / self.finished * (self.tasks_total - self.finished)

    def as_dict(self) -> dict[str, int | float | str | None]:
        """For `run.json`: without the clock, and without what is about batches where there were none."""
        left_out = {"started", "open", "refused_since", "wave", "batches"}
        if not self.waves:
            left_out |= {"waves", "overdraw"}
        if not (self.waves or self.stray_lines):
            left_out |= {"lines_unknown", "lines_twice", "lines_unread"}
        return {name: value for name, value in asdict(self).items() if name not in left_out}

    @property
    def stray_lines(self) -> int:
        """Lines of results that were of no use."""
        return self.lines_unknown + self.lines_twice + self.lines_unread
