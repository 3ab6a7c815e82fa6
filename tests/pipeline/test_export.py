"""`stillroom export`: what each format makes of rows and pairs, and what it refuses.

Every file is loaded with `datasets`; trl's are checked with trl's own data_utils. LLaMA-Factory and axolotl are not
installed here: their files are held against the schemas that they document (data/README.md of LLaMA-Factory; the pages
"Conversation" and "RLHF" of axolotl's documentation), written out in this module.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from datasets import load_dataset
from trl.data_utils import (
    extract_prompt,
    is_conversational,
    is_conversational_from_value,
    maybe_apply_chat_template,
    maybe_convert_to_chatml,
    unpair_preference_dataset,
)

import stillroom
from stillroom.errors import InputError, MissingFile
from stillroom.students.export.formats import formats
from tests.conftest import stillroom as command
from tests.conftest import tiny

Turns = list[dict[str, str]]
THOUGHT = "<think>\n2 and 2\n</think>\n\n#### 4"


def turns(*said: str, system: str | None = None) -> Turns:
    """User and assistant in turns, the user first."""
    first = [] if system is None else [{"role": "system", "content": system}]
    return first + [{"role": "assistant" if n % 2 else "user", "content": text} for n, text in enumerate(said)]


def answer(text: str) -> Turns:
    return [{"role": "assistant", "content": text}]


SFT: list[dict[str, Any]] = [
    {"prompt": turns("2 + 2?"), "completion": answer(THOUGHT), "task_id": "a", "index": 0},
    {
        "prompt": turns("3 + 3?", system="Be brief."),
        "completion": answer("6 \u2028 “six”\u0085"),
        "task_id": "b",
        "index": 1,
    },
]
LONGER = {"prompt": turns("2 + 2?", "4", "sure?"), "completion": answer("yes"), "task_id": "c", "index": 0}
PAIRS: list[dict[str, Any]] = [
    {"prompt": turns("Say hi.", system="Kind."), "chosen": answer("Hi!"), "rejected": answer("No."), "margin": 0.5},
    {
        "prompt": turns("Say hi.", "Hi!", "Again."),
        "chosen": answer(THOUGHT),
        "rejected": answer("Why?"),
        "margin": 0.1,
    },
]


def written(folder: Path, rows: list[dict[str, Any]], name: str = "train.parquet") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / name)
    return folder


def exported(tmp_path: Path, format: str, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The lines, which `datasets` reads as well, one for one."""
    out = tmp_path / f"{format}.jsonl"
    found = stillroom.export(written(tmp_path / "rows", rows), rows=format, out=out)
    lines = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert len(lines) == found.lines == len(load_dataset("json", data_files=str(out), split="train"))
    assert found.rows == len(rows)
    return lines


def loaded(tmp_path: Path, format: str, rows: list[dict[str, Any]]) -> Any:
    exported(tmp_path, format, rows)
    return load_dataset("json", data_files=str(tmp_path / f"{format}.jsonl"), split="train")


# -- every format -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format", sorted(set(formats) - {"kto"}))
def test_each_format_keeps_every_character_of_an_sft_row_and_the_thinking_once(tmp_path: Path, format: str) -> None:
    for row, line in zip(SFT, exported(tmp_path, format, SFT), strict=True):
        text = json.dumps(line, ensure_ascii=False)
        for turn in [*row["prompt"], *row["completion"]]:
            assert json.dumps(turn["content"], ensure_ascii=False)[1:-1] in text
        assert text.count("<think>") == ("<think>" in row["completion"][0]["content"])
        assert "task_id" not in text


@pytest.mark.parametrize("format", sorted(set(formats) - {"messages", "alpaca"}))
def test_each_format_of_pairs_keeps_both_sides(tmp_path: Path, format: str) -> None:
    text = "".join(json.dumps(line, ensure_ascii=False) for line in exported(tmp_path, format, PAIRS))
    for pair in PAIRS:
        for side in ("chosen", "rejected"):
            assert json.dumps(pair[side][0]["content"])[1:-1] in text


def test_no_line_ends_where_only_some_readers_end_one(tmp_path: Path) -> None:
    exported(tmp_path, "messages", SFT)
    raw = (tmp_path / "messages.jsonl").read_bytes().decode()
    assert raw.count("\n") == len(raw.splitlines()) == len(SFT)


@pytest.mark.parametrize(
    ("format", "rows", "said"),
    [
        ("alpaca", PAIRS, r"row 1 does not fit --rows alpaca: it has two answers.*use --rows llamafactory"),
        ("messages", PAIRS, r"row 1 does not fit --rows messages: it has two answers.*use --rows trl"),
        ("kto", SFT, r"row 1 \(task a\) does not fit --rows kto: .*accepted answers only.*use --rows trl"),
        ("alpaca", [*SFT, LONGER], r"row 3 \(task c\) .*its prompt has 3 turns.*use --rows sharegpt"),
        ("sharegpt", [SFT[0] | {"prompt": turns("a", "b")}], r"row 1 .*does not end with a turn of the user"),
        ("llamafactory", [SFT[0] | {"prompt": turns("a") * 2}], r"turn 2 is the user's.*use --rows messages or trl"),
        ("sharegpt", [SFT[0] | {"prompt": turns(system="a")}], r"does not end with a turn of the user"),
        ("openai", [PAIRS[0] | {"chosen": answer("a") * 2}], r"its answer has 2 turns.*use --rows trl"),
        ("axolotl", [PAIRS[0] | {"rejected": answer("a") * 2}], r"its answer has 2 turns"),
        ("trl", [SFT[0] | {"completion": answer(" ")}], r"train.parquet: row 1 \(task a\): the completion is empty"),
        ("sharegtp", SFT, r"--rows 'sharegtp': there is no 'sharegtp'; did you mean 'sharegpt'\?"),
    ],
)
def test_what_a_format_cannot_hold_is_refused_and_nothing_is_written(
    tmp_path: Path, format: str, rows: list[dict[str, Any]], said: str
) -> None:
    out = tmp_path / "out" / "x.jsonl"
    with pytest.raises(InputError, match=said):
        stillroom.export(written(tmp_path / "rows", rows), rows=format, out=out)
    assert not out.parent.exists()


# -- trl ----------------------------------------------------------------------------------------------------------


def test_trl_reads_sft_rows_as_prompt_and_completion(tmp_path: Path) -> None:
    tokenizer = tiny.make_tokenizer()
    for row, source in zip(loaded(tmp_path, "trl", SFT), SFT, strict=True):
        assert is_conversational(row)
        text = maybe_apply_chat_template(row, tokenizer)
        assert text["prompt"] == tokenizer.apply_chat_template(
            source["prompt"], tokenize=False, add_generation_prompt=True
        )
        assert text["completion"] == source["completion"][0]["content"] + "<|im_end|>\n"


def test_trl_reads_messages_and_sharegpt_as_the_same_conversation(tmp_path: Path) -> None:
    rows = [*SFT, LONGER]
    messages, sharegpt = (loaded(tmp_path / f, f, rows) for f in ("messages", "sharegpt"))
    for ours, theirs, source in zip(messages, sharegpt, rows, strict=True):
        assert is_conversational(ours)
        assert is_conversational_from_value(theirs)
        names = {"human": "user", "gpt": "assistant", "system": "system"}  # trl keeps the names of the roles
        converted = [turn | {"role": names[turn["role"]]} for turn in maybe_convert_to_chatml(theirs)["messages"]]
        assert converted == ours["messages"]
        assert ours["messages"] == source["prompt"] + source["completion"]


def test_trl_reads_pairs_and_finds_their_prompt_again(tmp_path: Path) -> None:
    tokenizer = tiny.make_tokenizer()
    for row, source in zip(loaded(tmp_path, "trl", PAIRS), PAIRS, strict=True):
        assert is_conversational(row)
        implicit = {side: row["prompt"] + row[side] for side in ("chosen", "rejected")}
        assert extract_prompt(implicit) == {name: source[name] for name in ("prompt", "chosen", "rejected")}
        assert (
            maybe_apply_chat_template(row, tokenizer)["rejected"] == source["rejected"][0]["content"] + "<|im_end|>\n"
        )


def test_kto_holds_what_trl_unpairs(tmp_path: Path) -> None:
    ours = loaded(tmp_path / "kto", "kto", PAIRS)
    theirs = unpair_preference_dataset(loaded(tmp_path / "trl", "trl", PAIRS))

    def lines(rows: Any) -> list[str]:
        return sorted(
            json.dumps({k: row[k] for k in ("prompt", "completion", "label")}, sort_keys=True) for row in rows
        )

    assert lines(ours) == lines(theirs)
    assert all(is_conversational(row) for row in ours)


# -- documented schemas -------------------------------------------------------------------------------------------


def test_llamafactory_gets_rows_and_their_entry_as_its_readme_documents(tmp_path: Path) -> None:
    """Against data/README.md: `conversations` of `from` and `value`, human in odd places and gpt in even ones after a
    system turn, and an entry with file_name, formatting, columns and tags."""
    (tmp_path / "dataset_info.json").write_text('{"identity": {"file_name": "identity.json"}}', encoding="utf-8")
    for line, source in zip(exported(tmp_path, "llamafactory", [*SFT, LONGER]), [*SFT, LONGER], strict=True):
        said = [turn["from"] for turn in line["conversations"]]
        said = said[1:] if said[0] == "system" else said
        assert said[::2] == ["human"] * len(said[::2])
        assert said[1::2] == ["gpt"] * (len(said) // 2)
        assert [turn["value"] for turn in line["conversations"]] == [
            turn["content"] for turn in source["prompt"] + source["completion"]
        ]
    known = json.loads((tmp_path / "dataset_info.json").read_text(encoding="utf-8"))
    assert known["identity"] == {"file_name": "identity.json"}
    assert known["llamafactory"] == {
        "file_name": "llamafactory.jsonl",
        "formatting": "sharegpt",
        "columns": {"messages": "conversations"},
        "tags": {
            "role_tag": "from",
            "content_tag": "value",
            "user_tag": "human",
            "assistant_tag": "gpt",
            "system_tag": "system",
        },
    }


def test_llamafactory_gets_pairs_as_a_ranking_data_set(tmp_path: Path) -> None:
    """Against "Sharegpt Format, Preference Dataset" of data/README.md."""
    line = exported(tmp_path, "llamafactory", PAIRS)[1]
    assert [turn["from"] for turn in line["conversations"]] == ["human", "gpt", "human"]
    assert line["chosen"] == {"from": "gpt", "value": THOUGHT}
    assert line["rejected"] == {"from": "gpt", "value": "Why?"}
    entry = json.loads((tmp_path / "dataset_info.json").read_text(encoding="utf-8"))["llamafactory"]
    assert entry["ranking"] is True
    assert entry["columns"] == {"messages": "conversations", "chosen": "chosen", "rejected": "rejected"}


@pytest.mark.parametrize("there", ["{", "[]", "\xff"])
def test_an_unreadable_dataset_info_is_left_as_it_is(tmp_path: Path, there: str) -> None:
    (tmp_path / "dataset_info.json").write_text(there, encoding="latin-1")
    with pytest.raises(InputError, match=r"dataset_info.json .*: fix it, or choose another folder"):
        exported(tmp_path, "llamafactory", SFT)
    assert (tmp_path / "dataset_info.json").read_text(encoding="latin-1") == there
    assert not (tmp_path / "llamafactory.jsonl").exists()


def test_axolotl_trains_on_the_completion_alone(tmp_path: Path) -> None:
    """Against "chat_template" of axolotl's page on conversations, with `message_field_training`, and its entry, which
    has to be YAML."""
    for line, source in zip(exported(tmp_path, "axolotl", [*SFT, LONGER]), [*SFT, LONGER], strict=True):
        assert {frozenset(turn) for turn in line["messages"]} == {frozenset({"role", "content", "train"})}
        trained = [turn["content"] for turn in line["messages"] if turn["train"]]
        assert trained == [turn["content"] for turn in source["completion"]]
    found = stillroom.export(tmp_path / "rows", rows="axolotl", out=tmp_path / 'a"b: c.jsonl')
    (entry,) = yaml.safe_load(found.usage)["datasets"]
    assert entry["path"] == str(tmp_path / 'a"b: c.jsonl')
    assert (entry["type"], entry["field_messages"]) == ("chat_template", "messages")
    assert (entry["roles_to_train"], entry["message_field_training"]) == ([], "train")


def test_axolotl_gets_pairs_as_its_default_of_dpo(tmp_path: Path) -> None:
    """Against "chat_template.default" of axolotl's page on RLHF."""
    line = exported(tmp_path, "axolotl", PAIRS)[0]
    assert line == {
        "messages": PAIRS[0]["prompt"],
        "chosen": {"role": "assistant", "content": "Hi!"},
        "rejected": {"role": "assistant", "content": "No."},
    }
    usage = yaml.safe_load(stillroom.export(tmp_path / "rows", rows="axolotl", out=tmp_path / "p.jsonl").usage)
    assert usage["rl"] == "dpo"
    assert usage["datasets"][0]["type"] == "chat_template.default"


def test_openai_learns_the_last_turn_alone(tmp_path: Path) -> None:
    """Against the guides on supervised and preference fine-tuning of OpenAI: no key that they do not name."""
    lines = exported(tmp_path, "openai", [*SFT, LONGER])
    assert [turn.get("weight") for turn in lines[2]["messages"]] == [None, 0, None, None]
    assert all(set(line) == {"messages"} for line in lines)
    pair = exported(tmp_path, "openai", PAIRS)[0]
    assert pair == {
        "input": {"messages": PAIRS[0]["prompt"], "tools": [], "parallel_tool_calls": True},
        "preferred_output": answer("Hi!"),
        "non_preferred_output": answer("No."),
    }


def test_alpaca_holds_the_question_and_the_system_prompt(tmp_path: Path) -> None:
    first, second = exported(tmp_path, "alpaca", SFT)
    assert first == {"instruction": "2 + 2?", "input": "", "output": THOUGHT}
    assert (second["instruction"], second["system"]) == ("3 + 3?", "Be brief.")


# -- where rows are read from -------------------------------------------------------------------------------------


def test_a_run_gives_its_training_rows_and_on_request_its_held_out_pairs(tmp_path: Path) -> None:
    written(tmp_path / "dpo", PAIRS[:1])
    written(tmp_path / "dpo", PAIRS[1:], "test.parquet")
    for split, chosen in (("train", "Hi!"), ("test", THOUGHT)):
        stillroom.export(tmp_path, rows="trl", out=tmp_path / "x.jsonl", split=split)
        assert json.loads((tmp_path / "x.jsonl").read_text())["chosen"] == answer(chosen)


def test_a_folder_of_shards_is_read_in_order_without_what_is_held_out(tmp_path: Path) -> None:
    for name, row in zip(("a.parquet", "b.parquet", "test.parquet"), [*SFT, LONGER], strict=True):
        written(tmp_path, [row], name)
    assert stillroom.export(tmp_path, rows="messages", out=tmp_path / "x.jsonl").lines == 2


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ([{"text": "a"}], "has the columns text: SFT rows have prompt and completion"),
        ([{"prompt": "a", "completion": "b"}], "'prompt' must be a list of messages, got 'a'"),
    ],
)
def test_parquet_without_rows_of_ours_is_refused(tmp_path: Path, rows: list[dict[str, Any]], said: str) -> None:
    with pytest.raises(InputError, match=said):
        stillroom.export(written(tmp_path, rows), rows="trl")


def test_places_without_rows_are_refused(tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match=r"there is no .*nowhere"):
        stillroom.export(tmp_path / "nowhere", rows="trl")
    with pytest.raises(InputError, match=r"holds no sft/train.parquet"):
        stillroom.export(tmp_path, rows="trl")
    with pytest.raises(InputError, match=r"holds no held-out pairs"):
        stillroom.export(written(tmp_path / "dpo", PAIRS).parent, rows="trl", split="test")
    written(tmp_path / "sft", SFT)
    with pytest.raises(InputError, match=r"holds SFT rows and pairs: give the folder of one kind"):
        stillroom.export(tmp_path, rows="trl")
    (tmp_path / "bad.parquet").write_text("no")
    with pytest.raises(InputError, match=r"bad.parquet cannot be read as parquet"):
        stillroom.export(tmp_path / "bad.parquet", rows="trl")


def test_the_command_writes_lines_or_a_file_and_exits_with_2_for_what_it_refuses(tmp_path: Path) -> None:
    rows = written(tmp_path / "rows", SFT)
    ended = command("export", rows, "--rows", "trl")
    assert ended.returncode == 0
    assert json.loads(ended.stdout.splitlines()[0]) == {key: SFT[0][key] for key in ("prompt", "completion")}
    told = command("export", rows, "--rows", "axolotl", "--out", tmp_path / "x.jsonl")
    assert "2 rows written to" in told.stdout
    assert "message_field_training: train" in told.stdout
    refused = command("export", rows, "--rows", "llamafactory")
    assert refused.returncode == 2
    assert "name the first with --out" in refused.stderr
