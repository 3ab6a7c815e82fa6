"""Reads YAML and remembers the line of every key, so that a mistake can be shown where it stands.

Only plain data is read (no tags that build objects). A key that stands twice is refused, and so is what no recipe
needs and what takes memory or time without end: values by the thousand (aliases of aliases), nesting without end,
numbers of hundreds of digits.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from stillroom.errors import MissingFile, RecipeError

Loc = tuple[str | int, ...]

MOST_VALUES, DEEPEST, LONGEST_NUMBER = 50_000, 50, 100
"""Values with those that aliases repeat; levels of nesting; characters of a number."""
_NUMBERS = ("tag:yaml.org,2002:int", "tag:yaml.org,2002:float")
_KEY_TAGS = ("tag:yaml.org,2002:str", "tag:yaml.org,2002:merge")


@dataclass(slots=True)
class Located:
    """The values, and by location of a key or list item its line from 1. `overridden`: keys set from outside."""

    path: Path
    values: dict[str, Any]
    lines: dict[Loc, int]
    overridden: set[tuple[str, ...]] = field(default_factory=set)


def read_yaml(path: Path) -> Located:
    """Reads a mapping. Raises MissingFile or RecipeError."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise MissingFile(f"cannot read {path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise RecipeError(f"{path} is not UTF-8 (byte {error.start}): save it as UTF-8") from None
    lines: dict[Loc, int] = {}
    try:
        values = _read(text, lines, path)
    except yaml.YAMLError as error:
        raise RecipeError(_syntax(path, error)) from None
    except ValueError as error:
        raise error if isinstance(error, RecipeError) else RecipeError(f"{path}: {error}") from None
    if values is None:
        raise RecipeError(f"{path} is empty: a recipe has at least the keys name, tasks and teacher")
    if not isinstance(values, dict):
        raise RecipeError(f"{path}: a recipe is a mapping of keys, found {type(values).__name__}")
    return Located(path, values, lines)


def read_value(text: str) -> Any:
    """Plain data from one value in YAML. Raises ValueError, in words."""
    try:
        return _read(text, {}, Path("the value"))
    except yaml.YAMLError as error:
        raise ValueError(f"the value is not YAML: {getattr(error, 'problem', None) or ''}") from None


def _read(text: str, lines: dict[Loc, int], path: Path) -> Any:
    """Looks at all that is there before anything is built of it. Raises YAMLError or ValueError."""
    depth = 0
    for event in yaml.parse(text, Loader=yaml.SafeLoader):  # without end, it would be composed without end
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise ValueError(_TOO_DEEP)
    try:
        _walk(yaml.compose(text, Loader=yaml.SafeLoader), (), lines, path)
        return yaml.safe_load(text)
    except RecursionError:
        raise ValueError(_TOO_DEEP) from None


_TOO_DEEP = "nested too deep, or an alias (*name) within its own anchor (&name)"


def _checked(node: yaml.Node | None, loc: Loc, lines: dict[Loc, int]) -> None:
    """Raises ValueError for what is more than a recipe holds."""
    if len(loc) > DEEPEST:
        raise ValueError(_TOO_DEEP)
    if len(lines) > MOST_VALUES:
        raise ValueError(f"more than {MOST_VALUES:,} values: do its aliases (*name) repeat each other?")
    if isinstance(node, yaml.ScalarNode) and node.tag in _NUMBERS and len(node.value) > LONGEST_NUMBER:
        raise ValueError(f"line {node.start_mark.line + 1}: a number of {len(node.value):,} characters")


def _walk(node: yaml.Node | None, loc: Loc, lines: dict[Loc, int], path: Path) -> None:
    _checked(node, loc, lines)
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            here = (*loc, str(key.value))
            line = key.start_mark.line + 1
            if key.tag not in _KEY_TAGS:
                raise RecipeError(
                    f"{path}, line {line}: the key {str(key.value)[:60]} is not text: write it in quotes"
                )
            if here in lines:
                dotted = ".".join(map(str, here))
                raise RecipeError(f"{path}, line {line}: {dotted} stands there twice (first in line {lines[here]})")
            lines[here] = line
            _walk(value, here, lines, path)
    elif isinstance(node, yaml.SequenceNode):
        for i, value in enumerate(node.value):
            lines[(*loc, i)] = value.start_mark.line + 1
            _walk(value, (*loc, i), lines, path)


def _syntax(path: Path, error: yaml.YAMLError) -> str:
    mark = getattr(error, "problem_mark", None)
    where = f", line {mark.line + 1}" if mark is not None else ""
    return f"{path}{where}: not YAML: {getattr(error, 'problem', None) or error}"
