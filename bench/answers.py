"""Measures the answer checker and Math-Verify on the same pairs in the same run; prints the table of docs/answers.md.

    python bench/answers.py DATA [--quick] [--only hostile] [--verbose] [--json FILE]

DATA is the folder of labelled pairs. Three things are measured: speed on whole completions (CPU seconds, children
included, warm-up apart), agreement with labels, and hostile answers within 10 s and 2 GB each. Math-Verify runs in
processes of its own, as its README shows, with its default limits; where wrapping bare LaTeX in $...$ helps it, it
gets that. Nothing is tuned here: an accepted pair whose label is false is a false accept; a pair whose label is true
and that is not accepted is a miss, unscored or not. Pairs whose label is null are left out. Address-space limits and
process groups are needed, so it refuses to run on Windows.

Each part has its module: `_answers_pairs`, `_answers_speed`, `_answers_sets`, `_answers_hostile`, over
`_answers_sides` (how both sides are driven) and `_answers_report` (table and data).
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import platform
import re
import sys
from datetime import date
from importlib.metadata import version
from pathlib import Path

# Run as a script, only this file's folder is on the path. Appended: nothing that is installed is hidden by a room.
sys.path.append(str(Path(__file__).resolve().parents[1]))

from bench._answers_hostile import measure_hostile
from bench._answers_report import Report
from bench._answers_sets import ASKED, measure_set
from bench._answers_speed import measure_speed
from stillroom.errors import InputError, MissingExtra, MissingFile, StillroomError


def installed(package: str) -> str:
    """The version of a package, for the record."""
    return version(package) if importlib.util.find_spec(package.replace("-", "_")) else "(not installed)"


def machine() -> str:
    """The machine, the versions and the date."""
    info = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.*)", info.read_text()) if info.is_file() else []
    cpu = names[0] if names else platform.processor() or platform.machine()
    packages = ("math-verify", "latex2sympy2_extended", "sympy")
    versions = ", ".join(f"{package} {installed(package)}" for package in packages)
    load = f"load {os.getloadavg()[0]:.1f} at the end"
    return f"{date.today()}; {os.cpu_count()} cores, {cpu}, {load}; Python {platform.python_version()}, {versions}"


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the folder that holds answers/, gsm8k/ and math500/")
    parser.add_argument("--quick", action="store_true", help="speed: 500 pairs, once")
    parser.add_argument("--long-golds", action="store_true", help="speed: GSM8K golds with their whole solutions")
    parser.add_argument("--only", choices=["speed", *ASKED, "hostile"], help="one measurement alone")
    parser.add_argument("--verbose", action="store_true", help="list every row where ours disagrees with its label")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures and disagreements there too")
    parser.add_argument("--no-math-verify", action="store_true", help="ours alone")
    return parser.parse_args()


def require(given: argparse.Namespace) -> None:
    """Refuses what cannot be run, before anything is. Raises MissingFile, MissingExtra, InputError."""
    if not given.data.is_dir():
        raise MissingFile(f"there is no folder {given.data}: give the one that holds answers/, gsm8k/ and math500/")
    if os.name != "posix":
        raise InputError("this benchmark needs address-space limits and process groups: run it on Linux or under WSL")
    if not given.no_math_verify and importlib.util.find_spec("math_verify") is None:
        raise MissingExtra("the comparison (which --no-math-verify leaves out)", "math-verify", "math-verify")


def run(given: argparse.Namespace) -> Report:
    """All measurements that are asked for. Raises StillroomError."""
    require(given)
    report = Report(installed("math-verify"), verbose=given.verbose)
    rival = not given.no_math_verify
    for name in [given.only] if given.only else ["speed", *ASKED, "hostile"]:
        if name == "speed":
            measure_speed(given.data, report, quick=given.quick, long_golds=given.long_golds, rival=rival)
        elif name == "hostile":
            measure_hostile(given.data, report, rival=rival)
        else:
            measure_set(name, given.data, report, rival=rival)
    return report


def main() -> int:
    """Runs, prints the table, and returns the exit code."""
    given = arguments()
    try:
        report = run(given)
    except StillroomError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    facts = machine()
    print(report.table(), "", facts, *report.details, sep="\n")
    if given.json:
        report.data |= {"machine": facts, "table": report.lines}
        given.json.write_text(json.dumps(report.data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
