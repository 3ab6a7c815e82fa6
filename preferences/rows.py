"""DPO rows: pairs as conversations that trl reads, in a folder that `datasets.load_dataset` reads, with its card.

A row has `prompt` (the messages that the student will see), `chosen` and `rejected` (one assistant turn each), and
what the pair came from: `task_id`, the ids, scores and sources of both sides, `margin`, `strategy`. trl drops columns
that it does not know.

    split = split_pairs(built.pairs, settings.test, seed=7)
    write_dpo(split.train, run / "dpo", card, held_out=split.test)

`chosen_score` and `rejected_score` are the judge's own; `margin` is what the strategy compared, which with
`length: residual` is not their difference. The same pairs give the same files, byte for byte: the card holds facts
that were passed in, and no date.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from stillroom.common.datasets import ParquetRows, front_matter, one_line, plain, table
from stillroom.common.files import remove, replaced, storable
from stillroom.common.hashing import digest
from stillroom.common.records import asked
from stillroom.common.stats.intervals import Interval
from stillroom.errors import InputError, RunError
from stillroom.judges.calibrate import Calibration
from stillroom.preferences.audit import Audit
from stillroom.preferences.candidates import same_text
from stillroom.preferences.lengths import report
from stillroom.preferences.pairs import BuiltCounts
from stillroom.preferences.records import Pair
from stillroom.preferences.settings import PairSettings

FILES = {"train": "train.parquet", "test": "test.parquet"}
CARD_FILE = "README.md"


class Split(NamedTuple):
    """Pairs to train on, and held-out ones, both in the order given. No prompt is on both sides."""

    train: tuple[Pair, ...]
    test: tuple[Pair, ...]


def dpo_row(pair: Pair) -> dict[str, Any]:
    """The row of a pair. Scores and margin are None where the judge compares and does not score.

    A lone surrogate in a text, which no file can hold, becomes U+FFFD.
    """
    chosen, rejected = pair.chosen, pair.rejected
    return {
        "prompt": [_turn(message.role, message.content) for message in pair.prompt],
        "chosen": [_turn("assistant", chosen.candidate.text)],
        "rejected": [_turn("assistant", rejected.candidate.text)],
        "task_id": storable(pair.task.id),
        "chosen_id": storable(chosen.candidate.id),
        "rejected_id": storable(rejected.candidate.id),
        "chosen_score": chosen.score,
        "rejected_score": rejected.score,
        "margin": pair.margin,
        "chosen_source": storable(chosen.candidate.source),
        "rejected_source": storable(rejected.candidate.source),
        "chosen_on_policy": chosen.candidate.on_policy,
        "rejected_on_policy": rejected.candidate.on_policy,
        "strategy": pair.strategy,
    }


def _turn(role: str, content: str) -> dict[str, str]:
    return {"role": role, "content": storable(content)}


def split_pairs(pairs: Sequence[Pair], test: int | float, *, seed: int = 0) -> Split:
    """Holds pairs out, whole prompts at a time, chosen by a hash of the prompt.

    `test`: at least that many pairs, or that share of them; 0 for none. Prompts that differ in white space or case
    only are one. The hash does not see ids or order, so the same prompts are held out whatever they are called.
    Raises InputError where nothing would be left to train on.
    """
    wanted = round(test * len(pairs)) if isinstance(test, float) else test
    pairs_of, held_out = Counter(map(_prompt_key, pairs)), set[str]()
    for key in sorted(pairs_of, key=lambda key: digest([seed, key])):
        if wanted <= 0:
            break
        held_out.add(key)
        wanted -= pairs_of[key]
    train = tuple(pair for pair in pairs if _prompt_key(pair) not in held_out)
    if pairs and not train:
        raise InputError(
            f"holding out {test:g} of {len(pairs)} pairs leaves none to train on: lower pairs.test, or give more "
            "prompts"
        )
    return Split(train, tuple(pair for pair in pairs if _prompt_key(pair) in held_out))


def _prompt_key(pair: Pair) -> str:
    return same_text(asked(pair.prompt)).casefold()


def write_dpo(pairs: Sequence[Pair], folder: Path, card: DpoCardFacts, *, held_out: Sequence[Pair] = ()) -> None:
    """Writes the pairs as parquet, one file for each split, and the dataset card next to them.

    Rows are written in the order given. Raises RunError where there are none, or the folder cannot be written.
    """
    if not pairs:
        raise RunError(f"no pair is left for {folder}: see in what was left out why, and loosen a setting of `pairs`")
    for split, found in (("train", pairs), ("test", held_out)):
        path = folder / FILES[split]
        if not found:
            remove(path)  # of an earlier run
            continue
        with ParquetRows(path, _schema) as rows:
            for pair in found:
                rows.add(dpo_row(pair))
    with replaced(folder / CARD_FILE) as file:
        file.write(storable(card_text(card, pairs=pairs, held_out=held_out)).encode())


def _schema(pa: Any) -> Any:
    turns = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
    text, number, yes = pa.string(), pa.float64(), pa.bool_()
    types: dict[str, Any] = {
        **dict.fromkeys(("prompt", "chosen", "rejected"), turns),
        **dict.fromkeys(("task_id", "chosen_id", "rejected_id"), text),
        **dict.fromkeys(("chosen_score", "rejected_score", "margin"), number),
        **dict.fromkeys(("chosen_source", "rejected_source"), text),
        **dict.fromkeys(("chosen_on_policy", "rejected_on_policy"), yes),
        "strategy": text,
    }
    return pa.schema(list(types.items()))


# -- the dataset card --------------------------------------------------------------------------------------------


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
    verdict in words. `versions`: package to version. `strategy`: in words, None for that of the settings. `read`:
    what was read of a file and left out of it, in words.
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
    strategy: str | None = None
    read: Sequence[tuple[str, str]] = ()


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
        *_section("What the file held", ("what", "how many"), facts.read),
        *_section("From candidates to pairs", ("what", "how many"), _counts(facts.counts)),
        *_section("Lengths", ("characters", "mean with 95 % interval"), _lengths(pairs)),
        *_section("The judge on pairs that people labelled", ("what", "95 % interval"), _calibration(facts)),
        *_section("Audit", ("check", "found", "severity"), _audit(facts.audit)),
        "",
        _footer(facts),
        "",
    ]
    return f"---\n{head}---\n\n" + "\n".join(lines)


def _footer(facts: DpoCardFacts) -> str:
    if facts.read:
        return "Written by Stillroom from a file of preferences: the licence and terms of that file apply."
    return (
        "Written by Stillroom. The answers are models' output: their licences and terms apply. A judge's preferences "
        "are not people's."
    )


def _section(title: str, head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    found = list(rows)
    return ["", f"## {title}", "", *table(head, found)] if found else []


def _facts(facts: DpoCardFacts) -> list[tuple[str, str]]:
    settings = facts.settings
    more = {
        "margin": f" (at least {settings.margin or 0:g} points)",
        "margin_quantile": f" (gaps from quantile {settings.quantile:g} of the judge's own)",
        "on_policy": f" ({settings.on_policy} side{'s' if settings.on_policy == 'both' else ''} the student's)",
    }.get(settings.strategy, "")
    length = f"matched within {settings.max_ratio:g}" if settings.length == "matched" else settings.length
    return [
        ("judge", facts.judge),
        ("rubric", facts.rubric or "none"),
        ("strategy", facts.strategy or settings.strategy + more),
        ("length control", length),
        ("tasks", facts.tasks),
        ("licence", facts.licence or "not stated"),
        ("recipe", facts.recipe),
        ("seed", str(facts.seed)),
        *((f"version of {name}", version) for name, version in sorted(facts.versions.items())),
    ]


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
    for name in ("below_margin", "length_mismatch", "over_limit"):
        if n := getattr(counts, name):
            yield f"pairs left out: {name}", f"{n:,}"
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
