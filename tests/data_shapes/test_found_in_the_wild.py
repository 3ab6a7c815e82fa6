"""Files that broke other tools, after public reports: each is read, or refused with what to do. The reports stand in
docs/data.md."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from stillroom.errors import InputError
from stillroom.traces.tasks import JsonlTasks, load_tasks

ROOT = Path(__file__).parents[2]
ROW = {"question": "2 + 2?", "answer": "4"}
ASKED, SAID = {"from": "human", "value": "2 + 2?"}, {"from": "gpt", "value": "4"}


def lines(*rows: Any) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


class Report(NamedTuple):
    """`source`: the report, on GitHub. `files`: what lies in the folder. `path`: what the recipe names. `tasks`: what
    is asked and expected; `refused`: what is said instead."""

    source: str
    files: dict[str, bytes]
    path: str = "rows.jsonl"
    tasks: tuple[tuple[str, str], ...] = (("2 + 2?", "4"),)
    refused: str = ""


READ = [
    Report("huggingface/datasets/issues/8241", {"rows.jsonl": b"\xef\xbb\xbf" + lines(ROW)}),
    Report(
        "UKGovernmentBEIS/inspect_ai/issues/5353", {"r.csv": b"\xef\xbb\xbfquestion,answer\r\n2 + 2?,4\r\n"}, "r.csv"
    ),
    Report("axolotl-ai-cloud/axolotl/issues/744", {"rows.jsonl": json.dumps([ROW], indent=2).encode()}),
    Report("axolotl-ai-cloud/axolotl/pull/3607", {"rows.jsonl": lines({"messages": json.dumps([ASKED, SAID])})}),
    Report(
        "huggingface/datasets/issues/888",
        {"rows.jsonl": lines({"conversations": {"from": ["human", "gpt"], "value": ["2 + 2?", "4"]}})},
    ),
    Report(
        "axolotl-ai-cloud/axolotl/issues/752",
        {"rows.jsonl": lines({"conversations": [{**ASKED, "from": "user"}, {**SAID, "from": "assistant"}]})},
    ),
    Report(
        "axolotl-ai-cloud/axolotl/pull/723",
        {"rows.jsonl": lines({"conversations": [{"from": "gpt", "value": "Hello."}, ASKED, SAID]})},
    ),
    Report(
        "hiyouga/LlamaFactory/issues/2571",
        {"rows.jsonl": json.dumps({"question": {"0": "2 + 2?", "1": "3?"}, "answer": {"0": "4", "1": "3"}}).encode()},
        tasks=(("2 + 2?", "4"), ("3?", "3")),
    ),
    Report("huggingface/datasets/pull/372", {"rows.jsonl": json.dumps({"version": "1", "data": [ROW]}).encode()}),
    Report("paperswithcode/paperswithcode-data/issues/17", {"rows.json.gz": lines(ROW)}, "rows.json.gz"),
    Report(
        "huggingface/datasets/issues/7092",
        {
            "p-1.jsonl": lines({**ROW, "tags": []}),
            "p-2.jsonl": lines({"question": "3?", "answer": 3, "tags": [{"a": 1}]}),
        },
        "p-*.jsonl",
        (("2 + 2?", "4"), ("3?", "3")),
    ),
    Report(
        "huggingface/datasets/issues/5827",
        {"rows.jsonl": lines({**ROW, "id": 1}, {"question": "3?", "answer": "3", "id": "Nan"})},
        tasks=(("2 + 2?", "4"), ("3?", "3")),
    ),
    Report(
        "alexa/massive/issues/8",
        {"p-1.jsonl": lines(ROW), "._p-1.jsonl": b"\x00\x05\x16\x07\x00\x02\x00\x00Mac OS X"},
        "*.jsonl",
    ),
    Report(
        "UKGovernmentBEIS/inspect_ai/pull/4905",
        {"r.csv": b'question,choices,answer\n2 + 2?,"[""3"", ""4""]",B\n'},
        "r.csv",
        (("2 + 2?\n\nA. 3\nB. 4", "B"),),
    ),
    Report("unslothai/unsloth/issues/321", {"rows.json": json.dumps([[ASKED, SAID]]).encode()}, "rows.json"),
    Report(
        "taprosoft/llm_finetuning/issues/5",
        {"rows.jsonl": lines({"conversations": [{**ASKED, "from": "USER"}, {**SAID, "from": "ASSISTANT"}]})},
    ),
    Report("openspending/openspending/issues/532", {"r.csv": b"question ,answer \n2 + 2?,4\n"}, "r.csv"),
    Report(
        "mechatroner/vscode_rainbow_csv/issues/108", {"r.csv": b"sep=;\r\nquestion;answer\r\n2 + 2?;4\r\n"}, "r.csv"
    ),
    Report("langgenius/dify/pull/42354", {"r.csv": b"question|answer\n2 + 2?|4\n"}, "r.csv"),
]
REFUSED = [
    Report(
        "huggingface/datasets/issues/651",
        {"rows.jsonl": json.dumps({"id01234": ROW, "id01235": ROW}).encode()},
        refused=r"a row under each key \(id01234, id01235, .*jq -c 'to_entries\[\]",
    ),
    Report(
        "pandas-dev/pandas/issues/30716",
        {"rows.jsonl": lines(ROW) + b'{"question": "3?", "answer": NaN}\n'},
        refused=r"rows\.jsonl:2: not_json: NaN is not JSON: write null",
    ),
    Report(
        "InertExpert2911/Mutual_Fund_Data/issues/1",
        {"rows.parquet": b"version https://git-lfs.github.com/spec/v1\noid sha256:66\nsize 146946961\n"},
        "rows.parquet",
        refused="is the pointer of Git LFS, not the file: fetch it with `git lfs pull`",
    ),
    Report(
        "kavgan/nlp-in-practice/issues/1",
        {"rows.txt.gz": b"\n\n<!DOCTYPE html>\n<html>"},
        "rows.txt.gz",
        refused="is a page of HTML: download the file itself",
    ),
    Report(
        "facebookresearch/lingua/issues/42",
        {"rows.jsonl": lines(ROW) + lines(ROW)[:-1] + lines(ROW)},
        refused=r"rows\.jsonl:2: not_json: .*a line feed is missing between two rows",
    ),
    Report(
        "cityjson/specs/issues/2",
        {"rows.jsonl": b'{"question": "2 + 2?", "answer": "4", "answer": "5"}\n'},
        refused=r"rows\.jsonl:1: not_json: the key 'answer' stands twice",
    ),
    Report(
        "harelba/q/issues/138",
        {"rows.csv": b"question,answer\r2 + 2?,4\r3?,3\r"},
        "rows.csv",
        refused="carriage return alone, as old Mac programs write them",
    ),
    Report(
        "codeforbirmingham/Open-Disclosure/issues/7",
        {"rows.csv": b"question,answer\n2 \x96 2?,0\n"},
        "rows.csv",
        refused=r"rows\.csv:2: not UTF-8: byte 0x96 .*WINDOWS-1252",
    ),
    Report(
        "pytorch/text/issues/349",
        {"rows.tsv": b'question\tanswer\n" b c\ta\nd\te\n'},
        "rows.tsv",
        refused=r"rows\.tsv:2: .*is not CSV: .*is a quote not closed\?",
    ),
    Report(
        "axolotl-ai-cloud/axolotl/pull/1137",
        {"rows.jsonl": lines({"conversations": [ASKED, {"from": "tool", "value": "4"}, SAID]})},
        refused="turn 2 is of 'tool': expected one of system",
    ),
    Report(
        "hiyouga/LlamaFactory/issues/6926",
        {"rows.jsonl": lines({"conversations": [SAID, SAID]})},
        refused=r"rows\.jsonl:1: empty_prompt: .*no user turn that is to be answered",
    ),
    Report(
        "UKGovernmentBEIS/inspect_ai/issues/4902",
        {"r.csv": b'question,choices,answer\n2 + 2?,"Paris,London,",B\n'},
        "r.csv",
        refused=r"'choices' is a text, not a list of choices: write it as JSON; or set layout: fields",
    ),
    Report(
        "mkht/PSOpenAI/issues/19",
        {"rows.jsonl": lines(ROW).decode().encode("utf-16")},
        refused="is UTF-16, not UTF-8: convert it with `iconv -f UTF-16 -t UTF-8`",
    ),
]


def laid(folder: Path, report: Report) -> JsonlTasks:
    for name, data in report.files.items():
        (folder / name).write_bytes(data)
    return JsonlTasks(source="jsonl", path=report.path)


@pytest.mark.parametrize("report", READ, ids=lambda report: report.source)
def test_what_broke_other_tools_is_read(tmp_path: Path, report: Report) -> None:
    tasks = load_tasks(laid(tmp_path, report), base=tmp_path, seed=1)
    assert tuple((task.messages[-1].content, task.reference) for task in tasks.train) == report.tasks


@pytest.mark.parametrize("report", REFUSED, ids=lambda report: report.source)
def test_or_it_is_refused_with_what_to_do(tmp_path: Path, report: Report) -> None:
    settings = laid(tmp_path, report)
    with pytest.raises(InputError, match=report.refused) as caught:
        load_tasks(settings, base=tmp_path, seed=1)
    assert caught.value.exit_code == 2


def test_the_page_names_each_report_and_says_what_becomes_of_it() -> None:
    page = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    rows = re.findall(
        r"^\| .* \| (read|refused)[^|]* \| \[.*?\]\(https://github\.com/(.*?)\) \|$", page, re.MULTILINE
    )
    expected = {report.source: "read" for report in READ} | {report.source: "refused" for report in REFUSED}
    assert {source: kind for kind, source in rows} == expected
