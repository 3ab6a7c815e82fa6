"""The dataset card of DPO rows: who wrote the answers, who judged them and how, what the audit found.

It holds facts that were passed in and no date, so that the same run gives the same card.

    card_text(DpoCardFacts(recipe="house_style", sources=[...], judge="style-1", settings=settings, ...), pairs=pairs)
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from stillroom.common.datasets import front_matter, one_line, plain, table
from stillroom.common.stats.intervals import Interval
from stillroom.judges.calibrate import Calibration
from stillroom.preferences.audit import Audit
from stillroom.preferences.lengths import report
from stillroom.preferences.pairs import BuiltCounts
from stillroom.preferences.records import Pair
from stillroom.preferences.settings import PairSettings


@dataclass(frozen=True, slots=True)
class SourceFacts:
    """Who wrote candidates. `name`: as in the rows. `model`: the identity of whoever answered. `licence`: of what it
    writes, None where it is not known."""

    name: str
    model: str
    licence: str | None = None
    on_policy: bool = False


@dataclass(frozen=True, slots=True)
class DpoCardFacts:
    """What the card says.

    `licence`: of the data set, None where it is not known. `judge`: its identity; `rubric`: name and version, None
    for a judge without. `counts`: of the building; `audit`, `calibration`: None where there was none. `gate`: the
    verdict in words. `versions`: package to version.
    """

    recipe: str
    sources: Sequence[SourceFacts]
    licence: str | None
    tasks: str
    judge: str
    settings: PairSettings
    seed: int
    rubric: str | None = None
    counts: BuiltCounts | None = None
    audit: Audit | None = None
    calibration: Calibration | None = None
    gate: str | None = None
    versions: Mapping[str, str] = field(default_factory=dict)


def card_text(facts: DpoCardFacts, *, pairs: Sequence[Pair], held_out: Sequence[Pair] = ()) -> str:
    """The card as Markdown with the front matter that the hub and `load_dataset` read."""
    head = front_matter(
        licence=facts.licence,
        name=f"{one_line(facts.recipe)} (preference pairs)",
        tags=["stillroom", "distillation", "synthetic", "preference", "dpo"],
        rows=len(pairs) + len(held_out),
        splits={"train": "train.parquet"} | ({"test": "test.parquet"} if held_out else {}),
    )
    lines = [
        f"# {plain(facts.recipe)}: {len(pairs):,} preference pairs"
        + (f", {len(held_out):,} held out" if held_out else ""),
        "",
        "Each row is a conversation with two ends: `prompt` (the messages the student sees), `chosen` and `rejected` "
        "(one assistant turn each). The ids name the candidates that they came from; scores are the judge's own.",
        "",
        *table(("what", "value"), _facts(facts)),
        *_section(
            "Who wrote the answers", ("source", "model", "licence", "chosen", "rejected"), _sources(facts, pairs)
        ),
        *_section("From candidates to pairs", ("what", "how many"), _counts(facts.counts)),
        *_section("Lengths", ("characters", "mean with 95 % interval"), _lengths(pairs)),
        *_section("The judge on pairs that people labelled", ("what", "95 % interval"), _calibration(facts)),
        *_section("Audit", ("check", "found", "severity"), _audit(facts.audit)),
        "",
        "Written by Stillroom. The answers are models' output: their licences and terms apply. A judge's preferences "
        "are not people's.",
        "",
    ]
    return f"---\n{head}---\n\n" + "\n".join(lines)


def _section(title: str, head: Sequence[str], rows: Iterator[Sequence[str]]) -> list[str]:
    found = list(rows)
    return ["", f"## {title}", "", *table(head, found)] if found else []


def _facts(facts: DpoCardFacts) -> Iterator[tuple[str, str]]:
    settings = facts.settings
    yield "judge", facts.judge
    yield "rubric", facts.rubric or "none"
    yield "strategy", _strategy(settings)
    yield (
        "length control",
        f"matched within {settings.max_ratio:g}" if settings.length == "matched" else settings.length,
    )
    yield "tasks", facts.tasks
    yield "licence", facts.licence or "not stated"
    yield "recipe", facts.recipe
    yield "seed", str(facts.seed)
    yield from ((f"version of {name}", version) for name, version in sorted(facts.versions.items()))


def _strategy(settings: PairSettings) -> str:
    more = {
        "margin": f"at least {settings.margin or 0:g} points",
        "margin_quantile": f"gaps from quantile {settings.quantile:g} of the judge's own",
        "on_policy": f"{settings.on_policy} side{'s' if settings.on_policy == 'both' else ''} the student's",
    }.get(settings.strategy)
    return settings.strategy + (f" ({more})" if more else "")


def _sources(facts: DpoCardFacts, pairs: Sequence[Pair]) -> Iterator[tuple[str, ...]]:
    chosen = Counter(pair.chosen.candidate.source for pair in pairs)
    rejected = Counter(pair.rejected.candidate.source for pair in pairs)
    for source in facts.sources:
        name = f"{source.name} (the student itself)" if source.on_policy else source.name
        licence = source.licence or "not stated"
        yield name, source.model, licence, f"{chosen[source.name]:,}", f"{rejected[source.name]:,}"


def _counts(counts: BuiltCounts | None) -> Iterator[tuple[str, str]]:
    if counts is None:
        return
    yield "candidates judged", f"{counts.candidates:,}"
    yield from ((f"candidates left out: {name}", f"{n:,}") for name, n in counts.candidates_left_out.items())
    yield "tasks", f"{counts.slates:,}"
    yield from ((f"tasks without a pair: {name}", f"{n:,}") for name, n in counts.slates_left_out.items())
    yield "pairs", f"{counts.pairs:,}"


def _lengths(pairs: Sequence[Pair]) -> Iterator[tuple[str, str]]:
    found = report(pairs)
    rows = {"chosen": found.chosen, "rejected": found.rejected, "chosen minus rejected": found.gap}
    yield from ((name, _interval(value, ".0f")) for name, value in rows.items() if value is not None)
    if found.longer_chosen is not None:
        yield "share of pairs whose longer side is chosen", _interval(found.longer_chosen, ".1%")


def _calibration(facts: DpoCardFacts) -> Iterator[tuple[str, str]]:
    found = facts.calibration
    if found is not None:
        rows = {
            "accuracy": found.accuracy,
            "accuracy where both orders agree": found.decided_accuracy,
            "Cohen's κ": found.kappa,
            "consistency when swapped": found.consistency,
            "P(first)": found.first,
            'accuracy above "longer wins"': found.beats_longer,
        }
        for name, value in rows.items():
            yield name, "does not apply" if value is None else str(value)
    if facts.gate is not None:
        yield "gate", facts.gate


def _audit(audit: Audit | None) -> Iterator[tuple[str, str, str]]:
    if audit is None:
        return
    for found in (*audit.errors, *audit.warnings):
        yield found.meaning.title, found.told, found.severity
    passed = len(audit.findings) - len(audit.errors) - len(audit.warnings)
    yield "checks within their limits", str(passed), ""


def _interval(value: Interval, how: str) -> str:
    return f"{value.value:{how}} ({value.low:{how}} to {value.high:{how}}, n = {value.n:,})"
