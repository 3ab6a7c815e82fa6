"""The command line. Each command is a thin layer over the Python call of the same name and arguments.

Results go to standard output, progress and errors to standard error. Exit code 0: done; 1: the run failed; 2: the
input was wrong. No traceback for a user's mistake; `--debug` shows one for everything.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from typer.core import TyperCommand

from stillroom import __version__
from stillroom.errors import InputError, StillroomError

if TYPE_CHECKING:
    from stillroom.common.printing import HasDict

app = typer.Typer(
    name="stillroom",
    help="Distil what a large language model can do into a small one you own.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
    context_settings={"help_option_names": ["-h", "--help"]},
)

# Faults of the machine that may show anywhere: full disk, quota, a file size limit, no permission, a broken device.
_NOT_OURS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO)

# What a command "returns" when it was interrupted: typer swallows the KeyboardInterrupt.
_TYPERS_CTRL_C = 130

Folder = Annotated[Path, typer.Argument(help="The folder of a run.")]
Set = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Override a key: --set keep.per_task=2")
]
RunOut = Annotated[Path | None, typer.Option(help="The run's folder; default runs/NAME.")]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON, for programs.")]
Trust = Annotated[
    bool,
    typer.Option("--trust", help="Run the Python code that the recipe names; needed once per version of the code."),
]
Layout = Annotated[
    str | None, typer.Option(help="How rows are laid out, such as hh_rlhf or arena; default as the first rows are.")
]
Prefer = Annotated[
    str | None, typer.Option(help="What decides where a row holds several judgements: better or safer, a column.")
]
BadRows = Annotated[str, typer.Option(metavar="HOW", help="refuse rows that cannot be read, or skip and count them.")]
Source = Annotated[
    str, typer.Option(metavar="WHERE", help="Where the rows are: file, or hf for a data set of the hub, by its name.")
]
Config = Annotated[str | None, typer.Option("--name", help="Configuration of the data set, where it has several.")]
Split = Annotated[str | None, typer.Option(help="Split of the data set; default train.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]


class Against(StrEnum):
    """Other checkers that a file can be checked against."""

    MATH_VERIFY = "math-verify"


class Retrying(StrEnum):
    """What a run can ask again."""

    FAILURES = "failures"


def _version(value: bool) -> None:
    if value:
        typer.echo(f"stillroom {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of every error.")] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Distil what a large language model can do into a small one you own."""


class _RunCommand(TyperCommand):
    """`run`, whose help ends with what a recipe can name. The names come from the registries, so that a new kind is
    listed as soon as its module is there; they are loaded when the help is shown."""

    @property
    def epilog(self) -> str:
        """A line for each part of a recipe, and one for the kinds of recipe."""
        from stillroom.pipeline.config.kinds import recipe_kinds
        from stillroom.pipeline.config.schema import COMPONENTS

        known = {**COMPONENTS, "kinds of recipe": recipe_kinds}
        lines = [f"{where}: {', '.join(each.in_yaml)}" for where, each in known.items()]
        return "\n\n".join(["What a recipe can name, plug-ins included:", *lines])

    @epilog.setter
    def epilog(self, value: str | None) -> None:
        """Click sets None."""


@app.command(cls=_RunCommand)
def run(
    recipe: Annotated[str, typer.Argument(help="Path of a recipe, or the name of a shipped one.")],
    set: Set = None,
    out: RunOut = None,
    pilot: Annotated[
        int | None,
        typer.Option("--pilot", metavar="N", help="Sample only N tasks, and forecast cost, time and yield of all."),
    ] = None,
    trust: Trust = False,
    retry: Annotated[
        Retrying | None,
        typer.Option(
            "--retry", help="Ask again what failed: replies of judges that nobody could read, lost requests."
        ),
    ] = None,
    shards: Annotated[
        int | None,
        typer.Option("--shards", metavar="N", help="Sample in N processes, each with a part of the tasks."),
    ] = None,
    ray: Annotated[
        str | None,
        typer.Option(
            "--ray", metavar="ADDRESS", help="Ray cluster for the shards: auto or host:port; default: here."
        ),
    ] = None,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run a recipe, or resume it: nothing that was answered before is asked again."""
    from stillroom.pipeline.flows.run import run as run_recipe
    from stillroom.pipeline.run.progress import Display

    result = run_recipe(
        recipe,
        set=set or (),
        out=out,
        pilot=pilot,
        trust=trust,
        retry=retry,
        shards=shards,
        ray=ray,
        display=Display(quiet=quiet),
    )
    _print_json(result) if json else result.show()


@app.command()
def status(
    folder: Folder,
    recipe: Annotated[
        str | None,
        typer.Option(help="Estimate the cost of this recipe, a path or a name, not of the run's."),
    ] = None,
    set: Set = None,
    salvage: Annotated[
        bool,
        typer.Option("--salvage", help="First recover what a damaged ledger still holds; the damaged file is kept."),
    ] = False,
    json: Json = False,
) -> None:
    """Show a run: progress, cost by stage, results, and what running it now would cost. Safe during a run."""
    from stillroom.cli.show import show_status
    from stillroom.pipeline.planning.status import status as run_status

    result = run_status(folder, recipe=recipe, set=set or (), salvage=salvage)
    _print_json(result) if json else show_status(result)


CheckedFile = Annotated[
    Path,
    typer.Argument(help="JSON Lines, CSV or Parquet with gold answers and answers; with --calibrate, a recipe."),
]
CheckedOut = Annotated[
    Path | None,
    typer.Option(
        help="Write a verdict a line here, in order; with --against the differences; the run's folder with "
        "--calibrate."
    ),
]


@app.command()
def check(
    file: CheckedFile,
    out: CheckedOut = None,
    gold: Annotated[str, typer.Option(help="Name of the field with the gold answer.")] = "gold",
    pred: Annotated[str, typer.Option(help="Name of the field with the answer.")] = "pred",
    prompt: Annotated[str, typer.Option(help="Name of the field with the question, if there is one.")] = "prompt",
    timeout_s: Annotated[float, typer.Option("--timeout", help="Time limit for one pair, in seconds.")] = 5.0,
    workers: Annotated[int | None, typer.Option(help="Worker processes; default one per core, at most four.")] = None,
    policy: Annotated[
        list[str] | None,
        typer.Option("--policy", metavar="NAME=VALUE", help="Set a policy: --policy rounding=never; repeatable."),
    ] = None,
    review: Annotated[
        Path | None,
        typer.Option(help="Write what stays unscored here, to be labelled; labels that are there are honoured."),
    ] = None,
    skip_bad_rows: Annotated[
        bool, typer.Option("--skip-bad-rows", help="Skip rows that hold no gold answer or answer, and count them.")
    ] = False,
    thinking: Annotated[
        tuple[str, str] | None,
        typer.Option(metavar="OPEN CLOSE", help="Marks around thinking in the answers; the usual ones are known."),
    ] = None,
    answer_type: Annotated[
        str, typer.Option(help="What the answers must be, such as number or choice; a row's own answer_type counts.")
    ] = "",
    calibrate: Annotated[
        Path | None,
        typer.Option(metavar="LABELLED", help="Measure the verifier of a recipe on labelled answers, and its gate."),
    ] = None,
    against: Annotated[Against | None, typer.Option(help="List where another checker disagrees, and why.")] = None,
    json: Json = False,
) -> None:
    """Check answers against gold answers: accepted, rejected or unscored, each with its reason."""
    from stillroom.cli.show import show_against, show_check, show_verifier
    from stillroom.common.marks import NamedMarks
    from stillroom.traces.answers import check_file
    from stillroom.traces.answers.math_verify.compare import check_against
    from stillroom.traces.answers.records import Policies

    if calibrate is not None:
        from stillroom.pipeline.flows.audit import calibrate_verifier

        found = calibrate_verifier(file, calibrate, out=out)
        return _print_json(found) if json else show_verifier(found)
    options: dict[str, Any] = {"gold": gold, "pred": pred, "prompt": prompt, "timeout_s": timeout_s}
    options |= {"workers": workers, "policies": Policies.of(_settings(policy or ()))}
    if against is None:
        named = None if thinking is None else NamedMarks(open=thinking[0], close=thinking[1])
        options |= {"review": review, "skip_bad_rows": skip_bad_rows, "thinking": named, "answer_type": answer_type}
        summary = check_file(file, out=out, **options)
        return _print_json(summary) if json else show_check(summary, out)
    against_it = check_against(file, out=out, **options)
    return _print_json(against_it) if json else show_against(against_it, out)


def _settings(given: Sequence[str]) -> dict[str, str]:
    """Settings as NAME=VALUE; of one that is named twice, the last counts."""
    settings = {}
    for setting in given:
        name, equals, value = setting.partition("=")
        if not equals:
            raise InputError(f"--policy {setting!r} has no value: write NAME=VALUE, for example rounding=never")
        settings[name.strip()] = value.strip()
    return settings


@app.command()
def attempts(
    folder: Folder,
    out: Annotated[Path | None, typer.Option(help="Write to this file instead of standard output.")] = None,
    held_out: Annotated[
        bool, typer.Option("--held-out", help="Include answers to held-out tasks; never train on those.")
    ] = False,
) -> None:
    """Export the attempts of a run as JSON Lines, with question, gold answer and verdict; without held-out tasks.

    `teacher: {kind: recorded}` replays the file.
    """
    from stillroom.common.printing import terminal
    from stillroom.pipeline.planning.status import write_attempts

    written = write_attempts(folder, out or sys.stdout.buffer, held_out=held_out)
    if out is not None:
        terminal().print(f"{written:,} attempts written to {out}", soft_wrap=True)


@app.command()
def export(
    run: Annotated[
        Path, typer.Argument(help="The folder of a run, or a folder or file of parquet with SFT rows or pairs.")
    ],
    rows: Annotated[
        str,
        typer.Option(metavar="FORMAT", help="messages, sharegpt, alpaca, llamafactory, axolotl, openai, trl or kto."),
    ],
    out: Annotated[Path | None, typer.Option(help="Write to this file instead of standard output.")] = None,
    split: Annotated[str, typer.Option(help="train, or test for pairs that were held out.")] = "train",
    json: Json = False,
) -> None:
    """Export the SFT rows or pairs of a run as JSON Lines, in the format of another tool."""
    from stillroom.cli.show import show_exported
    from stillroom.pipeline.flows.export import export as export_rows

    if json and out is None:
        raise InputError("--json tells what was written: name the file with --out")
    found = export_rows(run, rows=rows, out=out, split=split)
    if out is None:
        return found.write(sys.stdout.buffer)
    _print_json(found) if json else show_exported(found)


@app.command()
def pairs(
    path: Annotated[
        Path, typer.Argument(help="A run's folder, a file of preferences in any format, or the name of a data set.")
    ],
    show: Annotated[int, typer.Option("--show", metavar="N", help="Also show the first N pairs.")] = 0,
    layout: Layout = None,
    prefer: Prefer = None,
    bad_rows: BadRows = "refuse",
    source: Source = "file",
    name: Config = None,
    split: Split = None,
    json: Json = False,
) -> None:
    """Audit preference pairs from a run or any file: what is broken, what is doubtful, and what to do about it."""
    from stillroom.cli.show import show_pairs
    from stillroom.pipeline.flows.audit import audit, reading

    how = reading(layout, prefer, bad_rows, source, name, split)
    found = audit(path, **how.model_dump())
    _print_json(found) if json else show_pairs(found, show)


@app.command()
def lint(
    recipe: Annotated[
        str, typer.Argument(help="Path of a recipe, or the name of a shipped one, whose run has written rows.")
    ],
    set: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a key: --set student.max_length=512"),
    ] = None,
    out: RunOut = None,
    json: Json = False,
) -> None:
    """Check the rows of a run as the trainer would see them, for faults that training would not report."""
    from stillroom.cli.show import show_lint
    from stillroom.pipeline.flows.run import lint as lint_recipe

    report = lint_recipe(recipe, set=set or (), out=out)
    _print_json(report) if json else show_lint(report)
    report.raise_if_errors()


@app.command("eval")
def evaluate(
    folder: Annotated[Path, typer.Argument(help="The folder of a run that has trained its student.")],
    set: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Override a key of evaluate, limits or prices: --set evaluate.samples.draws=4",
        ),
    ] = None,
    trust: Trust = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Evaluate the student of a run again or in more detail; answers and trainings that exist are reused."""
    from stillroom.cli.show import show_evaluation
    from stillroom.pipeline.flows.evaluate import evaluate as evaluate_run
    from stillroom.pipeline.run.progress import Display

    found = evaluate_run(folder, set=set or (), trust=trust, display=Display(quiet=quiet))
    _print_json(found.model_dump(mode="json", exclude_none=True)) if json else show_evaluation(found)


@app.command()
def compare(
    runs: Annotated[list[str], typer.Argument(help="Recipes that were run, or folders of runs; two at least.")],
    json: Json = False,
) -> None:
    """Compare finished runs: cost, rows, accuracy or win rate, tokens of an answer; paired on the same tasks."""
    from stillroom.pipeline.flows.compare import compare as compare_runs

    found = compare_runs(*runs)
    _print_json(found) if json else found.show()


@app.command()
def recipes(json: Json = False) -> None:
    """List the recipes that come with Stillroom; `stillroom run NAME` runs one."""
    from stillroom.cli.show import show_recipes
    from stillroom.pipeline.config.load import summaries

    found = summaries()
    _print_json([each._asdict() for each in found]) if json else show_recipes(found)


@app.command()
def new(
    kind: Annotated[str, typer.Argument(help="The kind of recipe: traces, preferences, loop, …")],
    path: Annotated[Path | None, typer.Argument(help="The file to write; default KIND.yaml.")] = None,
) -> None:
    """Write a recipe to start from, with every key that you may set, its default and its meaning."""
    from stillroom.cli.show import show_new
    from stillroom.pipeline.config.schema import write_template

    show_new(*write_template(kind, path))


@app.command()
def schema(
    kind: Annotated[str | None, typer.Argument(help="The kind of recipe; default all kinds.")] = None,
) -> None:
    """Print the JSON schema of recipes, with which editors complete and check keys."""
    from stillroom.pipeline.config.schema import schema as schema_of

    _print_json(schema_of(kind))


@app.command("fake-server")
def fake_server(
    habit: Annotated[
        list[str] | None, typer.Option("--habit", metavar="NAME", help="What it does that others do not; repeatable.")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on this machine; 0 takes a free one.")] = 8123,
    answer: Annotated[str | None, typer.Option(metavar="TEXT", help="What to answer, whatever is asked.")] = None,
    minute: Annotated[
        float,
        typer.Option(
            metavar="SECONDS", min=0.001, max=3600.0, help="How long its minute is: all waits get shorter with it."
        ),
    ] = 60.0,
    list_: Annotated[bool, typer.Option("--list", help="List all habits and exit.")] = False,
) -> None:
    """Run a fake OpenAI-compatible server on this machine, with the habits of real ones, to try a recipe against.

    It loads no model: sums are worked out, anything else gets one sentence. Each request is a line.
    """
    from stillroom.common.printing import plain, terminal
    from stillroom.sampling.fake_server.serve import listing, serve

    console = terminal()

    def show(line: str) -> None:
        console.print(plain(line), soft_wrap=True)

    if list_:
        console.print(listing())
        return
    serve(habit or (), port=port, text=answer, minute_s=minute, show=show)


judge_app = typer.Typer(name="judge", help="Measure judges against people.", no_args_is_help=True)
app.add_typer(judge_app)


@judge_app.command("calibrate")
def judge_calibrate(
    recipe: Annotated[str, typer.Argument(help="A preference recipe, whose judge is measured.")],
    labelled: Annotated[
        Path | None,
        typer.Option(help="Pairs with human labels, in any layout of preferences; default gate.labelled."),
    ] = None,
    layout: Layout = None,
    prefer: Prefer = None,
    bad_rows: BadRows = "refuse",
    source: Source = "file",
    name: Config = None,
    split: Split = None,
    set: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a key: --set judge.rubric=helpfulness"),
    ] = None,
    out: RunOut = None,
    trust: Trust = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure the judge of a recipe on pairs that people labelled, and check it against the gate."""
    from stillroom.cli.show import show_calibrated
    from stillroom.pipeline.flows.audit import calibrate, reading
    from stillroom.pipeline.run.progress import Display

    found = calibrate(
        recipe,
        labelled=labelled,
        **reading(layout, prefer, bad_rows, source, name, split).model_dump(),
        set=set or (),
        out=out,
        trust=trust,
        display=Display(quiet=quiet),
    )
    _print_json(found) if json else show_calibrated(found)


def _print_json(result: HasDict | dict[str, Any] | list[Any]) -> None:
    """A result, or plain data, for programs."""
    from stillroom.common.printing import json_text

    typer.echo(json_text(result if isinstance(result, dict | list) else result.as_dict(), indent=2))


def main() -> None:
    """Runs the command line and exits with its code."""
    try:
        _main()
    except KeyboardInterrupt:  # another one, while the first was being reported
        os._exit(1)


def _main() -> None:
    # --debug is taken wherever it stands, as one adds it at the end of a command that has just failed.
    args = [arg for arg in sys.argv[1:] if arg != "--debug"]
    debug = len(args) < len(sys.argv) - 1
    try:
        from stillroom.common.printing import clean_logs

        clean_logs()
        code = app(args, standalone_mode=False) or 0
        if code == _TYPERS_CTRL_C:
            raise KeyboardInterrupt
        sys.stdout.flush()  # here, so that a reader who has gone is noticed where it is handled
        _end_at_once()
        sys.exit(code)
    except StillroomError as error:
        _end_at_once()
        _fail(error, debug, error.exit_code)
    except (KeyboardInterrupt, typer.Abort):  # an older typer turns the one into the other
        _end_at_once()
        _fail("stopped; everything that had been answered is kept: run the same command to go on", False, 1)
    except BrokenPipeError:
        # The reader has gone (`stillroom … | head`): nothing to say, and nobody to say it to.
        _drop_output()
        sys.exit(1)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            _fail(f"{str(error.filename)[:80]}…: a name that is too long: give a shorter path", debug, 2)
        if error.errno not in _NOT_OURS:
            _fail_with(error, debug)
        _drop_output()
        _fail(f"cannot read or write {error.filename or 'standard output'}: {error.strerror}", debug, 1)
    except Exception as error:  # noqa: BLE001 - the last line: no traceback without --debug
        _fail_with(error, debug)


def _end_at_once() -> None:
    """From here on Ctrl-C ends the process silently: only the cleanup is left, and every answer is on disk."""
    with suppress(ValueError):  # not the main thread: nobody's Ctrl-C arrives here
        signal.signal(signal.SIGINT, lambda *_: os._exit(1))


def _drop_output() -> None:
    """What could not be written is not tried again when Python ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail_with(error: Exception, debug: bool) -> NoReturn:
    usage = getattr(error, "format_message", None)
    if usage is None:
        _fail(f"{type(error).__name__}: {error}\nThis is a fault of Stillroom; --debug shows where", debug, 1)
    if usage():  # a mistake in the command line itself, told by click; empty where it has shown the help
        _fail(f"{usage()} (see `stillroom --help`)", False, 2)
    sys.exit(2)


def _fail(error: object, debug: bool, code: int) -> NoReturn:
    from stillroom.common.printing import plain, terminal

    console = terminal(stderr=True)
    if debug:
        import traceback

        console.print(plain(traceback.format_exc().rstrip("\n")), soft_wrap=True)
    console.print(plain("error: ", "bold red") + plain(str(error)), soft_wrap=True)
    sys.exit(code)


if __name__ == "__main__":
    main()
