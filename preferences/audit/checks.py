"""The checks of the audit, one function each: from pairs, slates or a calibration to findings.

What is broken has no limit to exceed: one such pair is enough. Warnings have the limits of `AuditSettings`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from stillroom.common.records import Messages
from stillroom.common.similarity import NearIndex, jaccard, shingles
from stillroom.common.stats.intervals import Interval, wilson
from stillroom.common.text import is_refusal
from stillroom.preferences.audit.findings import Finding
from stillroom.preferences.audit.items import Item, asked_in
from stillroom.preferences.candidates import TEMPLATE_TOKEN, same_text
from stillroom.preferences.failures import FailureReport
from stillroom.preferences.lengths import LengthReport
from stillroom.preferences.settings import AuditSettings


def broken_pairs(items: Sequence[Item], settings: AuditSettings) -> Iterator[Finding]:
    """What no limit allows."""
    yield Finding("no_pairs", 0, len(items), None, None, not items)
    for name, is_so in _BROKEN.items():
        told = [(item, found) for item in items if (found := is_so(item)) is not None]
        yield _counted(name, [item for item, _ in told], [item for item, found in told if found], 0.0, settings)
    ways = {_way(item) for item in items}
    turned = [item for item in items if _is_pair(item) and (item.asked, *_sides(item)[::-1]) in ways]
    yield _counted("contradictions", items, turned, 0.0, settings)


def _way(item: Item) -> tuple[str, str, str]:
    return (item.asked, *_sides(item))


def _sides(item: Item) -> tuple[str, str]:
    return same_text(item.chosen), same_text(item.rejected)


def _is_pair(item: Item) -> bool:
    """Whether it has two sides that differ: what has not is found elsewhere."""
    chosen, rejected = _sides(item)
    return bool(chosen) and bool(rejected) and chosen != rejected


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
        if _is_pair(item) and jaccard(shingles(item.chosen), shingles(item.rejected)) >= settings.near_similarity
    ]
    yield _counted("near_identical", items, near, settings.near_identical, settings)
    known = [item for item in items if item.on_policy is not None]
    off = [item for item in known if item.on_policy == 0]
    yield _counted("off_policy", known, off, settings.off_policy, settings)
    yield _counted("repeated_prompts", items, _repeats(items, lambda i: i.asked), settings.repeated_prompts, settings)
    yield _counted("repeated_pairs", items, _repeats(items, _way), 0.0, settings)
    yield _counted("both_roles", items, _in_both_roles(items), settings.both_roles, settings)
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


def _in_both_roles(items: Sequence[Item]) -> list[Item]:
    chosen = {(item.asked, _sides(item)[0]) for item in items if _is_pair(item)}
    rejected = {(item.asked, _sides(item)[1]) for item in items if _is_pair(item)}
    both = chosen & rejected
    return [item for item in items if any((item.asked, side) in both for side in _sides(item))]


def leaks(items: Sequence[Item], test: Sequence[Messages], settings: AuditSettings) -> Iterator[Finding]:
    """Prompts of pairs that are held out too, as they stand or nearly."""
    held_out = {same_text(asked_in(messages)).casefold() for messages in test}
    if not held_out:
        items = ()  # nothing was compared, which is not the same as nothing found
    exact = [item for item in items if item.asked in held_out]
    yield _counted("test_leak", items, exact, 0.0, settings)
    near = _near(items, held_out, settings.leak_similarity)
    yield _counted("test_leak_near", items, near, 0.0, settings)


def _near(items: Sequence[Item], held_out: set[str], similarity: float) -> list[Item]:
    if not items:
        return []
    index = NearIndex(similarity)
    for prompt in sorted(held_out):
        index.add(prompt, prompt)
    asked = {item.asked for item in items} - held_out
    near = {prompt for prompt in asked if index.find(prompt) is not None}
    return [item for item in items if item.asked in near]


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
