"""What every dataset card shares: the front matter that the hub and `load_dataset` read, tables, and safe text.

Whatever is put into a card may come from a model or a stranger's recipe: it stays in its cell and is never read as
Markdown or HTML.

>>> one_line("two   words")
'two words'
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from stillroom.common.files import readable
from stillroom.common.secrets import named_in

# Licence names that the hub knows; https://huggingface.co/docs/hub/repositories-licenses
_HUB_NAMES = """
    apache-2.0 mit openrail bigscience-openrail-m cc0-1.0 cc-by-4.0 cc-by-sa-4.0 cc-by-nc-4.0 cc-by-nc-sa-4.0 odc-by
    bsd-2-clause bsd-3-clause gpl-3.0 agpl-3.0 lgpl-3.0 mpl-2.0 unlicense
    llama2 llama3 llama3.1 llama3.2 llama3.3 llama4 gemma deepseek-license
"""
_HUB_LICENCES = frozenset(_HUB_NAMES.split())


def front_matter(*, licence: str | None, name: str, tags: Sequence[str], rows: int, splits: Mapping[str, str]) -> str:
    """The YAML between a card's `---` lines. `rows`: of all splits. `splits`: name of a split to its file."""
    import yaml

    files = [{"split": split, "path": path} for split, path in splits.items()]
    values: dict[str, Any] = {
        **_licence(licence),
        "pretty_name": one_line(name),
        "task_categories": ["text-generation"],
        "tags": list(tags),
        "size_categories": [_size(rows)],
        "configs": [{"config_name": "default", "data_files": files}],
    }
    return yaml.safe_dump(named_in(values), sort_keys=False, allow_unicode=True, width=1000)


def _licence(licence: str | None) -> dict[str, str]:
    if licence is None:
        return {"license": "unknown"}
    if licence.lower() in _HUB_LICENCES:
        return {"license": licence.lower()}
    return {"license": "other", "license_name": one_line(licence)}


def _size(rows: int) -> str:
    limits = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"))
    return next((name for limit, name in limits if rows < limit), "1M<n<10M")


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """A Markdown table, line by line. Every cell is plain text."""
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    return lines + [f"| {' | '.join(plain(cell) for cell in row)} |" for row in rows]


def plain(text: str) -> str:
    """Text that stays in its cell and is not read as Markdown or HTML."""
    return re.sub(r"([\\|<>`*\[\]])", r"\\\1", one_line(text))


def one_line(text: str) -> str:
    """Text without line breaks, control characters and secrets."""
    return readable(" ".join(re.sub(r"[\x00-\x1f\x7f]", " ", text).split()))
