"""Every page is safe by its environment, whatever its template says."""

from __future__ import annotations

from pathlib import Path

import pytest

from stillroom.report.html import html_page

ROOT = Path(__file__).parents[2]
HOSTILE = "<b>\"'&\x1b\u202e"
START = '{% extends "page.html" %}{% block main %}'


def main(template: str, **values: object) -> str:
    return (
        html_page(f"{START}{template}{{% endblock %}}", "t", **values).split("<main>")[1].split("</main>")[0].strip()
    )


@pytest.mark.parametrize("template", ["{{ x }}", "{{ x | unbroken }}", "{% for c in [x] %}{{ c }}{% endfor %}"])
def test_what_a_template_shows_is_escaped_and_readable(template: str) -> None:
    assert main(template, x=HOSTILE) == "&lt;b&gt;&#34;&#39;&amp;\\x1b\\u202e"


def test_a_macro_is_escaped_once() -> None:
    assert main("{% macro m(t) %}<i>{{ t }}</i>{% endmacro %}{{ m(x) }}", x="<") == "<i>&lt;</i>"


def test_a_number_and_its_sign_stay_together() -> None:
    assert main("{{ x | unbroken }}", x="5 % of <") == "5&nbsp;% of &lt;"


def test_a_value_that_is_missing_is_an_error() -> None:
    from jinja2 import UndefinedError

    with pytest.raises(UndefinedError):
        main("{{ nobody_gave_this }}")


def test_no_template_switches_it_off_but_for_pictures() -> None:
    lines = [
        line.strip()
        for room in ("report", "students", "pipeline")
        for path in (ROOT / room).rglob("*.html")
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    assert [line for line in lines if "| safe" in line or "|safe" in line or "autoescape" in line] == [
        """<div class="plot"><img alt="{{ plot.name }}, as a plot" src="{{ plot.data | safe }}"></div>"""
    ]
