"""The one way to the terminal, for results, progress, errors and logs alike.

What is printed may hold a server's or a model's text. So it is never read as markup, whatever a terminal would obey
(control characters, escape sequences, marks that turn the direction of writing) is shown as its code, and what
`secrets` knows is not shown at all. Style comes from `Text` with a style, never from within a text.

    console = terminal()                        # standard output; terminal(stderr=True)
    table = Table("answer", "n")                # a rich table whose cells are plain text
    table.add_row(model_text, "3")
    console.print(table)

Tables hold on any console of rich's; `json_text` is for programs that read our output.
"""

from __future__ import annotations

import json
import logging
import re
import sys
import warnings
from collections.abc import Iterable
from typing import IO, Any, Protocol, TypeVar

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment
from rich.table import Table as RichTable
from rich.text import Text

from stillroom.common import secrets
from stillroom.common.files import readable
from stillroom.common.secrets import named


class HasDict(Protocol):
    """What `--json` prints."""

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for JSON."""


def plain(text: str, style: str = "") -> Text:
    """A text for a terminal, in one style, with nothing in it that a terminal obeys."""
    return Text(readable(text), style=style)


def terminal(*, stderr: bool = False, quiet: bool = False, file: IO[str] | None = None) -> Terminal:
    """A console on standard output, or on standard error."""
    return Terminal(stderr=stderr, quiet=quiet, file=file, highlight=False, markup=False, emoji=False)


class Terminal(Console):
    """A console that cleans whatever is printed on it: texts before they are measured, and in the end every piece of
    what is written."""

    def print(self, *objects: Any, soft_wrap: bool | None = None, **options: Any) -> None:
        """As in rich; but a terminal, which would break a soft line anywhere, gets lines that end between words. What
        is longer than a line, a path say, stays whole."""
        if soft_wrap and self.is_terminal:
            objects = tuple(self._between_words(each) for each in objects)
        super().print(*objects, soft_wrap=soft_wrap, **options)

    def _between_words(self, text: str | Text) -> Text:
        text = plain(text) if isinstance(text, str) else text.copy()
        characters, start = list(text.plain), 0
        for word in re.finditer(r"\S+", text.plain):
            if "\n" in text.plain[start : word.start()]:
                start = text.plain.rindex("\n", start, word.start()) + 1
            if word.end() - start > self.width and text.plain[start : word.start()].strip():
                characters[word.start() - 1] = "\n"
                start = word.start()
        text.plain = "".join(characters)
        return text

    def render_str(self, text: str, **options: Any) -> Text:
        """A text on its way into a table or a line: never markup."""
        return super().render_str(readable(text), **{**options, "markup": False, "emoji": False, "highlight": False})

    def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
        """What is written. Control codes are rich's own: it takes none from a text."""
        for segment in super().render(renderable, options):
            yield segment if segment.control else segment._replace(text=readable(segment.text))


class Table(RichTable):
    """A rich table in which every string (a cell, a column's name, the title, the caption) is plain text. A cell with
    its own style is a `Text`."""

    def __init__(self, *headers: str, title: str = "", caption: str = "", **options: Any) -> None:
        super().__init__(**options)
        for header in headers:
            self.add_column(header)
        self.title = plain(title, str(self.title_style or "table.title")) if title else None
        self.caption = plain(caption, str(self.caption_style or "table.caption")) if caption else None

    @classmethod
    def grid(cls, *headers: Any, padding: Any = 0, **options: Any) -> Table:
        """A table without lines or header, as in rich."""
        bare: dict[str, Any] = {"show_header": False, "show_footer": False, "show_edge": False, "pad_edge": False}
        return cls(*headers, box=None, padding=padding, collapse_padding=True, **bare, **options)

    def add_column(self, header: RenderableType = "", *args: Any, **options: Any) -> None:
        """As in rich."""
        super().add_column(_cell(header), *args, **options)

    def add_row(self, *cells: RenderableType | None, **options: Any) -> None:
        """As in rich."""
        super().add_row(*map(_cell, cells), **options)


def columns(*headers: str, right: Iterable[str] = (), **options: Any) -> Table:
    """A table without lines, two spaces between its columns. `right`: those that hold numbers, which are never
    broken; other cells go on in the next line, between words, where there is no room."""
    table, numbers = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, **options), set(right)
    for header in headers:
        if header in numbers:
            table.add_column(header, justify="right", no_wrap=True)
        else:
            table.add_column(header, overflow="fold")
    return table


def _cell(content: Any) -> Any:
    return plain(content) if isinstance(content, str) else content


def json_text(value: Any, *, indent: int | None = None) -> str:
    """A value as JSON for a program, which may well be a terminal: characters that one would obey are escaped, and
    what `secrets` knows is named. Half a surrogate pair, which no encoding takes, is escaped like them."""
    text = json.dumps(secrets.named_in(value), indent=indent, ensure_ascii=False)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)


class _Handler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        sys.stderr.write(readable(self.format(record)) + "\n")


def clean_logs() -> None:
    """Has warnings, and what libraries log where nobody set up logging, printed as everything else is."""
    logging.lastResort = _Handler(logging.WARNING)
    told = warnings.formatwarning
    warnings.formatwarning = lambda *args, **options: readable(told(*args, **options))


C = TypeVar("C", bound=Console)
PIPE_WIDTH = 180
"""Columns of a table that does not go to a terminal: no width to fit, and lines that wrap cannot be searched."""


def wide(console: C) -> C:
    """The same, with `PIPE_WIDTH` columns at least where it is not a terminal."""
    if not console.is_terminal:
        console.width = max(console.width, PIPE_WIDTH)
    return console


def shown(text: str, limit: int, *, end: bool = False) -> str:
    """A text for one cell: one line, cut to `limit` characters, and nothing in it that a terminal obeys.

    `end`: keeps the end, where a completion has its answer.
    """
    text = named(text)  # before it is cut: half a secret is found less surely than a whole one
    flat = " ".join((text[-4 * limit :] if end else text[: 4 * limit]).split())
    safe = "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in flat)
    cut = len(safe) > limit or len(text) > 4 * limit
    if not cut:
        return safe
    return "…" + safe[1 - limit :] if end else safe[: limit - 1] + "…"
