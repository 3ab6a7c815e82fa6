"""`kind: verifier`: a model that says whether an answer is the gold answer, for what no rule can read.

    scorer: {kind: answer, fallback: {kind: verifier, prompt: compass, teacher: {kind: openai, model: …}}}

It is shown the question and the two answers, made harmless as for judges, and asked twice, the second time with the
two answers changed round. It decides only where both times it says the same. Whatever else comes of it (it
contradicts itself, calls an answer invalid, is cut off, cannot be reached) leaves the attempt unscored.

A verifier reads what the model that it checks wrote, and can be talked into a verdict: measure it on labelled pairs
first (see docs/answers.md).
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, ClassVar, Literal, NamedTuple

import yaml
from pydantic import Field, ValidationError, field_validator

from stillroom.common.hashing import digest
from stillroom.common.records import SECOND_OPINION, Attempt, State, Task, Verdict, asked, user
from stillroom.common.settings import Settings
from stillroom.errors import InputError, MissingFile
from stillroom.judges.dialogue import Asks, Dialogue, Question, Said, asker
from stillroom.judges.prompts import fill
from stillroom.judges.records import FAILURES, JudgeState, together
from stillroom.judges.sanitise import sanitise
from stillroom.judges.scorer import AsksNobody
from stillroom.judges.unread import MOST_UNREAD
from stillroom.judges.verifier_gate import VerifierGate
from stillroom.sampling.limits import Prices
from stillroom.sampling.scorers.base import Place, ScorerBase, scorers
from stillroom.sampling.scorers.none import unfinished
from stillroom.sampling.teachers.base import TeacherBase, TeacherSettings

VERSION = 1  # of the shipped formats and of how they are read; part of a verifier's identity

Says = Literal["correct", "incorrect", "invalid"]


class Format(Settings):
    """How a verifier is asked and read; see `verifiers.yaml`."""

    source: str = ""
    prompt: str
    labels: Mapping[str, Says]
    around: tuple[str, str] = ("", "")

    def read(self, text: str) -> Reading:
        """What a verifier says: the label that is all of its text, or the only one on its last line."""
        lines = text.strip().splitlines()
        last = lines[-1].strip() if lines else ""
        bare = last.strip("\"'`*. ").removeprefix(self.around[0]).removesuffix(self.around[1])
        if len(lines) <= 1 and bare in self.labels:
            return Reading(JudgeState.OK, self.labels[bare])
        found = {self.labels[label] for label in self._pattern.findall(last)} if self.around[0] else set()
        if len(found) == 1:
            return Reading(JudgeState.OK, found.pop())
        wrong = "two verdicts" if found else "no verdict"
        return Reading(JudgeState.PARSE_FAILED, None, f"{wrong} in {last[-60:]!r}")

    def harmless(self, text: str, special: frozenset[str]) -> str:
        """A text by others, without special tokens and without anything that reads as a verdict."""
        text = sanitise(text, special=special).text
        return self._pattern.sub(lambda match: f"⟦{match[1]}⟧", text) if self.around[0] else text

    @property
    def form(self) -> str:
        """What is asked for once more where a verdict could not be read."""
        written = [f"{self.around[0]}{label}{self.around[1]}" for label in self.labels]
        return f"Answer with {', '.join(written[:-1])} or {written[-1]} and nothing else."

    @property
    def _pattern(self) -> re.Pattern[str]:
        labels = "|".join(map(re.escape, self.labels))
        return re.compile(rf"{re.escape(self.around[0])}\s*({labels})\s*{re.escape(self.around[1])}")


class Reading(NamedTuple):
    """What was read from a verifier's answer; `says` is None where nothing was."""

    state: JudgeState
    says: Says | None
    detail: str = ""


@cache
def shipped_formats() -> Mapping[str, Format]:
    """The formats that come with Stillroom, by name."""
    read = yaml.safe_load((files("stillroom.judges") / "verifiers.yaml").read_text(encoding="utf-8"))
    return {name: Format.model_validate(fields) for name, fields in read.items()}


def load_format(name: str, base: Path) -> Format:
    """The shipped format called `name`, or the one in the file `name`, looked for from `base`.

    Raises MissingFile where there is none, InputError for a file that holds no format.
    """
    if name in shipped_formats():
        return shipped_formats()[name]
    path = base / name
    if not path.is_file():
        known = ", ".join(shipped_formats())
        raise MissingFile(f"there is no verifier format {name!r} (looked for {path}): shipped are {known}")
    try:
        given = yaml.safe_load(path.read_text(encoding="utf-8"))
        if isinstance(given, dict) and "prompt" not in given and len(given) == 1:
            given = next(iter(given.values()))
        found = Format.model_validate(given)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"the verifier format {path} cannot be read: {' '.join(str(error).split())}") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise InputError(f"the verifier format {path}: {where}: {first['msg']}") from None
    missing = [field for field in ("question", "gold", "answer") if f"{{{{{field}}}}}" not in found.prompt]
    if missing:
        raise InputError(f"the verifier format {path}: its prompt lacks {{{{{missing[0]}}}}}")
    return found


class Verifier:
    """Scores an answer by asking a model whether it is the gold answer."""

    accidents: frozenset[str] = frozenset({"verifier_api_error"})  # of one request: the next may be answered
    failures: frozenset[str] = frozenset(f"verifier_{state}" for state in FAILURES - {JudgeState.OVERFLOW})

    def __init__(self, ask: Asks, format: Format, max_unread: int | None = MOST_UNREAD) -> None:
        self._dialogue, self._format = Dialogue(ask, max_unread=max_unread), format

    @property
    def identity(self) -> str:
        """Format and reader, sampling, model."""
        return f"verifier:{VERSION} {digest(self._format.model_dump(mode='json'), 12)} {self._dialogue.identity}"

    async def score(self, task: Task, attempt: Attempt) -> Verdict:
        """The verdict on an attempt. `detail`: JSON with what was said each time, the requests made and their
        tokens."""
        if (early := unfinished(attempt)) is not None:
            return Verdict(State.UNSCORED, f"answer_{early.reason}", detail="the verifier was not asked")
        if task.reference is None:
            return Verdict(State.UNSCORED, "unparsed_gold", detail="the task has no reference")
        started = time.monotonic()
        question = asked(task.messages)
        gold, answer = task.reference, attempt.text.strip()
        said = await together(self._asked(question, gold, answer), self._asked(question, answer, gold))
        seconds = time.monotonic() - started
        told = [each.read.says or each.state.value if each.read else each.state.value for each in said]
        spent = {"calls": sum(each.calls for each in said), "tokens": sum(each.tokens for each in said)}
        detail = json.dumps({"said": told, **spent})
        failed = next((each.state for each in said if each.state is not JudgeState.OK), None)
        if failed is not None:
            return Verdict(State.UNSCORED, f"verifier_{failed.value}", None, detail, seconds)
        match told:
            case ["correct", "correct"]:
                return Verdict(State.ACCEPTED, SECOND_OPINION, None, detail, seconds)
            case ["incorrect", "incorrect"]:
                return Verdict(State.REJECTED, SECOND_OPINION, None, detail, seconds)
            case ["invalid", "invalid"]:
                return Verdict(State.UNSCORED, "verifier_invalid", None, detail, seconds)
        return Verdict(State.UNSCORED, "verifier_contradicts_itself", None, detail, seconds)

    async def close(self) -> None:
        """Closes what asks."""
        await self._dialogue.close()

    async def _asked(self, question: str, gold: str, answer: str) -> Said[Reading]:
        texts = {"question": question, "gold": gold, "answer": answer}
        fields = {name: self._format.harmless(text, self._dialogue.special_tokens) for name, text in texts.items()}
        shown = Question(user(fill(self._format.prompt, fields)), self._format.form)
        return await self._dialogue.judge(lambda _: shown, self._format.read)


@scorers.register
class VerifierSettings(ScorerBase):
    """A model that says whether an answer is the gold answer; for `fallback` of the answer checker."""

    needs_reference: ClassVar[bool] = True

    kind: Literal["verifier"]
    teacher: TeacherSettings
    """The model that verifies."""
    prompt: Annotated[str, Field(min_length=1)] = "plain"
    """Name of a shipped format (`plain`, `compass`, `xverify`, `tinyv`), or a file."""
    prices: Prices | None = None
    """Prices of its tokens; null: those of the recipe."""
    gate: VerifierGate | None = None
    """Labelled answers on which it is measured before a run, and what it must reach; null: it is believed."""
    max_unread: int | None = Field(default=MOST_UNREAD, ge=1)
    """Replies in a row that could not be read, after which it stops, before more is paid for; null: never."""

    @field_validator("teacher")
    @classmethod
    def _at_once(cls, teacher: TeacherBase) -> TeacherBase:
        if teacher.gathers:
            raise ValueError("a verifier cannot wait for batches: drop batch from its teacher")
        return teacher

    @property
    def files(self) -> tuple[str, ...]:
        """The format's file, where it is not a shipped one, and the gate's labelled answers."""
        own = () if self.prompt in shipped_formats() else (self.prompt,)
        return own if self.gate is None else (*own, self.gate.labelled)

    def identity(self, base: Path) -> str:
        ask = AsksNobody(self.teacher.make(base), self.teacher.sampling)
        return Verifier(ask, load_format(self.prompt, base)).identity

    def make(self, place: Place) -> Verifier:
        """As `ScorerBase.make`. Raises InputError where the place has no ledger."""
        teacher = self.teacher.make(place.base)
        place = place if self.prices is None else place._replace(prices=self.prices)
        return Verifier(asker(teacher, self.teacher, place), load_format(self.prompt, place.base), self.max_unread)
