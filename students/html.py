"""What every page of ours has in common: that nothing in it runs, loads, or breaks out of its place.

    html_page("Lint before training", style, "<h1>…</h1>")
    safe(model_output)

A page is one file, and its own policy forbids what a browser could still be talked into. A text that is not ours goes
through `safe`, always.
"""

from __future__ import annotations

from html import escape

from stillroom.sampling.writing import readable

_POLICY = "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
"""Pictures only where they stand in the page itself."""


def html_page(title: str, style: str, body: str) -> str:
    """The page. `title` is any text; `style` and `body` are ours, with what is not ours made safe."""
    head = (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{safe(title)}</title><style>{style}</style></head>"
    )
    return f"{head}<body><main>{body}</main></body></html>\n"


def safe(text: str) -> str:
    """The text, escaped, with what no page should lay out as codes."""
    return escape(readable(text))
