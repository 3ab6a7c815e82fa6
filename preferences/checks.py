"""What the audit of a preference data set looks at, one function a check: from pairs, slates or a calibration to
findings, each with what it means.

    meanings()["length_gap"].advice      # texts: findings.yaml

What is broken has no limit to exceed: one such pair is enough. Warnings have the limits of `AuditSettings`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any, Literal, NamedTuple

import yaml

from stillroom.common.records import Messages, asked
from stillroom.common.similarity import NearIndex, jaccard, shingles
from stillroom.common.stats.intervals import Interval, wilson
from stillroom.common.text import is_refusal
from stillroom.errors import InputError
from stillroom.preferences.candidates import TEMPLATE_TOKEN, same_text
from stillroom.preferences.lengths import FailureReport, LengthReport
from stillroom.preferences.records import Pair
from stillroom.preferences.settings import AuditSettings

Severity = Literal["error", "warning"]


class Meaning(NamedTuple):
    """`title`: what is counted. `ignored`: what happens to a student that is trained all the same. `source`: where
    that is shown, or reasoned. `advice`: what to do."""

    title: str
    severity: Severity
    ignored: str
    source: str
    advice: str


@cache
def meanings() -> Mapping[str, Meaning]:
    """What all findings mean, by name, in the order in which they are told. Read on first use."""
    read = yaml.safe_load((files("stillroom.preferences") / "findings.yaml").read_text(encoding="utf-8"))
    return {name: Meaning(**fields) for name, fields in read.items()}


@dataclass(frozen=True, slots=True)
class Finding:
    """One check. `count` of `of` pairs (or tasks, or candidates: the title says); `value`: what is held against
    `limit`, a share where not told otherwise, with its interval; None where it cannot be known. `broken`: the limit
    is exceeded. `examples`: ids of the first few. Intervals take pairs for independent: of several pairs of a prompt
    they are too narrow."""

    name: str
    count: int
    of: int
    value: float | None
    limit: float | None
    broken: bool
    examples: tuple[str, ...] = ()
    interval: Interval | None = None
    detail: str = ""

    @property
    def meaning(self) -> Meaning:
        """What it stands for."""
        return meanings()[self.name]

    @property
    def severity(self) -> Severity:
        """Whether a broken limit refuses the data set, or warns."""
        return self.meaning.severity

    @property
    def told(self) -> str:
        """What was found, in a few words."""
        if self.name == "no_pairs":
            value = f"{self.of:,} pairs"
        elif self.value is None:
            value = str(self.count) if self.of and self.limit is None else "not known"
        elif self.name == "length_gap":
            value = f"{self.value:+.2f}"
        else:
            value = f"{self.count:,} of {self.of:,} ({self.value:.1%})"
        return f"{value}: {self.detail}" if self.detail else value

    def as_dict(self) -> dict[str, Any]:
        """For JSON: the numbers, then what they mean."""
        return {
            "name": self.name,
            "severity": self.severity,
            "broken": self.broken,
            "count": self.count,
            "of": self.of,
            "value": self.value,
            "interval": None if self.interval is None else self.interval._asdict(),
            "limit": self.limit,
            "detail": self.detail,
            "examples": list(self.examples),
            **{key: value for key, value in self.meaning._asdict().items() if key != "severity"},
        }


# -- pairs, whether they were just built or come from a data set of somebody else's ------------------------------


@dataclass(frozen=True, slots=True)
class Item:
    """One pair. `prompt`: the user's turns. `prompts_agree`: both sides answer the same conversation. `margin`: by
    how much the chosen side is better, None where no scores are known. `failed`: a side has no judgement.
    `on_policy`: sides that the student wrote, 0 to 2. The last two are None if that is not known."""

    id: str
    prompt: str
    prompts_agree: bool
    chosen: str
    rejected: str
    margin: float | None
    failed: bool | None = None
    on_policy: int | None = None

    @property
    def asked(self) -> str:
        """The prompt as two of them are compared: white space and case apart."""
        return same_text(self.prompt).casefold()

    @property
    def sides(self) -> tuple[str, str]:
        """Chosen and rejected as two of them are compared: white space apart."""
        return same_text(self.chosen), same_text(self.rejected)

    @property
    def differs(self) -> bool:
        """Whether it has two sides, and they differ: separate checks find what has not."""
        chosen, rejected = self.sides
        return bool(chosen) and bool(rejected) and chosen != rejected


def item_of(pair: Pair) -> Item:
    """A pair that was built."""
    chosen, rejected = pair.chosen.candidate, pair.rejected.candidate
    return Item(
        id=pair.id,
        prompt=asked(pair.prompt),
        prompts_agree=chosen.task_id == rejected.task_id == pair.task.id,
        chosen=chosen.text,
        rejected=rejected.text,
        margin=pair.margin,
        failed=pair.chosen.failed or pair.rejected.failed,
        on_policy=chosen.on_policy + rejected.on_policy,
    )


def item_of_row(number: int, row: Mapping[str, Any]) -> Item:
    """A row of a data set, the `number`th from 0. Raises InputError where it is not a pair."""
    name = f"row {number + 1}"
    prompt = _turns(name, "prompt", row.get("prompt", []))
    chosen, rejected = (_turns(name, side, row.get(side)) for side in ("chosen", "rejected"))
    for value in (row.get(key) for key in ("margin", "chosen_score", "rejected_score")):
        if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
            raise InputError(f"{name}: a score or margin is {value!r}, expected a number")
    margin, good, bad = row.get("margin"), row.get("chosen_score"), row.get("rejected_score")
    if margin is None and good is not None and bad is not None:
        margin = float(good) - float(bad)
    own = [row[key] for key in ("chosen_on_policy", "rejected_on_policy") if row.get(key) is not None]
    sides = [str(row[key]) for key in ("chosen_id", "rejected_id") if row.get(key) is not None]
    return Item(
        id=" > ".join(sides) if len(sides) == 2 else name,
        prompt="\n".join(content for role, content in (*prompt, *chosen[:-1]) if role == "user"),
        prompts_agree=chosen[:-1] == rejected[:-1],
        chosen=chosen[-1][1] if chosen else "",
        rejected=rejected[-1][1] if rejected else "",
        margin=None if margin is None else float(margin),
        on_policy=sum(map(bool, own)) if len(own) == 2 else None,
    )


def _turns(name: str, field: str, value: Any) -> list[tuple[str, str]]:
    """Role and content of each turn; a bare text is one turn: of the user in a prompt, else of the assistant."""
    if isinstance(value, str):
        return [("user" if field == "prompt" else "assistant", value)]
    if not isinstance(value, Sequence) or not all(
        isinstance(turn, Mapping) and isinstance(turn.get("role"), str) and isinstance(turn.get("content"), str)
        for turn in value
    ):
        raise InputError(f"{name}: {field!r} must be a text or a list of messages with role and content")
    return [(turn["role"], turn["content"]) for turn in value]


# -- checks ------------------------------------------------------------------------------------------------------


def broken_pairs(items: Sequence[Item], settings: AuditSettings) -> Iterator[Finding]:
    """What no limit allows."""
    yield Finding("no_pairs", 0, len(items), None, None, not items)
    for name, is_so in _BROKEN.items():
        told = [(item, found) for item in items if (found := is_so(item)) is not None]
        yield _counted(name, [item for item, _ in told], [item for item, found in told if found], 0.0, settings)
    ways = {(item.asked, *item.sides) for item in items}
    turned = [item for item in items if item.differs and (item.asked, *item.sides[::-1]) in ways]
    yield _counted("contradictions", items, turned, 0.0, settings)


# None: the pair does not tell.
_BROKEN: dict[str, Callable[[Item], bool | None]] = {
    "empty_side": lambda item: not item.chosen.strip() or not item.rejected.strip(),
    "identical_sides": lambda item: bool(item.chosen.strip()) and same_text(item.chosen) == same_text(item.rejected),
    "prompts_differ": lambda item: not item.prompts_agree,
    "not_better": lambda item: None if item.margin is None else not item.margin > 0,
    "failed_side": lambda item: item.failed,
    "template_tokens": lambda item: any(TEMPLATE_TOKEN.search(t) for t in (item.prompt, item.chosen, item.rejected)),
}


def doubtful_pairs(items: Sequence[Item], settings: AuditSettings) -> Iterator[Finding]:
    """What the limits of the settings are for."""
    near = [
        item
        for item in items
        if item.differs and jaccard(shingles(item.chosen), shingles(item.rejected)) >= settings.near_similarity
    ]
    yield _counted("near_identical", items, near, settings.near_identical, settings)
    known = [item for item in items if item.on_policy is not None]
    off = [item for item in known if item.on_policy == 0]
    yield _counted("off_policy", known, off, settings.off_policy, settings)
    again = _repeats(items, lambda item: item.asked)
    yield _counted("repeated_prompts", items, again, settings.repeated_prompts, settings)
    again = _repeats(items, lambda item: (item.asked, *item.sides))
    yield _counted("repeated_pairs", items, again, 0.0, settings)
    chosen = {(item.asked, item.sides[0]) for item in items if item.differs}
    both = chosen & {(item.asked, item.sides[1]) for item in items if item.differs}
    in_both = [item for item in items if any((item.asked, side) in both for side in item.sides)]
    yield _counted("both_roles", items, in_both, settings.both_roles, settings)
    declined = [item for item in items if is_refusal(item.chosen) and not is_refusal(item.rejected)]
    yield _counted("refusals_chosen", items, declined, settings.refusals_chosen, settings)


def _repeats(items: Sequence[Item], key: Callable[[Item], object]) -> list[Item]:
    """All but the first of each key."""
    seen: set[object] = set()
    again = []
    for item in items:
        found = key(item)
        if found in seen:
            again.append(item)
        seen.add(found)
    return again


def leaks(items: Sequence[Item], test: Sequence[Messages], settings: AuditSettings) -> Iterator[Finding]:
    """Prompts of pairs that are held out too, as they stand or nearly."""
    held_out = {same_text(asked(messages)).casefold() for messages in test}
    if not held_out:
        items = ()  # nothing was compared, which is not the same as nothing found
    exact = [item for item in items if item.asked in held_out]
    yield _counted("test_leak", items, exact, 0.0, settings)
    near: set[str] = set()
    if items:
        index = NearIndex(settings.leak_similarity)
        for prompt in sorted(held_out):
            index.add(prompt, prompt)
        near = {prompt for prompt in {item.asked for item in items} - held_out if index.find(prompt) is not None}
    yield _counted("test_leak_near", items, [item for item in items if item.asked in near], 0.0, settings)


def lengths(report: LengthReport, settings: AuditSettings) -> Iterator[Finding]:
    """The gap in length, and how often the longer side is chosen."""
    effect, gap = report.effect, report.gap
    # Without any spread of lengths a gap has no size in deviations, and is the more telling.
    broken = abs(effect) > settings.length_effect if effect is not None else bool(gap and gap.n > 1 and gap.value)
    detail = "" if gap is None else f"chosen is {gap.value:+.0f} characters ({gap.low:+.0f} to {gap.high:+.0f})"
    yield Finding("length_gap", report.pairs, report.pairs, effect, settings.length_effect, broken, (), None, detail)
    longer, limit = report.longer_chosen, settings.longer_chosen
    if longer is None:
        yield Finding("longer_chosen", 0, 0, None, limit, False)
        return
    outside = longer.value > limit or longer.value < 1 - limit
    count = round(longer.value * longer.n)
    yield Finding("longer_chosen", count, longer.n, longer.value, limit, outside, (), longer)


def judgements(report: FailureReport, ties: int, tasks: int, settings: AuditSettings) -> Iterator[Finding]:
    """What the judge could not say, of candidates and of tasks."""
    share, limit = report.all, settings.judge_failures
    broken = share is not None and share.value > limit
    detail = ", ".join(f"{count} {state}" for state, count in report.by_state.items())
    value, of = (None, 0) if share is None else (share.value, share.n)
    yield Finding("judge_failures", report.failed, of, value, limit, broken, (), share, detail)
    shares = {**{f"source {name}": share for name, share in report.by_source.items()}, **report.by_length}
    gathered = ", ".join(f"{name} {shares[name].value:.0%} of {shares[name].n}" for name in report.concentrated)
    count = len(report.concentrated)
    groups = len(report.by_source) + len(report.by_length)
    yield Finding("failures_gather", count, groups, None, None, count > 0, (), None, gathered)
    tied = wilson(ties, tasks) if tasks else None
    above = tied is not None and tied.value > settings.judge_ties
    yield Finding("judge_ties", ties, tasks, tied and tied.value, settings.judge_ties, above, (), tied)


def label_noise(accuracy: Interval | None, pairs: int, settings: AuditSettings) -> Finding:
    """Expected share of wrong labels: one minus the judge's accuracy on pairs that people labelled."""
    if accuracy is None:
        return Finding(
            "label_noise", 0, pairs, None, settings.label_noise, False, detail="the judge was not calibrated"
        )
    wrong = Interval(1 - accuracy.value, 1 - accuracy.high, 1 - accuracy.low, accuracy.n)
    detail = f"from {accuracy.n} labelled pairs, if the tasks here are like those"
    broken = wrong.value > settings.label_noise
    count = round(wrong.value * pairs)
    return Finding("label_noise", count, pairs, wrong.value, settings.label_noise, broken, (), wrong, detail)


def _counted(
    name: str, items: Sequence[Item], found: Sequence[Item], limit: float, settings: AuditSettings
) -> Finding:
    share = wilson(len(found), len(items)) if items else None
    value = None if share is None else share.value
    broken = value is not None and value > limit
    ids = tuple(item.id for item in found[: settings.examples])
    return Finding(name, len(found), len(items), value, limit, broken, ids, share)
