"""Whatever is printed: no foreign text is markup, and none of it is obeyed by a terminal, by a log or by a program.

Every character that a terminal may obey goes through every door to it: tables, notes, progress, errors, logs, JSON,
pages, and the commands themselves, with colours on.
"""

from __future__ import annotations

import io
import json
import logging
import re
import sys
import unicodedata
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.panel import Panel
from rich.text import Text

from stillroom import run
from stillroom.cli import app as cli
from stillroom.cli.show import show_pairs
from stillroom.common.datasets import plain as in_a_card
from stillroom.common.printing import Table, Terminal, clean_logs, json_text, plain, shown, terminal
from stillroom.common.records import Attempt, Task, user
from stillroom.errors import InputError, StillroomError
from stillroom.evaluation.results import Comparison, Evaluation, Result
from stillroom.judges.agreement import JudgedPair
from stillroom.judges.calibrate import GateVerdict, summarise
from stillroom.judges.human_labels import LabelledPair
from stillroom.pipeline.flows.audit import PairsFound
from stillroom.pipeline.run.progress import Display, progress_line, progress_table
from stillroom.preferences.audit import audit_rows
from stillroom.report.evaluation_table import eval_table
from stillroom.report.html import html_page
from stillroom.report.lint import lint_table
from stillroom.report.preferences import calibration_table, comparison_table, preference_table
from stillroom.sampling.counts import Counts
from stillroom.students.lint.report import Finding, LintReport
from tests.conftest import Body, ModelServer, Reply, completion, served_by, sum_answer, write_sums

OBEYED = [chr(c) for c in (*range(0x20), *range(0x7F, 0xA0)) if chr(c) != "\n"]
OBEYED += [chr(c) for c in range(0x202A, 0x202F)] + [chr(c) for c in range(0x2066, 0x206A)]
OBEYED += list("\u200e\u200f\u061c\u2028\u2029\ufeff\u200b\U000e0041")
SEQUENCES = [
    "\x1b[2J",
    "\x1b]0;owned\x07",
    "\x9b5m",
    "\x1b[5m",
    "\x1bP+q\x1b\\",
    "\x1b]8;;http://x\x1b\\y",
    "\r\x1b[K",
]
MARKUP = ["[/]", "[bold]", "[/bold", "[link=http://x]y[/link]", "[[", "\\[", "[red]no[/red]", ":smile:", "[@click=x]"]
HOSTILE = " ".join([*OBEYED, *SEQUENCES, *MARKUP])

# What rich writes by itself: colours, and what moves the cursor of a live table.
RICH = re.compile(r"\x1b\[(?:(?!5m)[0-9;]*m|\?25[lh]|2K|1A)|\r(?=\x1b\[(?:2K|1A))")


def faults(printed: str) -> list[str]:
    """Characters that a terminal would obey, beyond what rich writes; and markup that was taken."""
    left = RICH.sub("", printed)
    found = {c for c in left if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp", "Co")}
    return sorted(map(ascii, found)) + (["a smile"] if "\U0001f604" in printed else [])


# -- tables and texts of every kind --------------------------------------------------------------------------------


def evaluation(text: str) -> Evaluation:
    metrics = (
        "accuracy",
        "share_stopped",
        "mean_completion_tokens",
        "pass_at_2",
        f"{text}_accuracy",
        "perplexity_ratio",
    )
    results = [
        Result(who=w, metric=m, value=0.3, low=0.1, high=0.5, n=9) for w in (text, f"b{text}") for m in metrics
    ]
    found = {"difference": 0.1, "low": 0.05, "high": 0.2, "p": 0.01, "n": 9, "test": text}
    comparisons = [Comparison(a=text, b="b", **found), Comparison(a=text, b="b", metric=f"{text}_accuracy", **found)]
    return Evaluation(results=tuple(results), comparisons=tuple(comparisons), notes=(text,))


def calibration(text: str) -> Any:
    one, two = (Attempt("t", n, f"{n}{text}", None, "stop", 0, 0, None, 0.0, text) for n in (0, 1))
    pairs = [LabelledPair(Task(text, user(text), None, text), one, two, "a" if n else "b") for n in (0, 1)]
    judged = [JudgedPair(pair, (), "a", 1) for pair in pairs]
    found = summarise(judged, judge=text, kind="pairwise", seed=0)
    return found.model_copy(update={"notes": (text,), "states": {text: 1}})


def table(text: str) -> Table:
    made = Table(text, "n", title=text, caption=text)
    made.add_column(text)
    made.add_row(text, plain(text, "bold"), text)
    return made


def lint(text: str) -> Any:
    finding = Finding("duplicates", "error", 1, 2, (text,), text)
    return lint_table(LintReport("rows", 2, 2, (finding,), (text,), {text: text}, (text,)))


PAIR = {"prompt": "x", "chosen": "y", "rejected": "z"}
TABLES: dict[str, Callable[[str], Any]] = {
    "plain": plain,
    "table": table,
    "grid": lambda text: _grid(text),
    "evaluation": lambda text: eval_table(evaluation(text)),
    "preferences": lambda text: preference_table(evaluation(text)),
    "calibration": lambda text: calibration_table(calibration(text), GateVerdict(False, (text,))),
    "judges": lambda text: comparison_table([(text, text, calibration(text), GateVerdict(False, (text,)))]),
    "lint": lint,
    "audit": lambda text: audit_rows([{name: f"{value} {text}" for name, value in PAIR.items()}]).table(),
    "progress": lambda text: progress_table(text, Counts(tasks_total=3, last_failure=text)),
    "progress line": lambda text: plain(progress_line(Counts(last_failure=text))),
}


def _grid(text: str) -> Table:
    made = Table.grid(padding=(0, 1))
    made.add_row(text)
    return made


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("width", [20, 80, 500])
@pytest.mark.parametrize("console", [Console, Terminal])
def test_no_table_obeys_its_texts(name: str, width: int, console: type[Console]) -> None:
    for text in (HOSTILE, *MARKUP, *SEQUENCES, "\ud800"):
        file = io.StringIO()
        console(file=file, width=width, force_terminal=True).print(TABLES[name](text))
        assert faults(file.getvalue()) == []


@pytest.mark.parametrize("character", OBEYED, ids=ascii)
def test_each_character_is_shown_as_its_code(character: str) -> None:
    file = io.StringIO()
    terminal(file=file).print(table(f"a{character}b"))
    code = character.encode("unicode_escape").decode("ascii")
    assert f"a{code}b" in file.getvalue()


@pytest.mark.parametrize("made", [str, Text, Panel, lambda text: Panel(Text(text), title=Text(text))])
def test_a_terminal_cleans_even_what_is_printed_as_it_is(made: Callable[[str], Any]) -> None:
    file = io.StringIO()
    terminal(file=file).print(made(HOSTILE.replace("[/bold", "")) if made is not Panel else made(SEQUENCES[0]))
    assert faults(file.getvalue()) == []


@given(st.text(max_size=40))
def test_whatever_the_text(text: str) -> None:
    file = io.StringIO()
    terminal(file=file).print(table(text))
    assert faults(file.getvalue()) == []
    for limit in (5, 50):
        for end in (False, True):
            assert faults(shown(text, limit, end=end)) == []
            assert len(shown(text, limit, end=end)) <= limit
    assert faults(in_a_card(text)) == []
    assert (
        faults(html_page("{% extends 'page.html' %}{% block main %}{{ text }}{% endblock %}", text, text=text)) == []
    )


@pytest.mark.parametrize("force", [True, False])
@pytest.mark.parametrize("make", [terminal, Console])
def test_what_a_run_shows_is_not_obeyed(make: Callable[..., Console], force: bool) -> None:
    file = io.StringIO()
    console = Console(file=file, force_terminal=force, width=90)
    if make is terminal:
        console = Terminal(file=file, force_terminal=force, width=90)
    display = Display(console)
    for text in (HOSTILE, *MARKUP):
        display.line(text, text)
        display.note(text)
        display.note_once(text)
        with display.steps(text) as step:
            step(1, 1, 0.5, 3.0)
    assert faults(file.getvalue()) == []


def test_pairs_are_shown_as_they_are(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    turns = [{"role": "user", "content": HOSTILE}]
    rows = [{"task_id": HOSTILE, "prompt": turns, "chosen": turns, "rejected": [{"role": "user", "content": "no"}]}]
    show_pairs(PairsFound(Path(f"x{HOSTILE}".replace("\x00", "").replace("/", "")), rows, audit_rows(rows)), 1)
    assert faults(capsys.readouterr().out) == []


def test_logs_and_warnings_are_printed_like_the_rest(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging, "lastResort", logging.lastResort)
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)
    clean_logs()
    handler = logging.lastResort
    assert handler is not None
    handler.handle(logging.LogRecord("x", logging.ERROR, "x.py", 1, "said %s", (HOSTILE,), None))
    told = warnings.formatwarning(HOSTILE, UserWarning, "x.py", 1)
    assert faults(capsys.readouterr().err) == faults(told) == []


@given(st.recursive(st.text(max_size=9), lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=9), inner)))
def test_json_for_programs_holds_the_same_and_obeys_nothing(value: Any) -> None:
    for indent in (None, 2):
        text = json_text(value, indent=indent)
        assert faults(text) == []
        assert json.loads(text) == value
        text.encode()


def test_every_such_character_is_escaped_in_json() -> None:
    assert json.loads(json_text({HOSTILE: HOSTILE})) == {HOSTILE: HOSTILE}
    assert faults(json_text({HOSTILE: [HOSTILE]}, indent=2)) == []


# -- whole runs and commands ---------------------------------------------------------------------------------------

ERRORS: dict[str, Callable[[], Reply]] = {
    "message": lambda: Reply({"error": {"message": HOSTILE}}, status=400),
    "text": lambda: Reply(HOSTILE.encode(), status=500),
    "key": lambda: Reply({"error": {"message": HOSTILE}}, status=401),
    "quota": lambda: Reply({"error": {"message": HOSTILE, "code": "insufficient_quota"}}, status=429),
    "no model": lambda: Reply({}, status=404),
    "no answer": lambda: Reply(HOSTILE.encode()),
    "markup": lambda: Reply({"error": {"message": "no [/] model"}}, status=400),
}


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("force", [True, False])
def test_an_error_of_a_server_is_a_message(
    model_server: ModelServer, tmp_path: Path, error: str, force: bool
) -> None:
    model_server.script = lambda _: ERRORS[error]()
    model_server.models = Reply({"data": [{"id": HOSTILE}]})
    file = io.StringIO()
    display = Display(Terminal(file=file, force_terminal=force, width=90))
    with pytest.raises(StillroomError):
        run(write_sums(tmp_path, tasks=2, teacher=served_by(model_server)), out=tmp_path / "run", display=display)
    assert faults(file.getvalue()) == []


def hostile_answers(body: Body) -> Reply:
    text = sum_answer(body["messages"][-1]["content"], body["seed"])
    return Reply(completion(f"{HOSTILE}\n{text}", finish=HOSTILE if body["seed"] % 3 else "stop"))


Shell = Callable[..., tuple[str, str]]


@pytest.fixture
def shell(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Shell:
    """The command line in this process, with colours: what it writes on standard output and on standard error."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "100")
    monkeypatch.chdir(tmp_path)

    def call(*args: object) -> tuple[str, str]:
        monkeypatch.setattr(sys, "argv", ["stillroom", *map(str, args)])
        capsys.readouterr()
        with pytest.raises(SystemExit):
            cli.main()
        return capsys.readouterr()

    return call


def test_no_command_hands_on_what_a_model_wrote(model_server: ModelServer, tmp_path: Path, shell: Shell) -> None:
    model_server.script = hostile_answers
    teacher = served_by(model_server, model="m [/] \x1b]0;owned\x07")
    recipe = write_sums(tmp_path, tasks=3, draws=2, teacher=teacher, filters=[])
    answers = tmp_path / "answers.jsonl"
    answers.write_text("".join(json.dumps({"gold": g, "pred": f"{HOSTILE} {p}"}) + "\n" for g, p in ((4, 5), (4, 4))))
    pairs = tmp_path / f"pairs{SEQUENCES[0]}.jsonl"
    pairs.write_text(json.dumps({"task_id": HOSTILE, **dict.fromkeys(PAIR, HOSTILE)}) + "\n")
    commands: list[list[object]] = [
        ["run", recipe, "--out", "out"],
        ["run", recipe, "--out", "out", "--json"],
        ["status", "out"],
        ["status", "out", "--json"],
        ["attempts", "out"],
        ["pairs", pairs, "--show", "1"],
        ["check", answers],
        ["check", answers, "--json"],
        ["check", answers, "--against", "math-verify"],
        ["status", f"no{SEQUENCES[1]}[/]"],
        ["run", f"no[/bold]{SEQUENCES[0]}", "--debug"],
        ["run", recipe, "--set", f"{SEQUENCES[0]}[/]={HOSTILE}"],
        ["check", answers, f"--no-{SEQUENCES[2]}"],
        ["check", answers, "--policy", f"[/]{SEQUENCES[2]}=x"],
        ["attempts", "out", "--out", f"x{SEQUENCES[0]}[bold].jsonl"],
    ]
    for args in commands:
        done = shell(*args)
        assert faults("".join(done)) == [], args
        assert "fault of Stillroom" not in done[1], args
    exported = [json.loads(line) for line in shell("attempts", "out")[0].splitlines()]
    assert any(HOSTILE in row["text"] for row in exported)  # escaped, not lost


def test_an_error_of_ours_may_quote_anything(capsys: pytest.CaptureFixture[str], monkeypatch: Any) -> None:
    def fail(*args: object, **options: object) -> None:
        raise InputError(HOSTILE)

    for debug in ([], ["--debug"]):
        monkeypatch.setattr(cli, "app", fail)
        monkeypatch.setattr(sys, "argv", ["stillroom", "status", "x", *debug])
        monkeypatch.setenv("FORCE_COLOR", "1")
        with pytest.raises(SystemExit):
            cli.main()
        assert faults(capsys.readouterr().err) == []
