from __future__ import annotations

import json
from collections.abc import Callable
from html.parser import HTMLParser
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from stillroom.errors import MissingFile
from stillroom.report.lint import lint_masks, lint_table, mask_page, mask_text, write_lint_page
from stillroom.students.data.encode import encode_pairs, encode_rows, prepare_tokenizer
from stillroom.students.data.rows import read_pairs, read_rows
from stillroom.students.lint.lint import lint_pairs, lint_sft
from stillroom.students.lint.rendered_rows import LONGEST, pair_collator, sft_collator
from stillroom.students.lint.report import LintLimits, LintReport, MaskedRow, Stretch
from stillroom.students.methods.dpo import Dpo
from stillroom.students.methods.registry import StudentSettings
from stillroom.students.methods.sft import Sft
from stillroom.students.methods.trainer import make_trainer
from stillroom.students.records import Plan

HOSTILE = "<script>alert(1)</script>\x1b[31m\u202e&[bold]"


@pytest.fixture(scope="session")
def settings(tiny: Path) -> StudentSettings:
    return Sft(model=str(tiny), batch_size=4)


@pytest.fixture(scope="session")
def good(row: Callable[..., Any]) -> list[dict[str, Any]]:
    return [row(f"What is {i} + {i}?", f"It is {2 * i}.", task_id=f"t{i}") for i in range(1, 12)]


def printed(renderable: object, width: int = 80) -> str:
    out = StringIO()
    Console(file=out, width=width, force_terminal=True, color_system="truecolor").print(renderable)
    return out.getvalue()


def plain(renderable: object, width: int) -> str:
    """As it goes into a file."""
    out = StringIO()
    Console(file=out, width=width).print(renderable)
    return out.getvalue()


# -- as the trainer does -----------------------------------------------------------------------------------------


def test_rows_are_fed_as_the_trainer_feeds_them(
    good: Any, settings: StudentSettings, make_model: Any, make_tokenizer: Any, tmp_path: Path
) -> None:
    tokenizer = make_tokenizer()
    encoded = encode_rows(read_rows(good), tokenizer, 256)
    prepare_tokenizer(tokenizer, encoded.end_id)
    trainer = make_trainer(make_model(), tokenizer, encoded, settings, Plan("cpu", "float32", 0), tmp_path)
    assert trainer.data_collator == sft_collator(tokenizer)
    assert [r["labels"] for r in trainer.train_dataset] == [r.labels for r in encoded.rows]


def test_pairs_are_fed_as_the_trainer_feeds_them(
    pair: Any, tiny: Path, make_model: Any, make_tokenizer: Any, tmp_path: Path
) -> None:
    from stillroom.students.methods.dpo import make_dpo_trainer

    tokenizer, dpo = make_tokenizer(), Dpo(model=str(tiny))
    encoded = encode_pairs(read_pairs([pair(f"What is {i}?", "yes", "no, no") for i in range(4)]), tokenizer, 256)
    prepare_tokenizer(tokenizer, encoded.end_id)
    trainer = make_dpo_trainer(make_model(), tokenizer, encoded, dpo, dpo.dpo, Plan("cpu", "float32", 0), tmp_path)
    assert trainer.data_collator == pair_collator(tokenizer)


def test_what_the_lint_lets_pass_is_what_the_trainer_takes(
    row: Any, settings: StudentSettings, tokenizer: Any
) -> None:
    rows = [row("a", "b"), row("a", "x" * 300), row("a", "b<|im_end|>c"), row("c", "d")]
    report = lint_sft(rows, settings)
    encoded = encode_rows(read_rows(rows), tokenizer, 256)
    assert (report.rows, report.trainable) == (4, len(encoded.rows)) == (4, 2)
    left = {found.name: found.examples for found in report.findings}
    assert left == {"too_long": ("row 2",), "end_token_inside": ("row 3",)}


def test_the_students_system_prompt_is_part_of_the_rows(good: Any, settings: StudentSettings) -> None:
    report = lint_sft(good, settings.model_copy(update={"system": "Be brief."}))
    assert "<|im_start|>" in report.shown[0].stretches[0].text
    assert "system\nBe brief." in report.shown[0].stretches[1].text


# -- limits ------------------------------------------------------------------------------------------------------


def test_few_repeats_are_no_finding_and_the_limit_can_be_moved(good: Any, settings: StudentSettings) -> None:
    given = [*good, good[0]]
    assert lint_sft(given, settings, limits=LintLimits(duplicates=0.1)).findings == ()
    found = lint_sft(given, settings, limits=LintLimits(duplicates=0.05)).find("duplicates")
    assert found is not None
    assert (found.count, found.of, found.severity) == (1, 12, "warning")
    assert found.told == "1 of 12 (8.3%): row 12 (task t1)"


@pytest.mark.parametrize(("long", "severity"), [(1, "warning"), (12, "error")])
def test_where_most_rows_are_too_long_it_is_an_error(
    long: int, severity: str, good: Any, row: Any, settings: StudentSettings
) -> None:
    given = [*good, *(row(f"long {i}", "x" * 300) for i in range(long))]
    found = lint_sft(given, settings).find("too_long")
    assert found is not None
    assert found.severity == severity


@pytest.mark.parametrize(
    ("prompt", "answer", "place"),
    [
        ("q" * 300, "a", "the prompt"),
        ("q", "<think>\n" + "t" * 300 + "\n</think>\n\na", "the thinking"),
        ("q", "<think>\nt\n</think>\n\n" + "a" * 300, "the answer"),
    ],
)
def test_a_row_that_is_too_long_says_where_a_cut_would_be(
    prompt: str, answer: str, place: str, row: Any, good: Any, settings: StudentSettings
) -> None:
    found = lint_sft([*good, row(prompt, answer)], settings).find("too_long")
    assert found is not None
    assert found.detail.endswith(f"a cut would be in {place}")
    assert "max_length is 256" in found.detail


def test_examples_are_few_and_all_are_counted(row: Any, settings: StudentSettings) -> None:
    report = lint_sft([row(f"q {i}", " ") for i in range(9)], settings)
    found = report.find("empty_answer")
    assert found is not None
    assert (found.count, len(found.examples)) == (9, 5)
    assert report.find("nothing_left") is not None


# -- what was looked at --------------------------------------------------------------------------------------------


def test_a_check_that_could_not_run_is_not_counted_as_passed(good: Any, settings: StudentSettings) -> None:
    report = lint_sft(good, settings)
    assert set(report.skipped) == {
        "test_leak",
        "test_leak_near",
        "other_system_prompt",
        "answer_rejected",
        "answer_unscored",
    }
    assert not set(report.skipped) & set(report.checked)
    assert report.summary == f"{len(report.checked)} checks on 11 rows: nothing found"


def test_no_rows_at_all(settings: StudentSettings) -> None:
    report = lint_sft([], settings)
    assert [found.name for found in report.errors] == ["nothing_left"]


def test_rows_are_read_from_a_folder(good: Any, settings: StudentSettings, tmp_path: Path) -> None:
    import datasets

    datasets.Dataset.from_list(good).to_parquet(tmp_path / "train.parquet")
    assert lint_sft(tmp_path, settings).as_dict() == lint_sft(good, settings).as_dict()
    with pytest.raises(MissingFile, match="does not exist"):
        lint_sft(tmp_path / "nowhere", settings)


def test_the_same_lint_is_the_same_json(good: Any, settings: StudentSettings, tmp_path: Path) -> None:
    for name in ("a.json", "b.json"):
        lint_sft([*good, {"prompt": None}], settings).write(tmp_path / name)
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()
    found = json.loads((tmp_path / "a.json").read_text(encoding="utf-8"))
    assert (found["errors"], found["findings"][0]["name"], found["findings"][0]["count"]) == (1, "not_a_row", 1)
    assert found["findings"][0]["source"]


def test_what_is_no_mapping_is_told_not_raised(good: Any, settings: StudentSettings) -> None:
    given: list[Any] = [*good, "a text", 7]
    dpo = Dpo(model=settings.model)
    for report in (lint_sft(given, settings), lint_pairs(["a text", 7], dpo, reference=dpo.reference)):  # type: ignore[list-item]
        found = report.find("not_a_row")
        assert found is not None
        assert found.count == 2


# -- masks ---------------------------------------------------------------------------------------------------------


def test_a_row_with_its_mask(row: Any, settings: StudentSettings) -> None:
    shown = lint_sft([row("hi", "yes"), row("hello", "no")], settings).shown[0]
    assert shown.stretches == (
        Stretch("<|im_start|>", "prompt", True, 1),
        Stretch("user\nhi", "prompt", False, 7),
        Stretch("<|im_end|>", "prompt", True, 1),
        Stretch("\n", "prompt", False, 1),
        Stretch("<|im_start|>", "prompt", True, 1),
        Stretch("assistant\n", "prompt", False, 10),
        Stretch("yes", "loss", False, 3),
        Stretch("<|im_end|>", "loss", True, 1),
        Stretch("<|endoftext|> × 2", "pad", True, 2),
    )
    assert shown.facts == "row 1: 21 tokens not in the loss, 4 in it, 2 of padding"


def test_broken_rows_are_shown_first(good: Any, row: Any, settings: StudentSettings) -> None:
    report = lint_sft([*good, row("Hello<|im_end|>", "yes", task_id="bad")], settings)
    assert report.shown[0].name == "row 12 (task bad)"
    assert len(report.shown) == 4


def test_both_sides_of_a_pair_are_shown(pair: Any, tiny: Path) -> None:
    report = lint_pairs([pair("hi", "yes", "no")], Dpo(model=str(tiny)))
    assert [shown.name for shown in report.shown] == ["row 1, chosen", "row 1, rejected"]


def test_in_the_terminal_prompt_is_dim_loss_green_special_bold_padding_red(
    row: Any, settings: StudentSettings
) -> None:
    text = mask_text(lint_sft([row("hi", "yes"), row("hello", "no")], settings).shown[0])
    styles = {text.plain[span.start : span.end]: str(span.style) for span in text.spans}
    assert styles["yes"] == "green"
    assert styles["assistant\n"] == "dim"
    assert styles["<|endoftext|> × 2"] == "red bold"
    assert styles["<|im_end|>"] in ("dim bold", "green bold")


def test_a_long_stretch_is_cut_in_the_middle(row: Any, tiny: Path) -> None:
    from stillroom.students.lint.rendered_rows import Fed, Look, masked, student_of

    student = student_of(Sft(model=str(tiny)))
    ids = student.tokenizer("x" * 5000)["input_ids"]
    look = Look(read_rows([row("q", "a")])[0], fed=Fed(ids, ids, [1] * len(ids)))
    found = masked(look, student)
    assert found is not None
    assert f"[…{5000 - LONGEST:,} characters…]" in found.stretches[0].text
    assert found.count("loss") == 5000


@pytest.mark.parametrize("width", [40, 80, 120])
def test_the_table_shows_all_of_a_finding_and_nothing_a_terminal_obeys(
    width: int, good: Any, row: Any, settings: StudentSettings
) -> None:
    report = lint_sft([*good, row("Hi<|im_end|>" + HOSTILE, "yes", task_id="\x1b]0;x\x07")], settings)
    shown = plain(lint_table(report), width)
    words = "".join(shown.split())
    for text in (report.errors[0].meaning.title, report.errors[0].meaning.advice, report.errors[0].meaning.source):
        assert "".join(text.split()) in words
    assert shown.startswith(report.summary[:20])
    assert "\\x1b]0;x\\x07" in shown
    assert not {"\x1b", "\x07", "\u202e"} & set(shown)


def test_hostile_rows_do_nothing_to_a_terminal(row: Any, settings: StudentSettings) -> None:
    shown = printed(lint_masks(lint_sft([row(HOSTILE, HOSTILE)], settings)))
    assert "\u202e" not in shown
    assert "\\x1b[31m\\u202e&[bold]" in shown
    assert "\x1b[31m\u202e" not in shown


# -- the page ------------------------------------------------------------------------------------------------------

ALLOWED = {"html", "head", "meta", "title", "style", "body", "main", "h1", "h2", "h3", "p", "span", "b", "pre", "article",
           "dl", "dt", "dd", "div"}  # fmt: skip


class Page(HTMLParser):
    """What a browser makes of a page: tags, attributes, text."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.attributes: set[str] = set()
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def test_the_page_is_self_contained_and_tells_everything(good: Any, row: Any, settings: StudentSettings) -> None:
    report = lint_sft([*good, row("Hi<|im_end|>" + HOSTILE, HOSTILE)], settings)
    text = mask_page(report, HOSTILE)
    page = Page(text)
    assert set(page.tags) <= ALLOWED
    assert page.open == []
    assert page.attributes <= {"class", "title", "charset", "content", "http-equiv", "name", "lang"}
    assert "default-src 'none'" in text
    assert "prefers-color-scheme: dark" in text
    for word in ("<script>alert(1)</script>", report.errors[0].meaning.ignored, report.errors[0].meaning.source):
        assert word in page.text
    assert "\x1b" not in text
    assert "\u202e" not in text


@given(st.text(st.characters(codec="utf-8"), max_size=60), st.sampled_from(["prompt", "loss", "pad"]))
def test_no_text_gets_out_of_its_place(text: str, kind: Any) -> None:
    rows = (MaskedRow(text, (Stretch(text, kind, False, 1),)),)
    report = LintReport("rows", 1, 1, (), (), {text: text}, (text,), rows)
    page = Page(mask_page(report, text))
    assert set(page.tags) <= ALLOWED
    assert page.open == []


def test_the_page_is_written_whole(good: Any, settings: StudentSettings, tmp_path: Path) -> None:
    write_lint_page(lint_sft(good, settings), tmp_path / "lint.html", "quickstart")
    text = (tmp_path / "lint.html").read_text(encoding="utf-8")
    assert text.startswith("<!doctype html>")
    assert "<h1>quickstart</h1>" in text
    assert "What was found" not in text
