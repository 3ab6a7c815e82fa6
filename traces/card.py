"""The dataset card of SFT rows: what they are made of, by whom, and what was left out on the way.

It holds facts that were passed in and no date, so that the same run gives the same card.

    card_text(CardFacts(recipe="math_tutor", teacher="Qwen/Qwen3-8B", licence="apache-2.0", ...), rows=812)
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from stillroom.traces.filters.base import FilterCount

# Licence names that the hub knows; https://huggingface.co/docs/hub/repositories-licenses
_HUB_NAMES = """
    apache-2.0 mit openrail bigscience-openrail-m cc0-1.0 cc-by-4.0 cc-by-sa-4.0 cc-by-nc-4.0 cc-by-nc-sa-4.0 odc-by
    bsd-2-clause bsd-3-clause gpl-3.0 agpl-3.0 lgpl-3.0 mpl-2.0 unlicense
    llama2 llama3 llama3.1 llama3.2 llama3.3 llama4 gemma deepseek-license
"""
_HUB_LICENCES = frozenset(_HUB_NAMES.split())


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
    return f"---\n{_front_matter(facts, rows)}---\n\n{_body(facts, rows)}"


def _front_matter(facts: CardFacts, rows: int) -> str:
    import yaml

    values: dict[str, Any] = {
        **_licence(facts.licence),
        "pretty_name": f"{_one_line(facts.recipe)} (SFT traces)",
        "task_categories": ["text-generation"],
        "tags": ["stillroom", "distillation", "synthetic", "reasoning-traces"],
        "size_categories": [_size(rows)],
        "configs": [{"config_name": "default", "data_files": [{"split": "train", "path": "train.parquet"}]}],
    }
    return yaml.safe_dump(values, sort_keys=False, allow_unicode=True, width=1000)


def _licence(licence: str | None) -> dict[str, str]:
    if licence is None:
        return {"license": "unknown"}
    if licence.lower() in _HUB_LICENCES:
        return {"license": licence.lower()}
    return {"license": "other", "license_name": _one_line(licence)}


def _size(rows: int) -> str:
    limits = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
    return next((name for limit, name in limits if rows < limit), "1M<n<10M")


def _body(facts: CardFacts, rows: int) -> str:
    lines = [f"# {_plain(facts.recipe)}: {rows:,} reasoning traces for supervised fine-tuning", ""]
    lines += [
        "Each row is a conversation: `prompt` (the messages the student sees) and `completion` (one assistant turn). "
        "`task_id` and `index` name the attempt that it came from.",
        "",
    ]
    lines += _table(("what", "value"), _facts(facts))
    lines += ["", "## From attempts to rows", ""]
    lines += _table(("step", "in", "left out"), _steps(facts, rows))
    lines += ["", "Written by Stillroom. The traces are a model's output: the teacher's licence and terms apply.", ""]
    return "\n".join(lines)


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


def _table(head: Sequence[str], rows: Iterator[Any]) -> list[str]:
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return lines + [f"| {' | '.join(_plain(cell) for cell in row)} |" for row in rows]


def _plain(text: str) -> str:
    """Text that stays in its cell and is not read as Markdown or HTML."""
    return re.sub(r"([\\|<>`*\[\]])", r"\\\1", _one_line(text))


def _one_line(text: str) -> str:
    return " ".join(re.sub(r"[\x00-\x1f\x7f]", " ", text).split())
