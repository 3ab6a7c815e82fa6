"""Prints docs/cli.md: the help texts of the program, as typer renders them in Markdown."""

from __future__ import annotations

import sys

import typer
from typer.cli import get_docs_for_click

from stillroom.cli.app import app


def text() -> str:
    """The whole page."""
    command = typer.main.get_command(app)
    body = get_docs_for_click(obj=command, ctx=typer.Context(command), name="stillroom")
    return f"<!-- made by `make docs`; a test holds it to the program -->\n\n{body.strip()}\n"


if __name__ == "__main__":
    sys.stdout.write(text())
