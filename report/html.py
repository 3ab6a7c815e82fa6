"""HTML pages: a jinja2 template, made safe for whatever a model wrote.

    html_page(files("stillroom.report").joinpath("lint_page.html"), "Lint before training", report=report)

A page is one file: no script, no font, nothing is loaded, and its own policy (`templates/page.html`, which every
template extends) forbids it. Every value that a template shows is escaped, and what a browser lays out or reorders
stands as its code. `unbroken` does both itself; the one `safe` is of a picture in base64.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files
from importlib.resources.abc import Traversable
from typing import TYPE_CHECKING, Any

from stillroom.common.files import readable

if TYPE_CHECKING:
    from jinja2 import Environment


def html_page(template: Traversable | str, title: str, **values: Any) -> str:
    """The page, from a template's file or text that fills the block `main` of `page.html`."""
    text = template if isinstance(template, str) else template.read_text(encoding="utf-8")
    return _environment().from_string(text).render(title=title, **values)


@lru_cache(maxsize=1)
def _environment() -> Environment:
    from jinja2 import Environment, FunctionLoader, StrictUndefined

    found = Environment(
        loader=FunctionLoader(lambda name: (files("stillroom.report") / "templates" / name).read_text("utf-8")),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    found.filters["unbroken"] = _unbroken
    return found


def _shown(value: Any) -> Any:
    """What an expression gives, on its way to be escaped. Markup is what jinja2 has escaped already."""
    return value if hasattr(value, "__html__") else readable(str(value))


def _unbroken(sentence: str) -> Any:
    """A sentence in which no line ends between a number and its sign."""
    from markupsafe import Markup, escape

    return Markup(escape(readable(sentence)).replace(" %", Markup("&nbsp;%")))
