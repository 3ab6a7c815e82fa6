"""What was forgotten: measured once for a model and what it is measured by, whatever ended a run, and reported so."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from math import exp
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillroom.common.hashing import digest
from stillroom.common.models import resolve as models
from stillroom.common.models.quiet import quiet_transformers
from stillroom.common.records import Completion, FinishReason, Request, Usage
from stillroom.common.stats.intervals import wilson
from stillroom.errors import InputError, MissingFile, StillroomError
from stillroom.evaluation.forgetting import Forgotten, TextLoss, forgetting_results
from stillroom.evaluation.results import Result
from stillroom.pipeline.config.load import load_recipe
from stillroom.pipeline.config.recipe import Forgetting
from stillroom.pipeline.run.folder import RunContext, RunFolder, opened
from stillroom.pipeline.run.progress import Display
from stillroom.pipeline.stages import forgetting
from stillroom.pipeline.stages.forgetting import check_forgetting, measure_forgetting
from stillroom.sampling.teachers.transformers import teacher as transformers
from stillroom.students.methods.sft import Sft
from stillroom.traces.scorers.answer import AnswerScorerSettings
from tests.conftest import write_sums

AFTER, BEFORE = "student_after", "student_before"
SPECIAL = ["<|pad|>", "<|end|>"]
SCORER = AnswerScorerSettings()


@dataclass
class Local:
    """Local models that follow a script: `right`: tasks in so many are answered rightly. `asked`, `read`: what they
    were given, with the model's name. `dies_at`: the text at which the process ends."""

    every: int = 2
    asked: list[tuple[str, str]] = field(default_factory=list)
    read: list[tuple[str, str]] = field(default_factory=list)
    systems: list[str | None] = field(default_factory=list)
    dies_at: str | None = None
    says: Sequence[tuple[str, FinishReason]] | None = None
    """In turn, what is said and how it ends, in the place of the script."""

    def teacher(self, model: str, *, concurrency: int, **_: Any) -> Any:
        return ScriptedTeacher(self, model, concurrency)

    def losses(self, model: str, texts: Mapping[str, str], dtype: str) -> Iterator[tuple[str, TextLoss]]:
        for name, text in texts.items():
            if name == self.dies_at:
                raise KeyboardInterrupt
            self.read.append((model, name))
            yield name, TextLoss(len(text) / 7, len(text.split()), len(text))


@dataclass
class ScriptedTeacher:
    local: Local
    model: str
    concurrency: int

    @property
    def identity(self) -> str:
        return f"scripted:{self.model}"

    async def sample(self, request: Request, usage: Usage) -> Completion:
        first, question = request.messages[0], request.messages[-1].content
        self.local.systems.append(first.content if first.role == "system" else None)
        self.local.asked.append((self.model, question))
        a, b = (int(part) for part in question.removeprefix("What is ").removesuffix("?").split(" + "))
        if self.local.says is not None:
            text, finish = self.local.says[len(self.local.asked) % len(self.local.says)]
            return Completion(text.format(right=a + b), finish, 5, 3)
        return Completion(f"#### {a + b + (a % self.local.every)}", "stop", 5, 3)

    async def close(self) -> None:
        """Nothing to free."""


@pytest.fixture
def local(monkeypatch: pytest.MonkeyPatch) -> Local:
    found = Local()
    monkeypatch.setattr(transformers, "TransformersTeacher", found.teacher)
    monkeypatch.setattr(models, "fingerprint", lambda name: f"weights of {name}")
    monkeypatch.setattr(forgetting, "text_losses", found.losses)
    return found


@contextmanager
def running(folder: Path) -> Iterator[RunContext]:
    """A run of the path of traces, as its last stage has it."""
    student = {"model": "m", "method": "sft"}
    tasks = {"source": "jsonl", "path": "tasks.jsonl", "test": 2}
    recipe = write_sums(folder, tasks=16, student=student, evaluate={"baselines": ["student_before"]})
    recipe.write_text(json.dumps(json.loads(recipe.read_text()) | {"tasks": tasks}))
    with opened(RunFolder(folder / "run", "sums"), load_recipe(recipe), Display(quiet=True)) as context:
        yield context


def settings(**changes: Any) -> Forgetting:
    tasks = {"source": "jsonl", "path": "tasks.jsonl", "test": 6}
    return Forgetting.model_validate({"tasks": {"sums": tasks}, "texts": {"path": "texts.jsonl"}} | changes)


def write_texts(folder: Path, count: int = 4) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps({"text": " ".join(["word"] * (n + 2))}) for n in range(count)]
    (folder / "texts.jsonl").write_text("\n".join(lines) + "\n")


def measure(
    context: RunContext,
    wanted: Forgetting | None = None,
    who: str = AFTER,
    model: str = "new",
    system: str | None = None,
    scorer: AnswerScorerSettings = SCORER,
) -> Forgotten:
    student = Sft(model="m", system=system)
    found = measure_forgetting(context, wanted or settings(), {who: model}, student, scorer=scorer, concurrency=64)
    return found[who]


# -- measuring -----------------------------------------------------------------------------------------------------


def test_every_task_is_answered_and_every_text_is_read(tmp_path: Path, local: Local) -> None:
    write_texts(tmp_path)
    with running(tmp_path) as run:
        found = measure(run, system="Be brief.")
    assert len(local.asked) == 6
    assert set(local.systems) == {"Be brief."}
    assert list(found.losses) == [f"texts.jsonl:{n}" for n in (1, 2, 3, 4)]
    assert found.losses["texts.jsonl:2"] == TextLoss(2.0, 3, 14)
    right = found.right["sums"]
    assert len(right) == 6
    assert 0 < sum(right.values()) < 6
    expected = {"accepted": sum(right.values()), "rejected": 6 - sum(right.values()), "unscored": 0, "missing": 0}
    assert found.counts["sums"] == expected


def test_how_each_answer_ended_and_was_read_is_kept(tmp_path: Path, local: Local) -> None:
    local.says = [("#### {right}", "stop"), ("So it is {right}", "length"), ("It is {right}.", "stop")]
    with running(tmp_path) as run:
        found = measure(run, settings(texts=None))
        kept = json.loads((tmp_path / "run" / "forgetting" / f"{AFTER}.json").read_text())
    assert {name: len(kept[name]["sums"]) for name in ("right", "stopped", "readable", "lenient")} == dict.fromkeys(
        ("right", "stopped", "readable", "lenient"), 6
    )
    assert found.stopped["sums"] == found.lenient["sums"]  # every number is right
    assert sorted(found.stopped["sums"].values()) == [False] * 2 + [True] * 4
    cut = [task for task, stopped in found.stopped["sums"].items() if not stopped]
    assert [found.readable["sums"][task] for task in cut] == [False, False]


def test_a_file_from_before_the_lenient_reading_is_kept_and_completed(tmp_path: Path, local: Local) -> None:
    write_texts(tmp_path)
    with running(tmp_path) as run:
        whole = measure(run)
        file = tmp_path / "run" / "forgetting" / f"{AFTER}.json"
        data = json.loads(file.read_text())
        old = {name: data[name] for name in ("right", "counts", "losses")}
        file.write_text(json.dumps({"key": data["key"], "hash": digest(old), **old}))
        local.asked.clear()
        local.read.clear()
        assert measure(run) == whole
    assert (local.asked, local.read) == ([], [])  # the answers are in the ledger, the losses in the file


def test_what_was_measured_is_not_measured_again(tmp_path: Path, local: Local) -> None:
    write_texts(tmp_path)
    with running(tmp_path) as run:
        first = measure(run)
        local.asked.clear()
        local.read.clear()
        assert measure(run) == first
    with running(tmp_path) as run:
        assert measure(run) == first
    assert (local.asked, local.read) == ([], [])


def test_several_kinds_of_tasks_and_no_text(tmp_path: Path, local: Local) -> None:
    tasks = {name: {"source": "jsonl", "path": "tasks.jsonl", "test": n} for name, n in (("few", 2), ("more", 5))}
    with running(tmp_path) as run:
        found = measure(run, settings(tasks=tasks, texts=None))
    assert {name: len(right) for name, right in found.right.items()} == {"few": 2, "more": 5}
    assert found.losses == {}
    assert local.read == []


def test_everyday_texts_need_no_file(tmp_path: Path, local: Local) -> None:
    with running(tmp_path) as run:
        assert len(measure(run, settings(tasks={}, texts="everyday")).losses) == 40
    assert local.asked == []


def test_a_kill_loses_only_the_text_that_was_being_read(tmp_path: Path, local: Local) -> None:
    write_texts(tmp_path)
    local.dies_at = "texts.jsonl:3"
    with running(tmp_path) as run, pytest.raises(KeyboardInterrupt):
        measure(run)
    local.dies_at = None
    with running(tmp_path) as run:
        found = measure(run)
    assert [name for _, name in local.read] == [f"texts.jsonl:{n}" for n in (1, 2, 3, 4)]  # none of them twice
    assert len(local.asked) == 6
    write_texts(tmp_path / "whole")
    with running(tmp_path / "whole") as run:
        assert measure(run) == found


def test_of_many_texts_a_kill_loses_a_hundredth(tmp_path: Path, local: Local) -> None:
    write_texts(tmp_path, 500)
    local.dies_at = "texts.jsonl:500"
    with running(tmp_path) as run, pytest.raises(KeyboardInterrupt):
        measure(run, settings(tasks={}))
    kept = json.loads((tmp_path / "run" / "forgetting" / f"{AFTER}.json").read_text())
    assert 494 <= len(kept["losses"]) <= 499


def _edit_tasks(folder: Path) -> None:
    text = (folder / "tasks.jsonl").read_text()
    (folder / "tasks.jsonl").write_text(text.replace('"answer": "', '"answer": "1'))


CHANGES: dict[str, tuple[dict[str, Any], Callable[[Path], object]]] = {
    "model": ({"model": "newer"}, lambda folder: None),
    "system": ({"system": "Be brief."}, lambda folder: None),
    "scorer": (
        {"scorer": AnswerScorerSettings.model_validate({"policies": {"rounding": "never"}})},
        lambda folder: None,
    ),
    "settings": ({"wanted": settings(max_tokens=65)}, lambda folder: None),
    "texts": ({}, lambda folder: write_texts(folder, 5)),
    "tasks": ({}, _edit_tasks),
}


@pytest.mark.parametrize("what", CHANGES)
def test_what_changed_is_measured_anew(what: str, tmp_path: Path, local: Local) -> None:
    more, edit = CHANGES[what]
    write_texts(tmp_path)
    with running(tmp_path) as run:
        measure(run)
        local.read.clear()
        edit(tmp_path)
        measure(run, **more)
    assert len(local.read) >= 4


def test_models_are_kept_apart(tmp_path: Path, local: Local) -> None:
    write_texts(tmp_path)
    with running(tmp_path) as run:
        for _ in range(2):
            for who, model in ((BEFORE, "old"), (AFTER, "new")):
                measure(run, who=who, model=model)
    assert len(local.asked) == 12
    assert [model for model, _ in local.read] == ["old"] * 4 + ["new"] * 4


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"key": 1}', '{"key": "KEY", "right": 7}', "\x00"])
def test_a_damaged_file_is_no_measurement(text: str, tmp_path: Path, local: Local) -> None:
    write_texts(tmp_path)
    with running(tmp_path) as run:
        first = measure(run)
        file = tmp_path / "run" / "forgetting" / f"{AFTER}.json"
        file.write_text(text.replace("KEY", json.loads(file.read_text())["key"]))
        assert measure(run) == first
    assert len(local.read) == 8
    assert len(local.asked) == 6  # the answers are in the ledger


@pytest.mark.parametrize(
    ("wanted", "error", "message"),
    [
        (settings(texts={"path": "gone.jsonl"}), MissingFile, "there is no file .*gone.jsonl"),
        (settings(texts={"path": "texts.jsonl", "field": "body"}), InputError, "texts.jsonl:1: no field 'body'"),
        (settings(tasks={"x": {"source": "jsonl", "path": "gone.jsonl", "test": 1}}), InputError, "gone.jsonl"),
        (settings(tasks={"x": {"source": "jsonl", "path": "tasks.jsonl", "test": 99}}), InputError, "99"),
    ],
)
def test_what_cannot_be_read_is_refused_before_anything_is_asked(
    wanted: Forgetting, error: type[StillroomError], message: str, tmp_path: Path, local: Local
) -> None:
    write_texts(tmp_path)
    with running(tmp_path) as run:
        with pytest.raises(error, match=message):
            check_forgetting(wanted, base=run.base, seed=0)
        with pytest.raises(error, match=message):
            measure(run, wanted)
    assert (local.asked, local.read) == ([], [])
    check_forgetting(settings(), base=tmp_path, seed=0)


NAMES = st.text(max_size=5)
LOSSES = st.builds(TextLoss, st.floats(0, 1e6), st.integers(0, 999), st.integers(0, 999))
FOUND = st.builds(
    Forgotten,
    st.dictionaries(NAMES, st.dictionaries(NAMES, st.booleans())),
    st.dictionaries(NAMES, LOSSES),
    st.dictionaries(NAMES, st.dictionaries(NAMES, st.integers(0, 9))),
    *[st.dictionaries(NAMES, st.dictionaries(NAMES, st.booleans()))] * 3,
)


@given(FOUND)
def test_what_is_written_is_read_as_it_was(found: Forgotten) -> None:
    assert Forgotten.from_dict(json.loads(json.dumps(found.as_dict()))) == found


# -- reporting -----------------------------------------------------------------------------------------------------


def of(*values: bool) -> dict[str, bool]:
    return {f"t{n}": value for n, value in enumerate(values)}


def reported(by_who: Mapping[str, Forgotten]) -> tuple[dict[tuple[str, str], Result], Any]:
    found = forgetting_results(by_who, after=AFTER, before=BEFORE, seed=1)
    rows = {(row.who, row.metric): row for row in found.results}
    assert len(rows) == len(found.results)
    return rows, found


def test_accuracies_of_each_kind_of_tasks_are_compared() -> None:
    before = Forgotten({"untrained": of(True, True, True, False), "letters": of(True, False)})
    after = Forgotten({"untrained": of(True, False, False, False), "letters": of(True, True)})
    rows, found = reported({BEFORE: before, AFTER: after})
    assert {key: row.value for key, row in rows.items()} == {
        (BEFORE, "untrained_accuracy"): 0.75,
        (AFTER, "untrained_accuracy"): 0.25,
        (BEFORE, "letters_accuracy"): 0.5,
        (AFTER, "letters_accuracy"): 1.0,
    }
    assert [(c.a, c.b, c.metric, c.difference, c.only_a, c.only_b) for c in found.comparisons] == [
        (AFTER, BEFORE, "untrained_accuracy", -0.5, 0, 2),
        (AFTER, BEFORE, "letters_accuracy", 0.5, 1, 0),
    ]
    assert found.notes == []


def retained(right: int, lenient: int, readable: int, stopped: int, n: int = 10) -> Forgotten:
    """The first so many tasks of `n` are right, and so on."""
    facts = [{"sums": {f"t{i}": i < count for i in range(n)}} for count in (right, lenient, readable, stopped)]
    return Forgotten(facts[0], lenient=facts[1], readable=facts[2], stopped=facts[3])


def test_the_four_shares_of_each_kind_of_tasks() -> None:
    rows, found = reported({BEFORE: retained(5, 6, 7, 9), AFTER: retained(0, 4, 1, 8)})
    assert {key: row.value for key, row in rows.items()} == {
        (BEFORE, "sums_accuracy"): 0.5,
        (BEFORE, "sums_lenient"): 0.6,
        (BEFORE, "sums_readable"): 0.7,
        (BEFORE, "sums_eos_rate"): 0.9,
        (AFTER, "sums_accuracy"): 0.0,
        (AFTER, "sums_lenient"): 0.4,
        (AFTER, "sums_readable"): 0.1,
        (AFTER, "sums_eos_rate"): 0.8,
    }
    eos = rows[AFTER, "sums_eos_rate"]
    assert (eos.low, eos.high) == tuple(wilson(8, 10)[1:3])
    assert (eos.n, eos.counts) == (10, {"yes": 8, "no": 2})
    assert [(c.metric, c.of, c.lenient, c.only_b) for c in found.comparisons] == [
        ("sums_accuracy", "sums", False, 5),
        ("sums_lenient", "sums", True, 2),
    ]
    assert found.notes == []


@pytest.mark.parametrize(
    ("numbers", "note"),
    [
        (10, None),
        (7, "sums: 3 of 10 references are not numbers; these tasks are left out of sums_lenient"),
        (0, "sums: no reference is a number, so these tasks are not read leniently"),
    ],
)
def test_references_that_are_not_numbers_are_told(numbers: int, note: str | None) -> None:
    found = retained(5, 5, 5, 5)
    some = {task: right for task, right in found.lenient["sums"].items() if int(task[1:]) < numbers}
    found = replace(found, lenient={"sums": some})
    rows, told = reported({BEFORE: found, AFTER: found})
    assert told.notes == ([] if note is None else [note])
    assert [row.n for (_, metric), row in rows.items() if metric == "sums_lenient"] == [numbers] * (
        2 if numbers else 0
    )
    assert len(told.comparisons) == (2 if numbers else 1)


def test_perplexities_and_their_ratio_by_hand() -> None:
    before = Forgotten(losses={"a": TextLoss(20.0, 10, 40), "b": TextLoss(60.0, 20, 90)})
    after = Forgotten(losses={"b": TextLoss(70.0, 20, 90), "a": TextLoss(20.0, 10, 40)})
    rows, found = reported({BEFORE: before, AFTER: after})
    assert rows[BEFORE, "perplexity"].value == pytest.approx(exp(80 / 30))
    assert rows[AFTER, "perplexity"].value == pytest.approx(exp(90 / 30))
    ratio = rows[AFTER, "perplexity_ratio"]
    assert ratio.value == pytest.approx(exp(10 / 30))
    assert ratio.value == pytest.approx(rows[AFTER, "perplexity"].value / rows[BEFORE, "perplexity"].value)
    assert (ratio.low, ratio.high) == pytest.approx((1.0, exp(10 / 20)))  # only a, only b
    assert (ratio.n, ratio.model_extra) == (2, {"against": BEFORE})
    assert {metric for _, metric in rows} == {"perplexity", "bits_per_byte", "perplexity_ratio"}
    assert found.notes == []


def test_the_ratio_is_of_the_same_texts_and_far_narrower_than_the_perplexities() -> None:
    before = {f"t{n}": TextLoss(10.0 * (1 + n % 5), 10, 40) for n in range(50)}
    after = {text: TextLoss(loss.nats + 0.5, 10, 40) for text, loss in before.items()}
    rows, _ = reported({BEFORE: Forgotten(losses=before), AFTER: Forgotten(losses=after)})
    ratio, perplexity = rows[AFTER, "perplexity_ratio"], rows[AFTER, "perplexity"]
    assert (ratio.low, ratio.value, ratio.high) == pytest.approx([exp(0.05)] * 3)
    assert perplexity.high > 1.5 * perplexity.low


PAIRS = st.lists(st.tuples(st.floats(0, 500), st.floats(0, 500), st.integers(1, 80)), min_size=1, max_size=8)


@given(PAIRS)
def test_the_other_way_round_the_ratio_is_its_inverse(pairs: list[tuple[float, float, int]]) -> None:
    one = Forgotten(losses={str(n): TextLoss(a, t, t) for n, (a, _, t) in enumerate(pairs)})
    other = Forgotten(losses={str(n): TextLoss(b, t, t) for n, (_, b, t) in enumerate(pairs)})
    ratios = []
    for after, before in ((one, other), (other, one)):
        rows = forgetting_results({AFTER: after, BEFORE: before}, after=AFTER, before=BEFORE, seed=1).results
        ratios.append(next(row for row in rows if row.metric == "perplexity_ratio"))
    assert ratios[0].value * ratios[1].value == pytest.approx(1)
    assert ratios[0].low * ratios[1].high == pytest.approx(1)


def test_other_tokens_cannot_be_compared() -> None:
    before, after = (Forgotten(losses={"a": TextLoss(9.0, n, 40)}) for n in (10, 12))
    rows, found = reported({BEFORE: before, AFTER: after})
    assert (AFTER, "perplexity_ratio") not in rows
    assert (AFTER, "bits_per_byte") in rows
    assert found.notes == [f"{AFTER} and {BEFORE} read the texts in other tokens: only bits_per_byte can be compared"]


def test_texts_without_two_tokens_and_tasks_without_an_answer_are_told() -> None:
    losses = {"a": TextLoss(9.0, 3, 9), "b": TextLoss(0.0, 0, 1)}
    counts = {"sums": {"accepted": 1, "rejected": 1, "unscored": 0, "missing": 2}}
    before = Forgotten({"sums": of(True, False)}, losses, counts)
    rows, found = reported({BEFORE: before, AFTER: Forgotten(losses={"b": losses["b"]})})
    assert rows[BEFORE, "perplexity"].n == 1
    assert rows[BEFORE, "perplexity"].model_extra == {"tokens": 3, "left_out": 1}
    assert rows[BEFORE, "sums_accuracy"].counts == counts["sums"]
    assert (AFTER, "perplexity") not in rows
    assert found.comparisons == []
    assert found.notes == [
        f"{BEFORE}: 2 of 4 sums tasks got no answer and are left out of n",
        f"{BEFORE}: 1 of 2 texts are too short for perplexity",
        f"{AFTER}: 1 of 1 texts are too short for perplexity",
    ]


def test_one_model_alone_is_compared_with_nobody() -> None:
    rows, found = reported({"round_1": Forgotten({"sums": of(True)}, {"a": TextLoss(9.0, 3, 9)})})
    assert set(rows) == {("round_1", metric) for metric in ("sums_accuracy", "perplexity", "bits_per_byte")}
    assert found.comparisons == []


# -- a real, tiny model --------------------------------------------------------------------------------------------


@pytest.fixture
def tiny(tmp_path: Path) -> str:
    """A random llama of bytes."""
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    import tokenizers
    from tokenizers import decoders, pre_tokenizers

    letters = {token: n for n, token in enumerate([*SPECIAL, *sorted(pre_tokenizers.ByteLevel.alphabet())])}
    raw = tokenizers.Tokenizer(tokenizers.models.BPE(vocab=letters, merges=[]))
    raw.pre_tokenizer, raw.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    raw.add_special_tokens(SPECIAL)
    sizes = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
    ids = {"bos_token_id": None, "eos_token_id": 1, "pad_token_id": 0}
    with quiet_transformers() as library:
        library.set_seed(0)
        config = library.LlamaConfig(vocab_size=258, max_position_embeddings=256, **sizes, **ids)
        library.LlamaForCausalLM(config).save_pretrained(tmp_path / "tiny")
        library.PreTrainedTokenizerFast(
            tokenizer_object=raw,
            chat_template="{% for m in messages %}{{ m['content'] }}{% endfor %}",
            eos_token=SPECIAL[1],
            pad_token=SPECIAL[0],
        ).save_pretrained(tmp_path / "tiny")
    return str(tmp_path / "tiny")


def test_a_model_is_loaded_asked_and_read(tmp_path: Path, tiny: str) -> None:
    write_texts(tmp_path)
    with running(tmp_path) as run:
        found = {who: measure(run, settings(max_tokens=4), who, tiny) for who in (BEFORE, AFTER)}
    rows, report = reported(found)
    assert rows[AFTER, "sums_accuracy"].n == 6
    assert rows[AFTER, "perplexity"].value > 50  # of 258 tokens, none of which it knows anything about
    assert rows[AFTER, "perplexity_ratio"].value == rows[AFTER, "perplexity_ratio"].high == 1
    assert report.comparisons[0].p == 1
