"""The dataset card of SFT rows: what they are made of, who made them, and what was left out on the way.

It holds facts that were passed in and no date, so that the same run gives the same card.

    card_text(CardFacts(recipe="math_tutor", teacher="Qwen/Qwen3-8B", licence="apache-2.0", ...), rows=812)
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from stillroom.common.datasets import front_matter, one_line, plain, table
from stillroom.traces.filters.base import FilterCount


@dataclass(frozen=True, slots=True)
class CardFacts:
    """What the card says.

    `licence`: the teacher's, None where it is not known. `tasks`: where the tasks are from. `attempts`, `accepted`:
    counts before the filters. `versions`: package to version.
    """

    recipe: str
    teacher: str
    licence: str | None
    scorer: str
    tasks: str
    seed: int
    attempts: int
    accepted: int
    filters: Sequence[FilterCount] = ()
    versions: Mapping[str, str] = field(default_factory=dict)


def card_text(facts: CardFacts, rows: int) -> str:
    """The card as Markdown with the front matter that the hub and `load_dataset` read."""
    head = front_matter(
        licence=facts.licence,
        name=f"{one_line(facts.recipe)} (SFT traces)",
        tags=["stillroom", "distillation", "synthetic", "reasoning-traces"],
        rows=rows,
        splits={"train": "train.parquet"},
    )
    lines = [f"# {plain(facts.recipe)}: {rows:,} reasoning traces for supervised fine-tuning", ""]
    lines += [
        "Each row is a conversation: `prompt` (the messages the student sees) and `completion` (one assistant turn). "
        "`task_id` and `index` name the attempt that it came from.",
        "",
    ]
    lines += table(("what", "value"), _facts(facts))
    lines += ["", "## From attempts to rows", ""]
    lines += table(("step", "in", "left out"), _steps(facts, rows))
    lines += ["", "Written by Stillroom. The traces are a model's output: the teacher's licence and terms apply.", ""]
    return f"---\n{head}---\n\n" + "\n".join(lines)


def _facts(facts: CardFacts) -> Iterator[tuple[str, str]]:
    yield "teacher", facts.teacher
    yield "licence of the teacher", facts.licence or "not stated"
    yield "tasks", facts.tasks
    yield "scorer", facts.scorer
    yield "recipe", facts.recipe
    yield "seed", str(facts.seed)
    yield from ((f"version of {name}", version) for name, version in sorted(facts.versions.items()))


def _steps(facts: CardFacts, rows: int) -> Iterator[tuple[str, str, str]]:
    left_out = facts.attempts - facts.accepted
    yield "attempts accepted, the first few of each task", f"{facts.attempts:,}", f"{left_out:,}"
    yield from ((f"filter {count.name}", f"{count.seen:,}", f"{count.dropped:,}") for count in facts.filters)
    yield "rows", f"{rows:,}", ""
