r"""Agreement of both sides with the labels of the labelled sets, each within the guard's limits.

Ours runs with its default policies, except where a set's labels follow another convention, which is then set as a
user would; Math-Verify's own suite gives each side the options of its tests. Math-Verify is given each set in three
ways, and the best counts. Pairs whose label is null are left out.

    measure_set("hendrycks", Path("../shared/data"), report, rival=True)
"""

from __future__ import annotations

import json
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from bench._answers_pairs import Row, read_rows
from bench._answers_report import NONE, Report, errors, progress
from bench._answers_sides import THEIRS, TIME_LIMIT_S, Guard, Guarded, wrapped
from stillroom.common.records import Verdict
from stillroom.traces.answers import AnswerChecker
from stillroom.traces.answers.records import Policies

ASKED = {
    "hardverify_dev": "≥ .86, at most 1 false accept",
    "reported_dev": "≥ .97",
    "natural_false_positives_dev": "none wrong",
    "inspect_dev": "≥ .97",
    "nemo_skills_dev": "≥ .97",
    "hendrycks": "≥ .97",
    "math_verify": "every right label",
    "field_dev": "≥ .95, at most 1 false accept",
}
"""The labelled sets, and what is asked of ours."""

POLICIES_BY_SET: Mapping[str, dict[str, str]] = {
    "hendrycks": {"list_order": "given", "percent": "bare"},
    "nemo_skills_dev": {"percent": "bare"},
}
"""Sets whose labels follow a convention that is not our default."""

WRONG_LABELS = {(r"$1 - \frac{1}{\mathrm{e}}$", r"$1 + \frac{1}{\mathrm{e}}$")}
"""Pairs of math_verify labelled true that are not equal: whoever accepts one is wrong."""

WAYS: dict[str, Callable[[Row], Row]] = {
    "as given": lambda row: row,
    "gold in $": lambda row: row._replace(gold=wrapped(row.gold)),
    "both in $": lambda row: row._replace(gold=wrapped(row.gold), answer=wrapped(row.answer)),
}
"""How Math-Verify is given a set: the way that agrees best with the labels counts."""

RELATION = re.compile(r"\\[lg]eq?(?![a-zA-Z])|[<>≤≥]")


def labelled(data: Path, name: str) -> list[Row]:
    """The rows of a labelled set that have a label, with known wrong labels put right. Raises MissingFile."""
    rows = (
        Row(row["gold"], row["pred"] or "", row.get("expected"), row.get("class", ""), row.get("options", {}))
        for row in read_rows(data / "answers" / f"{name}.jsonl")
    )
    return [
        row._replace(label=False) if (row.gold, row.answer) in WRONG_LABELS else row
        for row in rows
        if row.label is not None
    ]


def policies_for(name: str, row: Row) -> Policies:
    """The policies that a row's label follows: its set's, or for Math-Verify's own suite those of its test.

    >>> policies_for("nemo_skills_dev", Row("10", "10%", True)).identity()
    'percent=bare'
    """
    return Policies.of(suite_policies(row) if name == "math_verify" else POLICIES_BY_SET.get(name, {}))


def suite_policies(row: Row) -> dict[str, Any]:
    r"""What the options of a test of Math-Verify mean as policies.

    >>> suite_policies(Row("1", r"\boxed{1}", True, options={"match_types": ["latex"], "precision": 2}))
    {'chains': 'last', 'worked_out': 'any', 'rounding': 'tolerant'}
    """
    options, found = row.options, {"chains": "last", "worked_out": "any"}  # as many of its rows have it
    if "expr" in options.get("match_types", ["latex", "expr"]) or r"\boxed" not in row.answer:
        found["unmarked"] = "last"
    if options.get("precision") == 2:
        found["rounding"] = "tolerant"
    if (
        options.get("allow_set_relation_comp") is False
        and RELATION.search(row.answer)
        and not RELATION.search(row.gold)
    ):
        found["inequalities"] = "distinct"  # Math-Verify's rule holds one way round only
    if "strict" in options:
        found["parameters"] = "strict" if options["strict"] else "free"
    return found


def ours_on(name: str, rows: list[Row]) -> list[Verdict]:
    """Our verdicts, one checker for each combination of policies."""
    verdicts: dict[int, Verdict] = {}
    wanted = [policies_for(name, row) for row in rows]
    for policies in dict.fromkeys(wanted):
        places = [place for place, each in enumerate(wanted) if each == policies]
        with AnswerChecker(policies=policies) as checker:
            found = checker.check_many((rows[place].gold, rows[place].answer) for place in places)
        verdicts.update(zip(places, found, strict=True))
    return [verdicts[place] for place in range(len(rows))]


def theirs_on(name: str, rows: list[Row], report: Report) -> list[Verdict]:
    """Math-Verify's verdicts, given in the way that suits it best."""
    said = _asked(rows)
    found = {way: [said[_key(row)] for row in map(change, rows)] for way, change in WAYS.items()}
    wrong = {way: errors(rows, [each.verdict for each in said]) for way, said in found.items()}
    best = max(wrong, key=lambda way: wrong[way].agreed)
    over = sum(each.over for each in found[best])
    shares = ", ".join(f"{way} {each.agreed:.3f}" for way, each in wrong.items())
    report.details.append(f"{name}, Math-Verify: {shares}; best: {best}; over {TIME_LIMIT_S:g} s or 2 GB: {over}")
    return [each.verdict for each in found[best]]


def _asked(rows: list[Row]) -> dict[tuple[str, str, str], Guarded]:
    """What Math-Verify says of the rows in all ways, each pair asked once."""
    said: dict[tuple[str, str, str], Guarded] = {}
    with tempfile.TemporaryDirectory() as folder, Guard(THEIRS, folder) as guard:
        for row in chain.from_iterable(map(way, rows) for way in WAYS.values()):
            said[_key(row)] = said.get(_key(row)) or guard.ask(row)
    return said


def _key(row: Row) -> tuple[str, str, str]:
    return row.gold, row.answer, json.dumps(row.options)


def measure_set(name: str, data: Path, report: Report, *, rival: bool) -> None:
    """Agreement with the labels of one set. `rival`: Math-Verify's too. Raises MissingFile."""
    progress(name)
    rows = labelled(data, name)
    theirs = theirs_on(name, rows, report) if rival else None
    ours = ours_on(name, rows)
    wrong = {"ours": errors(rows, ours), "theirs": errors(rows, theirs) if theirs else None}
    cells = {side: f"{each.agreed:.3f}: {each}" if each else NONE for side, each in wrong.items()}
    report.line(f"{name}, {len(rows)} labelled rows", ASKED[name], cells["theirs"], cells["ours"])
    for kind in dict.fromkeys(row.kind for row in rows if row.kind):
        places = [place for place, row in enumerate(rows) if row.kind == kind]
        some = [rows[place] for place in places]
        sides = [errors(some, [said[place] for place in places]) for said in (theirs, ours) if said]
        told = [f"{each.agreed:.2f}, {each.false_accepts} false" for each in sides]
        report.line(f"  {kind}, {len(some)}", "", told[0] if len(told) == 2 else NONE, told[-1])
    used = Counter(policies_for(name, row).identity() or "default" for row in rows)
    report.details.append(f"{name}, ours: policies {dict(used)}")
    report.data[name] = {side: each and each._asdict() for side, each in wrong.items()}
    report.disagreements(name, rows, ours, theirs)
