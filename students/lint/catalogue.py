"""What each finding of the lint means: its consequence with a source, and what to do about it. Texts: catalogue.yaml.

meanings()["duplicates"].ignored
names("masks", "tokens")            # what the checks of these groups can find
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Literal, NamedTuple

import yaml

Severity = Literal["error", "warning"]
Group = Literal["template", "masks", "tokens", "data", "pairs", "teachers"]


class Meaning(NamedTuple):
    """`title`: what is counted. `ignored`: what happens to a student that is trained all the same. `source`: where
    that is shown, or reasoned. `advice`: what to do."""

    title: str
    severity: Severity
    ignored: str
    source: str
    advice: str


@cache
def _groups() -> Mapping[Group, Mapping[str, Meaning]]:
    # On first use, so that importing the lint does not wait for it.
    read = yaml.safe_load((files("stillroom.students.lint") / "catalogue.yaml").read_text(encoding="utf-8"))
    return {group: {name: Meaning(**fields) for name, fields in found.items()} for group, found in read.items()}


@cache
def meanings() -> Mapping[str, Meaning]:
    """All of them, by name: of one severity, in the order in which they are told."""
    return {name: meaning for group in _groups().values() for name, meaning in group.items()}


def names(*groups: Group) -> list[str]:
    """The findings of some groups."""
    return [name for group in groups for name in _groups()[group]]
