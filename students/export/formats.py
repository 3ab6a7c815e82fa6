"""Rows in the formats that other tools train on: one class per format, registered by name.

    format = format_of("llamafactory")
    format.sft(row)          # the lines of one SFT row, as dicts
    format.pair(row)         # the lines of one pair; a format without pairs refuses
    format.answer(row)       # the lines of one answer with its label; most formats refuse

Each format is what its tool documents, and its docstring cites the page. A row that a format cannot hold is refused
with its number and with formats that can: nothing is cut to fit. Only what is trained on goes out: where a row came
from (`task_id`, `index`, scores) stays in the run, and line n is row n (of `kto`, lines 2n-1 and 2n are pair n).

Thinking stays in the answer, once, as `<think>…</think>`: the place in which trl (the student's chat template),
LLaMA-Factory and axolotl want it. OpenAI documents no place for it: there it is part of the answer's text.

A new format is a class like those below, in this module or in a plug-in.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, NoReturn

from stillroom.common.records import Message, Messages
from stillroom.common.registry import Registry
from stillroom.errors import InputError
from stillroom.students.data.labelled import LabelledRow
from stillroom.students.data.rows import PairRow, SftRow

Line = dict[str, Any]
"""One line of the file, as JSON will hold it."""


class Format:
    """What a format makes of a row. `name`: as it is registered."""

    needs_file: ClassVar[bool] = False
    """Whether it writes more than the lines, so that standard output cannot hold it."""

    def __init__(self, name: str) -> None:
        self.name = name

    def sft(self, row: SftRow) -> list[Line]:
        """The lines of an SFT row. Raises InputError for one that the format cannot hold."""
        raise NotImplementedError

    def pair(self, row: PairRow) -> list[Line]:
        """The lines of a pair. Raises InputError for one that the format cannot hold."""
        raise NotImplementedError

    def answer(self, row: LabelledRow) -> list[Line]:
        """The lines of an answer with its label. Raises InputError for one that the format cannot hold."""
        self.refuse(row.name, "it says whether its answer is desirable, which this format cannot", "kto or trl")

    def usage(self, file: Path, *, pairs: bool) -> str:
        """How the tool is told to read the file; empty where its path is enough."""
        return ""

    def extra_file(self, file: Path, *, pairs: bool) -> tuple[Path, str] | None:
        """A second file that the tool needs next to the first, and its text. Raises InputError where one is there
        that cannot be added to."""
        return None

    def refuse(self, name: str, why: str, instead: str) -> NoReturn:
        """Raises the error for a row."""
        raise InputError(f"{name} does not fit --rows {self.name}: {why}: use --rows {instead}")


formats: Registry[Format] = Registry("export format", tag="name")
"""The formats by name."""


def format_of(name: str) -> Format:
    """The format of that name. Raises InputError for one that is not there."""
    if name not in formats:
        raise InputError(f"--rows {name!r}: {formats.unknown(name)}")
    return formats[name](name)


# -- formats of messages -----------------------------------------------------------------------------------------


@formats.register(name="messages")
class ChatMessages(Format):
    """`{"messages": [{"role", "content"}, …]}`: what trl calls conversational language modeling, and most other
    tools read (https://huggingface.co/docs/trl/dataset_formats). It does not say which turns are trained on."""

    def sft(self, row: SftRow) -> list[Line]:
        return [{"messages": _turns((*row.prompt, *row.completion))}]

    def pair(self, row: PairRow) -> list[Line]:
        self.refuse(row.name, "it has two answers, and one list of messages holds one", "trl, axolotl or openai")


@formats.register(name="trl")
class Trl(Format):
    """`prompt`, `completion`, and for pairs `prompt`, `chosen`, `rejected`, as lists of messages
    (https://huggingface.co/docs/trl/dataset_formats). SFTTrainer trains on the completion only."""

    def sft(self, row: SftRow) -> list[Line]:
        return [{"prompt": _turns(row.prompt), "completion": _turns(row.completion)}]

    def pair(self, row: PairRow) -> list[Line]:
        return [{"prompt": _turns(row.prompt), "chosen": _turns(row.chosen), "rejected": _turns(row.rejected)}]

    def answer(self, row: LabelledRow) -> list[Line]:
        return [{"prompt": _turns(row.prompt), "completion": _turns(row.completion), "label": row.label}]


@formats.register(name="kto")
class Kto(Format):
    """`prompt`, `completion`, `label`, trl's unpaired preferences (https://huggingface.co/docs/trl/kto_trainer). A
    pair is two lines: the chosen answer with true, then the rejected one with false."""

    def sft(self, row: SftRow) -> list[Line]:
        self.refuse(row.name, "SFT rows hold accepted answers only, and KTO learns from both kinds", "trl")

    def pair(self, row: PairRow) -> list[Line]:
        sides = ((row.chosen, True), (row.rejected, False))
        return [{"prompt": _turns(row.prompt), "completion": _turns(side), "label": label} for side, label in sides]

    def answer(self, row: LabelledRow) -> list[Line]:
        return [{"prompt": _turns(row.prompt), "completion": _turns(row.completion), "label": row.label}]


@formats.register(name="openai")
class OpenAI(Format):
    """The file that OpenAI fine-tunes on: `{"messages": […]}`, and for preferences `input`, `preferred_output` and
    `non_preferred_output` with one message each (https://platform.openai.com/docs/guides/supervised-fine-tuning and
    …/direct-preference-optimization). Together and Fireworks read the same. Every assistant turn is learned there
    unless it says `weight: 0`, so those of the prompt do."""

    def sft(self, row: SftRow) -> list[Line]:
        asked = [_turn(m) | ({"weight": 0} if m.role == "assistant" else {}) for m in row.prompt]
        return [{"messages": [*asked, *_turns(row.completion)]}]

    def pair(self, row: PairRow) -> list[Line]:
        chosen, rejected = (_single(self, row.name, side, "trl") for side in (row.chosen, row.rejected))
        return [
            {
                "input": {"messages": _turns(row.prompt), "tools": [], "parallel_tool_calls": True},
                "preferred_output": [_turn(chosen)],
                "non_preferred_output": [_turn(rejected)],
            }
        ]


@formats.register(name="axolotl")
class Axolotl(Format):
    """axolotl's `chat_template` (https://docs.axolotl.ai/docs/dataset-formats/conversation.html), whose turns say
    with `train` whether they are trained on, and for pairs its `chat_template.default`
    (https://docs.axolotl.ai/docs/rlhf.html). `usage` is the entry of its configuration."""

    def sft(self, row: SftRow) -> list[Line]:
        asked = [_turn(m) | {"train": False} for m in row.prompt]
        return [{"messages": [*asked, *(_turn(m) | {"train": True} for m in row.completion)]}]

    def pair(self, row: PairRow) -> list[Line]:
        chosen, rejected = (_single(self, row.name, side, "trl") for side in (row.chosen, row.rejected))
        return [{"messages": _turns(row.prompt), "chosen": _turn(chosen), "rejected": _turn(rejected)}]

    def usage(self, file: Path, *, pairs: bool) -> str:
        path = json.dumps(str(file), ensure_ascii=False)  # a JSON string is a YAML string
        if pairs:
            rest = "    type: chat_template.default\n    field_messages: messages\n"
            fields = "    field_chosen: chosen\n    field_rejected: rejected\n"
            return f"rl: dpo\ndatasets:\n  - path: {path}\n    ds_type: json\n    split: train\n{rest}{fields}"
        rest = "    type: chat_template\n    field_messages: messages\n"
        training = "    roles_to_train: []\n    message_field_training: train\n"
        return f"datasets:\n  - path: {path}\n    ds_type: json\n{rest}{training}"


# -- formats of turns by turns -----------------------------------------------------------------------------------


_SHAREGPT_ROLES = {"system": "system", "user": "human", "assistant": "gpt"}


@formats.register(name="sharegpt")
class ShareGpt(Format):
    """`{"conversations": [{"from", "value"}, …]}` from `human` and `gpt`, a `system` turn first where there is one;
    for pairs, `chosen` and `rejected` are one turn each. As LLaMA-Factory documents it
    (https://github.com/hiyouga/LLaMA-Factory/blob/main/data/README.md): human and gpt take turns."""

    def sft(self, row: SftRow) -> list[Line]:
        answer = _single(self, row.name, row.completion, "messages or trl")
        return [{"conversations": [*self._conversation(row.name, row.prompt), _said(answer)]}]

    def pair(self, row: PairRow) -> list[Line]:
        chosen, rejected = (_single(self, row.name, side, "trl") for side in (row.chosen, row.rejected))
        asked = self._conversation(row.name, row.prompt)
        return [{"conversations": asked, "chosen": _said(chosen), "rejected": _said(rejected)}]

    def _conversation(self, name: str, prompt: Messages) -> list[Line]:
        turns = prompt[1:] if prompt[0].role == "system" else prompt
        for number, message in enumerate(turns):
            wanted = "assistant" if number % 2 else "user"
            if message.role != wanted:
                why = f"turn {number + 1} is the {message.role}'s, and user and assistant must take turns"
                self.refuse(name, why, "messages or trl")
        if len(turns) % 2 == 0:
            self.refuse(name, "its prompt does not end with a turn of the user", "messages or trl")
        return [_said(message) for message in prompt]


@formats.register(name="llamafactory")
class LlamaFactory(ShareGpt):
    """ShareGPT rows, and their entry in the `dataset_info.json` of the same folder, which LLaMA-Factory needs
    (https://github.com/hiyouga/LLaMA-Factory/blob/main/data/README.md). Entries that are there stay. Earlier answers
    of a conversation are learned there too unless `mask_history` is set, so the settings that are printed set it."""

    needs_file = True

    def extra_file(self, file: Path, *, pairs: bool) -> tuple[Path, str] | None:
        """The entry in `dataset_info.json`. Raises InputError for one that is there and cannot be read."""
        path = file.with_name("dataset_info.json")
        known: Any = {}
        if path.exists():
            try:
                known = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError, RecursionError) as error:
                raise InputError(
                    f"{path} cannot be read as JSON ({error}): fix it, or choose another folder"
                ) from None
        if not isinstance(known, dict):
            raise InputError(f"{path} holds no object of data sets: fix it, or choose another folder for --out")
        columns = {"messages": "conversations"} | ({"chosen": "chosen", "rejected": "rejected"} if pairs else {})
        entry: Line = {"file_name": file.name, "formatting": "sharegpt"}
        entry |= ({"ranking": True} if pairs else {}) | {"columns": columns}
        entry["tags"] = {
            "role_tag": "from",
            "content_tag": "value",
            "user_tag": "human",
            "assistant_tag": "gpt",
            "system_tag": "system",
        }
        return path, json.dumps(known | {file.stem: entry}, indent=2, ensure_ascii=False) + "\n"

    def usage(self, file: Path, *, pairs: bool) -> str:
        """What goes into LLaMA-Factory's own settings."""
        history = "" if pairs else "mask_history: true\n"
        return f"dataset_dir: {json.dumps(str(file.parent), ensure_ascii=False)}\ndataset: {file.stem}\n{history}"


@formats.register(name="alpaca")
class Alpaca(Format):
    """`instruction`, `input`, `output` (https://github.com/tatsu-lab/stanford_alpaca#data-release); a system prompt
    in `system`, which LLaMA-Factory reads and the first Alpaca did not have. `input` is empty: what a task had there
    is part of its one question."""

    def sft(self, row: SftRow) -> list[Line]:
        answer = _single(self, row.name, row.completion, "messages or trl")
        system = row.prompt[0].content if row.prompt[0].role == "system" else None
        turns = row.prompt if system is None else row.prompt[1:]
        if [message.role for message in turns] != ["user"]:
            why = f"its prompt has {len(turns)} turns, and there is room for one question"
            self.refuse(row.name, why, "sharegpt or messages")
        line: Line = {"instruction": turns[0].content, "input": "", "output": answer.content}
        return [line | ({} if system is None else {"system": system})]

    def pair(self, row: PairRow) -> list[Line]:
        self.refuse(row.name, "it has two answers, and there is one output", "llamafactory, sharegpt or trl")


def _turn(message: Message) -> Line:
    return {"role": message.role, "content": message.content}


def _turns(messages: Sequence[Message]) -> list[Line]:
    return [_turn(message) for message in messages]


def _said(message: Message) -> Line:
    return {"from": _SHAREGPT_ROLES[message.role], "value": message.content}


def _single(format: Format, name: str, answer: Messages, instead: str) -> Message:
    """The one turn of an answer. Refuses an answer of several."""
    if len(answer) != 1:
        format.refuse(name, f"its answer has {len(answer)} turns, and there is room for one", instead)
    return answer[0]
