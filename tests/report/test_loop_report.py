from __future__ import annotations

import io
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
from rich.console import Console

from stillroom.common.stats.intervals import wilson
from stillroom.errors import RunError
from stillroom.evaluation.guard import Check
from stillroom.evaluation.results import Comparison, Evaluation, Result
from stillroom.report.loop import (
    Cell,
    LoopReport,
    RoundRow,
    comparisons,
    lines,
    loop_page,
    show_loop,
    students_of,
    summary,
    write_loop_report,
)

HOSTILE = "<script>alert(1)</script>\x1b[31m\u202e&[bold red]</details><img src=x onerror=alert(1)>"


def shares(who: str, metric: str, right: int, n: int = 100) -> Result:
    return Result(who=who, metric=metric, **wilson(right, n)._asdict())


def compared(a: str, b: str, difference: float, p_holm: float, **more: object) -> Comparison:
    limits = {"difference": difference, "low": difference - 0.1, "high": difference + 0.1, "p": p_holm / 3, "n": 100}
    return Comparison.model_validate({"a": a, "b": b, "test": "mcnemar_exact", **limits, "p_holm": p_holm, **more})


RIGHT = {"student_before": 3, "round_1": 34, "round_2": 45, "round_3": 2, "teacher": 8, "control_one_round": 41}
EVALUATION = Evaluation(
    results=(
        *(shares(who, "accuracy", right) for who, right in RIGHT.items()),
        *(shares(who, "share_stopped", 2 if who == "round_3" else 98) for who in RIGHT),
        *(shares(f"round_{i}", "letters_accuracy", 20 - i) for i in (1, 2, 3)),
        *(
            Result(who=f"round_{i}", metric="perplexity", value=18.0 + i, low=17.0, high=22.0, n=60)
            for i in (1, 2, 3)
        ),
    ),
    comparisons=(
        compared("round_2", "round_1", 0.11, 0.3, detectable=0.15),
        compared("round_2", "student_before", 0.42, 0.0001),
        compared("round_3", "round_2", -0.43, 0.0002),
        compared("round_2", "student_before", -0.02, 1.0, metric="letters_accuracy"),
    ),
    notes=("teacher: 2 of 100 attempts could not be scored and count as not accepted",),
)
KEPT = Check("accuracy", 0.45, 0.34, 0.11, 0.01, 0.2, 0.0, 100)
DIVERSE = Check("distinct_4", 0.6, 0.6, 0.01, -0.05, 0.06, 0.3, 60, relative=True)
FAILED = Check("share_stopped", 0.02, 0.98, -0.96, -0.99, -0.9, 0.02, 100)
FORGOT = Check("untrained:letters", 0.01, 0.2, -0.19, -0.3, -0.1, 0.05, 100)
ROUNDS = (
    RoundRow(
        1,
        300,
        900,
        210,
        180,
        610.0,
        "the teacher",
        (KEPT,),
        {"distinct_4": "no traces before"},
        traces=(("2 + 2?", "4"),),
    ),
    RoundRow(2, 300, 800, 400, 390, 640.0, "the student of round 1", (KEPT, DIVERSE)),
    RoundRow(3, 300, 700, 420, 500, 650.0, "the student of round 2", (FAILED, FORGOT), rolled_back=True, why="x"),
)
REPORT = LoopReport(
    "self_distill",
    ROUNDS,
    EVALUATION,
    "round 3 was rolled back",
    (("rounds", "3 at most, each taught by the last student"),),
)


# -- what is said ----------------------------------------------------------------------------------------------------


def test_the_summary_says_what_was_shown_and_what_was_not() -> None:
    assert summary(REPORT) == [
        "The student of round 2 got 45.0 % [35.6, 54.8] of 100 held-out tasks right; the round after it was rolled back.",
        "It is not shown to differ from round 1: +11.0 points [1.0, 21.0], p = 0.30 after Holm; 100 tasks could have "
        "shown about 15 points.",
        "It is above the model before any: +42.0 points [32.0, 52.0], p = 0.0001 after Holm.",
    ]


@pytest.mark.parametrize(
    ("rounds", "sentence"),
    [
        ((replace(ROUNDS[2], number=1),), "No round was kept, so the loop has no student."),
        ((RoundRow(9),), "Round 9 was kept, and was not measured."),
        (ROUNDS[:1], "The student of round 1 got 34.0 % [25.5, 43.7] of 100 held-out tasks right."),
    ],
)
def test_a_loop_may_end_anywhere(rounds: tuple[RoundRow, ...], sentence: str) -> None:
    assert summary(replace(REPORT, rounds=rounds))[0] == sentence


def test_a_difference_is_shown_by_its_corrected_p_and_its_interval() -> None:
    better, above, worse, _ = (c.verdict for c in EVALUATION.comparisons)
    assert (better, above, worse) == ("no clear difference", "better", "worse")
    uncorrected = Comparison.model_validate(EVALUATION.comparisons[0].model_dump() | {"p_holm": None, "p": 0.01})
    assert uncorrected.verdict == "better"
    assert uncorrected.model_copy(update={"low": -0.01}).verdict == "no clear difference"
    assert [c.of for c in EVALUATION.comparisons] == ["", "", "", "letters"]


def test_a_line_for_each_measure_and_a_cell_for_each_round() -> None:
    assert [column.name for column in students_of(REPORT)] == ["before", "round 1", "round 2", "round 3"]
    table = {line.name: line.cells for line in lines(REPORT)}
    assert list(table) == [
        "tasks", "attempts", "accepted", "rows trained on", "accuracy", "EOS", "diversity of traces",
        "untrained: letters", "perplexity", "time", "guard",
    ]  # fmt: skip
    assert table["accepted"] == (Cell(), Cell("23.3 %"), Cell("50.0 %"), Cell("60.0 %"))
    assert table["accuracy"][:2] == (Cell("3.0 %", "[1, 8]"), Cell("34.0 %", "[25, 44]"))
    assert table["EOS"][3] == Cell("2.0 %", "[1, 7]", worse=True)
    assert [cell.worse for cell in table["untrained: letters"]] == [False, False, False, True]
    assert table["diversity of traces"] == (Cell(), Cell(), Cell("+1.0 %", "[−5, 6]"), Cell())
    assert table["perplexity"][1] == Cell("19", "[17, 22]")
    assert table["time"][1] == Cell("10 min 10 s")
    assert [cell.text for cell in table["guard"]] == ["–", "kept", "kept", "rolled back"]


def test_what_else_is_known_of_what_was_not_trained_stands_below_it() -> None:
    more = [shares(f"round_{i}", f"letters{end}", n) for i in (2, 3) for end, n in
            (("_lenient", 30), ("_readable", 40), ("_eos_rate", 50))]  # fmt: skip
    leniently = compared("round_2", "student_before", -0.02, 1.0, metric="letters_lenient")
    found = EVALUATION.model_copy(
        update={"results": (*EVALUATION.results, *more), "comparisons": (*EVALUATION.comparisons, leniently)}
    )
    shift = Result(who="round_1", metric="kl_to_base", value=0.51234, low=0.4, high=0.6, n=50)
    found = found.model_copy(update={"results": (*found.results, shift)})
    failed = replace(FORGOT, measure="untrained_lenient:letters")
    rounds = (*ROUNDS[:2], replace(ROUNDS[2], checks=(failed,)))
    table = {line.name: line.cells for line in lines(replace(REPORT, evaluation=found, rounds=rounds))}
    at = list(table).index("untrained: letters")
    below = ["letters: lenient", "letters: readable", "letters: EOS"]
    assert list(table)[at + 1 : at + 4] == below
    assert table["letters: EOS"][2:] == (Cell("50.0 %", "[40, 60]"),) * 2
    assert [cell.worse for cell in table[below[0]]] == [False, False, False, True]
    assert [cell.worse for cell in table["untrained: letters"]] == [False] * 4
    assert table["KL to base, nats/token"][1:3] == (Cell("0.512", "[0.400, 0.600]"), Cell())
    explained = "the last number is the reference"
    assert explained in " ".join(loop_page(replace(REPORT, evaluation=found)).split())
    assert explained not in " ".join(loop_page(REPORT).split())
    assert [c.names for c in comparisons(found)][-2:] == [
        "round 2 − before, on letters",
        "round 2 − before, on letters, leniently",
    ]


def test_what_rests_on_several_answers_or_trainings_is_a_line_too() -> None:
    several = [
        shares(who, m, 40) for m in ("pass_at_8", "accuracy_over_seeds") for who in ("student_before", "round_2")
    ]
    evaluation = EVALUATION.model_copy(update={"results": (*EVALUATION.results, *several)})
    table = {line.name: line.cells for line in lines(replace(REPORT, evaluation=evaluation))}
    for name in ("pass@8", "accuracy over seeds"):
        assert [cell.text for cell in table[name]] == ["40.0 %", "–", "40.0 %", "–"]


def test_what_is_not_known_of_any_round_is_no_line() -> None:
    bare = LoopReport(
        "x", (RoundRow(1), RoundRow(2, rolled_back=True, why="no rows")), Evaluation(results=()), "it ended"
    )
    assert [line.name for line in lines(bare)] == ["guard"]
    assert [cell.text for cell in lines(bare)[0].cells] == ["kept, unchecked", "rolled back"]


def test_no_attempts_are_no_share() -> None:
    found = replace(REPORT, rounds=(RoundRow(1, attempts=0, accepted=0),))
    assert next(line for line in lines(found) if line.name == "accepted").cells[1] == Cell("0")


# -- the page --------------------------------------------------------------------------------------------------------


class Page(HTMLParser):
    """Tags with their attributes, text, and whether every tag was closed."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("meta", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]


def test_the_page_holds_all_of_it(tmp_path: Path) -> None:
    path = write_loop_report(REPORT, tmp_path / "run")
    assert path == tmp_path / "run" / "report.html"
    page = Page(path.read_text(encoding="utf-8"))
    assert page.open == []
    for text in (
        *summary(REPORT),
        "round 3 was rolled back",
        FAILED.sentence,
        KEPT.sentence,
        "share of distinct runs of 4 words: not checked, no traces before",
        "3 at most, each taught by the last student",
        "teacher: 2 of 100 attempts",
        "round 2 − before, on letters",
        "one round",
        "2 + 2?",
        "the student of round 1",
    ):
        assert text in page.text.replace("\xa0", " "), text
    assert len(page.all("tr")) == 1 + 11 + 1 + 2 + 1 + 4  # rounds, for comparison, compared: each with its header


def test_the_page_is_self_contained() -> None:
    page = Page(loop_page(REPORT))
    assert not {"script", "link", "iframe", "base", "form"} & {tag for tag, _ in page.tags}
    policy = next(m["content"] for m in page.all("meta") if m.get("http-equiv") == "Content-Security-Policy")
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; img-src data:"
    assert not any({"href", "srcset", "onload", "onerror"} & attrs.keys() for _, attrs in page.tags)
    assert "prefers-color-scheme: dark" in loop_page(REPORT)


def hostile() -> LoopReport:
    row = replace(
        ROUNDS[0], sampler=HOSTILE, why=HOSTILE, rolled_back=True, not_checked={HOSTILE: HOSTILE}, checks=(),
        traces=((HOSTILE, HOSTILE),),
    )  # fmt: skip
    bad = Check(f"untrained:{HOSTILE}", 0.0, 1.0, -1.0, -1.0, -0.9, 0.1, 9)
    evaluation = EVALUATION.model_copy(update={"results": (shares(HOSTILE, "accuracy", 3),), "notes": (HOSTILE,)})
    evaluation = evaluation.model_copy(
        update={"comparisons": (compared(HOSTILE, HOSTILE, 0.1, 0.3, metric=HOSTILE),)}
    )
    rounds = (row, replace(row, number=2, checks=(bad,)))
    return LoopReport(HOSTILE, rounds, evaluation, HOSTILE, ((HOSTILE, HOSTILE),), (Path(f"{HOSTILE[:8]}.svg"),))


def test_what_a_model_wrote_cannot_get_out_of_its_place() -> None:
    html = loop_page(hostile())
    page = Page(html)
    assert page.open == []
    assert not {"script", "img"} & {tag for tag, _ in page.tags}
    assert not {"\x1b", "\u202e"} & set(html)
    assert page.text.count("<script>alert(1)</script>\\x1b[31m\\u202e&[bold red]") > 10


def test_long_texts_are_cut_in_the_middle() -> None:
    long = "start " + "x" * 100_000 + " end"
    html = loop_page(replace(REPORT, rounds=(replace(ROUNDS[0], traces=(("q", long),)),)))
    assert len(html) < 40_000
    assert "start xxx" in html
    assert "xxx end" in html
    assert "characters…]" in html


def test_plots_are_in_the_page_and_cannot_run(tmp_path: Path) -> None:
    svg, png = tmp_path / "rounds.svg", tmp_path / "other.PNG"
    svg.write_text("<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>")
    png.write_bytes(b"\x89PNG")
    html = loop_page(replace(REPORT, plots=(svg, png, tmp_path / "missing.svg", tmp_path / "a.txt")))
    page = Page(html)
    sources = [str(img["src"])[:22] for img in page.all("img")]
    assert sources == ["data:image/svg+xml;bas", "data:image/png;base64,"]
    assert all(img["alt"] for img in page.all("img"))
    assert "The plot missing.svg is not there." in page.text
    assert "<script" not in html


def test_the_same_report_gives_the_same_bytes(tmp_path: Path) -> None:
    one, other = write_loop_report(REPORT, tmp_path / "a"), write_loop_report(REPORT, tmp_path / "b")
    assert one.read_bytes() == other.read_bytes()


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    with pytest.raises(RunError, match="run"):
        write_loop_report(REPORT, tmp_path / "run")


# -- the terminal ----------------------------------------------------------------------------------------------------


def printed(report: LoopReport, width: int = 80) -> str:
    out = io.StringIO()
    show_loop(report, Console(file=out, width=width, force_terminal=True, color_system=None, highlight=False))
    return out.getvalue()


def many(rounds: int) -> LoopReport:
    results = tuple(shares(f"round_{i}", "accuracy", i) for i in range(1, rounds + 1))
    rows = tuple(replace(ROUNDS[1], number=i) for i in range(1, rounds + 1))
    return replace(REPORT, rounds=rows, evaluation=Evaluation(results=(*EVALUATION.results[:1], *results)))


@pytest.mark.parametrize("report", [REPORT, many(1), many(12), hostile()], ids=["three", "one", "twelve", "hostile"])
@pytest.mark.parametrize("width", [80, 120])
def test_it_fits_the_terminal(report: LoopReport, width: int) -> None:
    text = printed(report, width)
    assert max(len(line.rstrip()) for line in text.splitlines()) <= width
    assert not {"\x1b", "\u202e"} & set(text)


def test_the_terminal_says_what_the_page_says() -> None:
    text = " ".join(printed(REPORT).split())
    for part in (
        "before round 1 round 2 round 3",
        "accuracy 3.0 % 34.0 % 45.0 % 2.0 %",
        "[1, 8] [25, 44] [36, 55] [1, 7]",
        "one round 41.0 %",
        "round 2 − round 1 +11.0 [1.0, 21.0] 0.30 unclear",
        "round 3 − round 2 −43.0 [−53.0, −33.0] 0.0002 worse",
        "guard: round 1 kept, nothing got worse beyond its tolerance (1 looked at)",
        "not checked: share of distinct runs of 4 words (no traces before)",
        "guard: round 3 rolled back",
        FAILED.sentence,
        *summary(REPORT),
        "The loop ended: round 3 was rolled back.",
    ):
        assert part in text, part


def test_every_round_is_there_where_they_do_not_fit_side_by_side() -> None:
    text = printed(many(12))
    assert [f"round {i}" in text for i in range(1, 13)] == [True] * 12
    assert text.count("accuracy") == 4  # tables, of three or four students each
    assert "round_" not in text


def test_a_pipe_gets_lines_that_can_be_searched(capsys: pytest.CaptureFixture[str]) -> None:
    show_loop(REPORT)
    out = capsys.readouterr().out
    assert summary(REPORT)[1] in out
    assert "\x1b" not in out
