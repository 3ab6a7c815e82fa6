"""SFT rows: thinking once, the student's view of the prompt, and the same bytes for the same rows."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from stillroom.common.marks import TAGS, TEMPLATE, THINKING, Marks
from stillroom.common.records import Attempt, Message, State, Task, Verdict, user
from stillroom.errors import RunError
from stillroom.traces.filters import FilterCount
from stillroom.traces.rows import DATA_FILE, CardFacts, SftRow, card_text, sft_file, sft_row, write_card
from stillroom.traces.trace import Trace

SYSTEM = Message("system", "Be brief.")
FACTS = CardFacts(
    recipe="math_tutor",
    teacher="Qwen/Qwen3-8B",
    licence="apache-2.0",
    scorer="answer",
    tasks="jsonl",
    seed=7,
    attempts=1200,
    accepted=400,
    filters=[FilterCount("finished", 400, 20), FilterCount("dedup", 380, 5)],
    versions={"stillroom": "0.1.0"},
)


def trace(text: str, reasoning: str | None = None, *, system: bool = False, index: int = 0) -> Trace:
    messages = ((SYSTEM,) if system else ()) + user("What is 9 times 2?")
    attempt = Attempt("t", index, text, reasoning, "stop", 10, 20, None, 0.1, "teacher")
    return Trace(Task("t", messages, "18", "p.jsonl:1"), attempt, Verdict(State.ACCEPTED, "equal"))


def content(row: SftRow) -> str:
    [turn] = row["completion"]
    assert turn["role"] == "assistant"
    return turn["content"]


@pytest.mark.parametrize(
    ("text", "reasoning", "expected"),
    [
        ("It is 18.", None, "It is 18."),
        ("It is 18.", "9 + 9", "<think>\n9 + 9\n</think>\n\nIt is 18."),
        ("<think>9 + 9</think>It is 18.", None, "<think>\n9 + 9\n</think>\n\nIt is 18."),
        ("<think>\n9 + 9\n</think>\n\nIt is 18.", "9 + 9", "<think>\n9 + 9\n</think>\n\nIt is 18."),
        ("9 + 9</think>It is 18.", None, "<think>\n9 + 9\n</think>\n\nIt is 18."),
        ("<think>b</think>It is 18.", "a", "<think>\na\n\nb\n</think>\n\nIt is 18."),
        ("<think></think>It is 18.", None, "It is 18."),
        ("It is 18.", " ", "It is 18."),
        ("I write <think> and </think> here.", None, "I write <think> and </think> here."),
    ],
)
def test_thinking_is_kept_once(text: str, reasoning: str | None, expected: str) -> None:
    assert content(sft_row(trace(text, reasoning))) == expected


def test_the_prompt_is_the_tasks_own() -> None:
    row = sft_row(trace("18", system=True, index=3))
    assert row["prompt"] == [SYSTEM.as_dict(), {"role": "user", "content": "What is 9 times 2?"}]
    assert (row["task_id"], row["index"]) == ("t", 3)


@pytest.mark.parametrize("system", [False, True])
def test_another_system_prompt_takes_the_place_of_the_tasks(system: bool) -> None:
    row = sft_row(trace("18", system=system), system="Think first.")
    assert [turn["role"] for turn in row["prompt"]] == ["system", "user"]
    assert row["prompt"][0]["content"] == "Think first."


@given(st.text(alphabet=st.characters(), max_size=50), st.none() | st.text(max_size=50))
def test_any_text_can_be_stored(text: str, reasoning: str | None) -> None:
    content(sft_row(trace(text, reasoning))).encode("utf-8")


def rows(count: int) -> list[SftRow]:
    return [sft_row(trace(f"It is {n}. \ud800 因此", "why", index=n)) for n in range(count)]


def write(given: list[SftRow], folder: Path) -> Path:
    with sft_file(folder) as file:
        for row in given:
            file.add(row)
    write_card(folder, FACTS, file.count)
    return folder / DATA_FILE


def test_the_same_rows_are_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(rows(20), tmp_path / name)
    for name in ("train.parquet", "README.md"):
        first, second = (hashlib.sha256((tmp_path / part / name).read_bytes()).hexdigest() for part in "ab")
        assert first == second
    write(list(reversed(rows(20))), tmp_path / "b")
    assert (tmp_path / "a" / "train.parquet").read_bytes() != (tmp_path / "b" / "train.parquet").read_bytes()


def test_the_folder_can_be_loaded_as_a_dataset(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    write(rows(5), tmp_path / "sft")
    loaded = datasets.load_dataset(str(tmp_path / "sft"), cache_dir=str(tmp_path / "cache"))
    assert list(loaded) == ["train"]
    assert loaded["train"].column_names == ["prompt", "completion", "task_id", "index"]
    assert list(loaded["train"])[2] == rows(5)[2]


def test_writing_again_replaces_and_leaves_no_other_file(tmp_path: Path) -> None:
    write(rows(5), tmp_path)
    path = write(rows(2), tmp_path)
    assert sorted(item.name for item in tmp_path.iterdir()) == ["README.md", "train.parquet"]
    import pyarrow.parquet as pq

    assert pq.read_table(path).num_rows == 2


def test_a_failed_write_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(rows(5), tmp_path)
    before = path.read_bytes()

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(RunError, match=r"cannot write .*train\.parquet: No space left on device: free some space"):
        write(rows(2), tmp_path)
    assert path.read_bytes() == before
    assert sorted(item.name for item in tmp_path.iterdir()) == ["README.md", "train.parquet"]


def test_no_rows_are_a_run_error(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no trace is left"):
        write([], tmp_path / "sft")


def front_matter(text: str) -> dict[str, Any]:
    _, head, _ = text.split("---\n", 2)
    found: dict[str, Any] = yaml.safe_load(head)
    return found


@pytest.mark.parametrize(
    ("licence", "expected"),
    [
        ("Apache-2.0", {"license": "apache-2.0"}),
        ("Qwen research licence: v1", {"license": "other", "license_name": "Qwen research licence: v1"}),
        (None, {"license": "unknown"}),
    ],
)
def test_the_card_names_the_licence(licence: str | None, expected: dict[str, str]) -> None:
    found = front_matter(card_text(CardFacts("r", "t", licence, "answer", "jsonl", 1, 2, 1), rows=1))
    assert {key: value for key, value in found.items() if key.startswith("license")} == expected


def test_the_card_counts_every_step() -> None:
    text = card_text(FACTS, rows=375)
    assert "| attempts accepted, the first few of each task | 1,200 | 800 |" in text
    assert "| filter finished | 400 | 20 |\n| filter dedup | 380 | 5 |\n| rows | 375 |  |" in text
    assert front_matter(text)["size_categories"] == ["n<1K"]


def test_hostile_names_stay_in_their_cells() -> None:
    name = "x | y\n---\n<script>alert(1)</script> `a` [b](c)"
    text = card_text(CardFacts(name, name, name, name, name, 1, 2, 1), rows=1)
    assert "<script>" not in text.split("---\n", 2)[2]
    assert front_matter(text)["license_name"] == " ".join(name.split())
    assert r"| teacher | x \| y --- \<script\>alert(1)\</script\> \`a\` \[b\](c) |" in text


@pytest.mark.parametrize("mark", THINKING)
def test_a_row_has_thinking_in_the_marks_of_rows_whatever_the_teachers_were(mark: Marks) -> None:
    expected = "<think>\n9 + 9\n</think>\n\nIt is 18."
    assert content(sft_row(trace(f"{mark.open}9 + 9{mark.close}It is 18."))) == expected
    assert content(sft_row(trace(f"9 + 9{mark.close}It is 18."))) == expected


def test_a_row_has_the_channels_of_harmony_apart() -> None:
    text = (
        "<|channel|>analysis<|message|>9 + 9<|end|><|start|>assistant<|channel|>final<|message|>It is 18.<|return|>"
    )
    assert content(sft_row(trace(text))) == "<think>\n9 + 9\n</think>\n\nIt is 18."


@pytest.mark.parametrize("mark", TEMPLATE)
def test_a_row_has_no_marks_of_the_teachers_template(mark: Marks) -> None:
    assert content(sft_row(trace(f"It is {mark.open}18{mark.close}.<|im_end|>"))) == "It is 18."


@pytest.mark.parametrize("mark", TAGS)
def test_a_row_keeps_tags_that_are_text(mark: Marks) -> None:
    text = f"{mark.open}18{mark.close}"
    assert content(sft_row(trace(text))) == text
