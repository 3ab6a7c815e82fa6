"""Who tells a cache its distributions, and what is not believed."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from stillroom.errors import InputError, MissingFile, MissingKey, RequestFailed, RunError, StillroomError
from stillroom.sampling.fake_server.answers import prompt_logprobs
from stillroom.sampling.fake_server.server import FakeServer
from stillroom.sampling.teachers.vllm.teacher import VllmTeacher
from stillroom.students.data.encode import IGNORED, EncodedRow
from stillroom.students.lint.teacher import teacher_side
from stillroom.students.methods.distil import Distil
from stillroom.students.records import TrainingPlace
from stillroom.students.whitebox.cache.prompted import PromptedSource, Reading
from stillroom.students.whitebox.cache.record import Entry
from stillroom.students.whitebox.cache.recorded import RecordedSignal
from stillroom.students.whitebox.cache.rules import Rule
from stillroom.students.whitebox.cache.server import ServerSignal, told_in
from stillroom.students.whitebox.cache.sources import Source, signals
from stillroom.students.whitebox.privileged import Privileged

RULE = Rule(4, 4, None)
ROW = EncodedRow("row 1", [1, 5, 9, 2], [IGNORED, IGNORED, 9, 2])


def entry(**logprobs: Any) -> dict[str, Any]:
    """Of ids that are written `i9`."""
    ordered = sorted(logprobs.values(), key=lambda p: -p if isinstance(p, int | float) else 0)
    return {key[1:]: {"logprob": p, "rank": ordered.index(p) + 1} for key, p in logprobs.items()}


FIRST = entry(i9=-0.5, i3=-1.5, i4=-3.0, i7=-4.0)
SECOND = entry(i1=-0.1, i3=-3.5, i4=-4.0, i7=-5.0, i2=-6.0)
TOLD = [None, entry(i5=-1.0), FIRST, SECOND]


def score(source: Source, rows: Sequence[EncodedRow], rule: Rule = RULE) -> dict[int, Entry]:
    async def all_of() -> dict[int, Entry]:
        try:
            return {number: entry async for number, entry in source.score(rows, rule, (1.0,))}
        finally:
            await source.close()

    return asyncio.run(all_of())


# -- what is told -------------------------------------------------------------------------------------------------


def test_the_likeliest_tokens_of_the_answer_are_kept_and_all_else_is_tail() -> None:
    """Entry i is about token i; the token itself is dropped where it is not among the likeliest."""
    found = Reading(RULE, 100, "it").entry(ROW, TOLD)
    assert found.counts.tolist() == [4, 4]
    assert found.ids.tolist() == [9, 3, 4, 7, 1, 3, 4, 7]
    assert found.log_p.tolist() == [-0.5, -1.5, -3.0, -4.0, -0.1, -3.5, -4.0, -5.0]
    tails = [1 - sum(math.exp(p) for p in found.log_p[i : i + 4]) for i in (0, 4)]
    assert np.exp(found.log_tail[:, 0]) == pytest.approx(tails)


def test_a_share_is_kept_from_what_is_told() -> None:
    found = Reading(Rule(4, 1, 0.8), 100, "it").entry(ROW, TOLD)
    assert found.counts.tolist() == [2, 1]
    assert np.exp(found.log_tail[0, 0]) == pytest.approx(1 - math.exp(-0.5) - math.exp(-1.5))


def test_of_a_small_vocabulary_all_are_told_and_no_tail_is_left() -> None:
    even = {str(i): {"logprob": math.log(0.25), "rank": i + 1} for i in range(4)}
    found = Reading(Rule(16, 16, None), 4, "it").entry(EncodedRow("r", [1, 2], [IGNORED, 2]), [None, even])
    assert found.log_tail[0, 0] == -math.inf


HOSTILE: list[tuple[str, Any, str]] = [
    ("none", None, "NoneType of log-probabilities for 4 tokens"),
    ("text", "0.5", "str of log-probabilities"),
    ("too few", TOLD[:3], "3 entries of log-probabilities for 4 tokens"),
    ("too many", [*TOLD, FIRST], "5 entries of log-probabilities for 4 tokens"),
    ("shifted", [None, FIRST, SECOND, FIRST], r"the token itself \(9\) is not among those told: entries are shifted"),
    ("null", [None, None, None, SECOND], "token 2: it told nothing"),
    ("empty", [None, None, {}, SECOND], "token 2: it told nothing"),
    ("list", [None, None, [1, 2], SECOND], "token 2: it told nothing"),
    (
        "text for a number",
        [None, None, {**FIRST, "9": {"logprob": "-0.5", "rank": 1}}, SECOND],
        "'-0.5' is not a log-prob",
    ),
    ("missing number", [None, None, {**FIRST, "9": {}}, SECOND], "'None' is not a log-probability"),
    ("bare number", [None, None, {**FIRST, "9": -0.5}, SECOND], "'None' is not a log-probability"),
    ("true", [None, None, {**FIRST, "9": {"logprob": True}}, SECOND], "'True' is not a log-probability"),
    ("nan", [None, None, {**FIRST, "9": {"logprob": math.nan}}, SECOND], "'nan' is not a log-probability"),
    ("inf", [None, None, {**FIRST, "9": {"logprob": math.inf}}, SECOND], "'inf' is not a log-probability"),
    ("minus inf", [None, None, {**FIRST, "9": {"logprob": -math.inf}}, SECOND], "'-inf' is not a log-probability"),
    ("logit", [None, None, {**FIRST, "9": {"logprob": 17.5}}, SECOND], "'17.5' is not a log-probability"),
    (
        "beyond",
        [None, None, {**FIRST, "100": {"logprob": -9.0}}, SECOND],
        "'100' is not an id of a vocabulary of 100",
    ),
    ("negative", [None, None, {**FIRST, "-3": {"logprob": -9.0}}, SECOND], "'-3' is not an id"),
    ("word", [None, None, {**FIRST, "cat": {"logprob": -9.0}}, SECOND], "'cat' is not an id"),
    ("long", [None, None, {**FIRST, "9" * 5000: {"logprob": -9.0}}, SECOND], "is not an id"),
    ("twice", [None, None, {**FIRST, "09": {"logprob": -9.0}}, SECOND], "named an id twice"),
    ("too likely", [None, None, entry(i9=-0.5, i3=-0.6, i4=-0.7, i7=-0.8), SECOND], "sum to 2.1"),
    ("ranks", [None, None, {**FIRST, "9": {"logprob": -0.5, "rank": 7}}, SECOND], "of a lower rank is likelier"),
    ("few", [None, None, entry(i9=-0.5, i3=-1.5), SECOND], "told 2 tokens where 4 were asked for .*--max-logprobs 4"),
]


@pytest.mark.parametrize(("told", "why"), [case[1:] for case in HOSTILE], ids=[case[0] for case in HOSTILE])
def test_what_is_no_distribution_is_refused_by_row_and_place(told: Any, why: str) -> None:
    with pytest.raises(RunError, match=rf"it, asked for row 1: .*{why}") as found:
        Reading(RULE, 100, "it").entry(ROW, told)
    assert len(str(found.value)) < 300


def test_logits_that_are_all_negative_are_seen_by_the_mass_they_lack() -> None:
    row = EncodedRow("r", [1, *[9] * 10], [IGNORED, *[9] * 10])
    told = [None, *[entry(i9=-7.0, i3=-8.0, i4=-9.0, i7=-10.0)] * 10]
    with pytest.raises(
        RunError, match=r"have 0\.14% of the probability on average: those are no log-prob.*--logprobs-mode"
    ):
        Reading(RULE, 100, "it").entry(row, told)


def test_a_distribution_that_was_cut_is_seen_by_its_missing_tail() -> None:
    """A position without a tail is nothing special; hundreds on end are."""
    cut = entry(i9=math.log(0.7), i3=math.log(0.2), i4=math.log(0.06), i7=math.log(0.04))
    row, reading = EncodedRow("r", [1, *[9] * 200], [IGNORED, *[9] * 200]), Reading(RULE, 100, "it")
    assert reading.entry(row, [None, *[cut] * 200]).log_tail.max() == -math.inf
    reading.entry(row, [None, *[cut] * 200])
    with pytest.raises(RunError, match=r"at none of 600 positions .* it cuts its distribution \(top_p"):
        reading.entry(row, [None, *[cut] * 200])
    mixed = Reading(RULE, 100, "it")
    for _ in range(4):
        mixed.entry(row, [None, FIRST, *[cut] * 199])


def test_a_row_that_fails_stops_the_other_requests() -> None:
    stopped: list[int] = []

    async def ask(ids: list[int], k: int) -> Any:
        if ids[0] == 0:
            return None
        try:
            await asyncio.Event().wait()
        finally:
            stopped.append(ids[0])

    async def close() -> None: ...

    rows = [EncodedRow(f"row {i}", [i, 9, 2], [IGNORED, 9, 2]) for i in range(6)]
    with pytest.raises(RunError, match="asked for row 0"):
        score(PromptedSource(ask, close, 100, "it", most=3), rows)
    assert sorted({1, 2} & set(stopped)) == [1, 2]


# -- a server -----------------------------------------------------------------------------------------------------


def served(server: FakeServer, rows: Sequence[EncodedRow], rule: Rule = RULE, **settings: Any) -> dict[int, Entry]:
    async def all_of() -> dict[int, Entry]:
        await server.start()
        retry = {"attempts": 3, "base_s": 0, "cap_s": 0}
        signal = ServerSignal(model="m", base_url=server.url, retry=retry, **settings)
        source = signal.make(Path(), 256)
        try:
            return {number: entry async for number, entry in source.score(rows, rule, (1.0,))}
        finally:
            await source.close()
            await server.close()

    return asyncio.run(all_of())


def test_a_server_is_asked_once_for_each_row_and_read_by_place() -> None:
    rows = [EncodedRow(f"row {i}", [3, i, 50 + i, 2], [IGNORED, IGNORED, 50 + i, 2]) for i in range(20)]
    server = FakeServer()
    found = served(server, rows, concurrency=4)
    assert sorted(found) == list(range(20))
    assert server.asked == 20
    for i, one in found.items():
        assert one.ids.tolist() == [50 + i, 51 + i, 52 + i, 53 + i, 2, 3, 4, 5]
        assert one.log_p[0] == pytest.approx(math.log(0.6))
        assert np.exp(one.log_tail[0, 0]) == pytest.approx(0.05)


@pytest.mark.parametrize("habit", ["retry_after_zero", "429_in_200", "503_html", "error_as_text", "500_now_and_then"])
def test_a_server_that_fails_in_passing_is_asked_again(habit: str) -> None:
    rows = [EncodedRow(f"row {i}", [3, i, 9, 2], [IGNORED, IGNORED, 9, 2]) for i in range(6)]
    server = FakeServer([habit], minute_s=0.01)
    assert len(served(server, rows)) == 6
    assert server.asked > 6


def test_a_server_without_this_protocol_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("stillroom.sampling.fake_server.server.prompt_logprobs", lambda body: None)
    with pytest.raises(RequestFailed, match=r"has no prompt_logprobs: .*method: sft"):
        served(FakeServer(), [ROW])


def test_a_refused_key_is_told_without_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIGNAL_KEY", "sk-signal-a1B2c3D4e5F6g7")
    with pytest.raises(MissingKey, match="SIGNAL_KEY is set, but was refused") as found:
        served(FakeServer(["401_always"]), [ROW], api_key_env="SIGNAL_KEY")
    assert "a1B2c3D4" not in str(found.value)


@pytest.mark.parametrize("body", [b"", b"[", b"[]", b"{}", b'{"choices": []}', b'{"choices": [7]}', b"\xff\xfe"])
def test_a_reply_without_choices_is_one_request_that_failed(body: bytes) -> None:
    with pytest.raises(RequestFailed):
        told_in(body)


def test_the_identity_is_the_model_and_not_the_address() -> None:
    one, two = (ServerSignal(model="m", base_url=f"http://localhost:{port}/v1").identity(Path()) for port in (1, 2))
    assert one == two == "openai:m"


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"model": "m", "base_url": "ftp://x"}, "http:// or https://"),
        ({"model": "m", "headers": {"api-key": "sk-a1B2c3D4e5F6g7H8"}}, "looks like a secret"),
        ({"model": ""}, "at least 1 character"),
        ({"model": "m", "temperature": 2}, "Extra inputs"),
    ],
)
def test_settings_of_a_server_are_checked_as_a_teachers(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        ServerSignal(**settings)


def test_the_fake_server_tells_what_vllm_would() -> None:
    told = prompt_logprobs({"prompt": [4, 5, 6], "prompt_logprobs": 3})
    assert told is not None
    assert told[0] is None
    assert list(told[2]) == ["6", "7", "8"]
    assert prompt_logprobs({"prompt": "text", "prompt_logprobs": 3}) is None
    assert prompt_logprobs({"prompt": [4, 5]}) is None


# -- an engine ----------------------------------------------------------------------------------------------------


def test_an_engine_is_read_like_a_server() -> None:
    """`VllmTeacher.prompt_logprobs` with an engine that says it in vLLM's records."""
    pytest.importorskip("vllm")

    class Logprob:
        def __init__(self, logprob: float, rank: int) -> None:
            self.logprob, self.rank = logprob, rank

    class Engine:
        asked: ClassVar[list[Any]] = []

        async def generate(self, given: Any, params: Any, number: str, lora_request: Any) -> Any:
            self.asked.append((given["prompt_token_ids"], params.prompt_logprobs, params.temperature))

            class Output:
                prompt_logprobs: ClassVar[list[Any]] = [
                    None,
                    *({t: Logprob(-0.7, 1), t + 1: Logprob(-1.0, 2)} for t in (5, 9, 2)),
                ]

            yield Output

    class Loaded:
        engine, dtype, adapter = Engine(), "float32", None

    teacher = VllmTeacher("embedded:smollm2-135m-instruct")

    async def load() -> Any:
        return Loaded

    teacher._load = load  # type: ignore[method-assign]
    source = PromptedSource(teacher.prompt_logprobs, teacher.close, 100, "the engine", 2)
    found = score(source, [ROW], Rule(2, 2, None))[0]
    assert found.ids.tolist() == [9, 10, 2, 3]
    assert Engine.asked == [([1, 5, 9, 2], 2, 1.0)]


@pytest.mark.slow
@pytest.mark.vllm
@pytest.mark.filterwarnings("ignore")  # what vLLM leaves behind is not ours to fix
def test_vllm_tells_what_transformers_computes() -> None:
    """Within what the engine's arithmetic leaves, on a sentence of SmolLM2."""
    pytest.importorskip("vllm")
    import torch

    from stillroom.common.models.resolve import load_model, load_tokenizer
    from stillroom.students.whitebox.cache.engine import EngineSignal
    from stillroom.students.whitebox.cache.local import keep

    name = "embedded:smollm2-135m-instruct"
    ids = load_tokenizer(name)("The capital of France is Paris, and that of Italy is Rome.")["input_ids"]
    row = EncodedRow("row", ids, [IGNORED] * 4 + ids[4:])
    signal = EngineSignal(model=name, dtype="float32", engine={"max_model_len": 256})
    found = score(signal.make(Path(), 49152), [row], Rule(16, 16, None))[0]
    with torch.no_grad():
        logits = load_model(name, "float32", "cpu")(torch.tensor([ids])).logits[0, 3:-1]
    exact = keep(logits, Rule(16, 16, None), (1.0,))
    assert found.ids.reshape(-1, 16)[:, 0].tolist() == exact.ids.reshape(-1, 16)[:, 0].tolist()
    assert found.log_p == pytest.approx(exact.log_p, abs=0.02)
    assert np.exp(found.log_tail) == pytest.approx(np.exp(exact.log_tail), abs=0.005)


# -- a file -------------------------------------------------------------------------------------------------------


def recorded(**changes: Any) -> dict[str, Any]:
    line = {
        "prompt_ids": [1, 5],
        "answer_ids": [9, 2],
        "ids": [[3, 9], [2, 4, 7]],
        "log_probs": [[-1.5, -0.5], [-0.1, -3.0, -4.0]],
    }
    return {**line, **changes}


@pytest.mark.parametrize("kind", ["jsonl", "parquet"])
def test_a_file_of_others_is_read(kind: str, tmp_path: Path) -> None:
    file = tmp_path / f"signal.{kind}"
    if kind == "jsonl":
        file.write_text(f"\n{json.dumps(recorded())}\n", encoding="utf-8")
    else:
        pq.write_table(pa.Table.from_pylist([recorded()]), file)
    signal = RecordedSignal(path=file.name)
    assert signal.identity(tmp_path).startswith("recorded:sha256:")
    found = score(signal.make(tmp_path, 100), [ROW], Rule(2, 2, None))[0]
    assert found.counts.tolist() == [2, 2]
    assert found.ids.tolist() == [9, 3, 2, 4]
    assert np.exp(found.log_tail[1, 0]) == pytest.approx(1 - math.exp(-0.1) - math.exp(-3.0))


def test_without_a_prompt_a_recorded_row_serves_every_prompt(tmp_path: Path) -> None:
    line = recorded()
    del line["prompt_ids"]
    (tmp_path / "s.jsonl").write_text(json.dumps(line), encoding="utf-8")
    assert score(RecordedSignal(path="s.jsonl").make(tmp_path, 100), [ROW])[0].counts.tolist() == [2, 3]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (recorded(prompt_ids=[1, 6]), "row 1: its answer stands behind another prompt"),
        (recorded(answer_ids=[9, 3]), "row 1: its answer stands not at all"),
        (recorded(answer_ids="9 2"), r"s\.jsonl:1: answer_ids"),
        (recorded(answer_ids=[9.5, 2]), r"s\.jsonl:1: answer_ids"),
        (recorded(prompt_ids=[-1]), r"s\.jsonl:1: answer_ids, and prompt_ids"),
        (recorded(ids=[[3, 9]]), r"s\.jsonl:1: ids and log_probs need a list for each of the 2 tokens"),
        (recorded(log_probs=None), r"s\.jsonl:1: ids and log_probs need a list"),
        (recorded(ids=[[3], [2, 4, 7]]), "position 0: ids and log_probs are not lists of the same length"),
        (recorded(ids=[[3, 100], [2, 4, 7]]), "'100' is not an id of a vocabulary of 100"),
        (recorded(ids=[[3, 3], [2, 4, 7]]), "named an id twice"),
        (recorded(log_probs=[[-1.5, "x"], [-0.1, -3.0, -4.0]]), "'x' is not a log-probability"),
        (recorded(log_probs=[[-0.1, -0.1], [-0.1, -3.0, -4.0]]), "the probabilities sum to 1.81"),
        (recorded(ids=[[], [2, 4, 7]], log_probs=[[], [-0.1, -3.0, -4.0]]), "it told nothing"),
        ("[1]", r"s\.jsonl:1: an object is expected"),
        ("{", r"s\.jsonl:1: not JSON"),
    ],
)
def test_a_line_that_cannot_be_used_is_named(line: Any, told: str, tmp_path: Path) -> None:
    text = line if isinstance(line, str) else json.dumps(line)
    (tmp_path / "s.jsonl").write_text(text + "\n", encoding="utf-8")
    with pytest.raises(StillroomError, match=told):
        score(RecordedSignal(path="s.jsonl").make(tmp_path, 100), [ROW])


def test_files_that_are_not_there_or_no_parquet_are_told(tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match=r"student\.signal\.path"):
        RecordedSignal(path="none.jsonl").identity(tmp_path)
    (tmp_path / "s.parquet").write_bytes(b"no")
    with pytest.raises(InputError, match="cannot be read as parquet"):
        score(RecordedSignal(path="s.parquet").make(tmp_path, 100), [ROW])


# -- in a recipe --------------------------------------------------------------------------------------------------


def test_a_student_learns_from_a_server_through_the_cache(row: Any, tiny: Path, tmp_path: Path) -> None:
    """At T = 1, without the teacher's weights; a second training asks nothing."""
    rows = [row(f"{a} + 1?", str(a), task_id=f"t{a}") for a in range(6)]
    server, told = FakeServer(), list[str]()
    tokenizer = tmp_path / "tokenizer"
    tokenizer.mkdir()
    for file in tiny.iterdir():
        if file.suffix != ".safetensors" and file.name != "config.json":
            (tokenizer / file.name).write_bytes(file.read_bytes())
    place = TrainingPlace(store=tmp_path / "signals", tell=told.append)

    async def serve() -> list[float]:
        await server.start()
        signal = {"kind": "openai", "model": "m", "base_url": server.url}
        settings = Distil(
            model=str(tiny), teacher=str(tokenizer), signal=signal, objectives=[{"kind": "soft"}], epochs=1
        )
        losses: list[float] = []
        for name in ("one", "two"):
            trained = await asyncio.to_thread(settings.train, rows, tmp_path / name, seed=1, place=place)
            losses += trained.losses
        await server.close()
        return losses

    losses = asyncio.run(serve())
    assert len(losses) == 2
    assert teacher_side(str(tokenizer), Privileged()).vocabulary.logits is None
    assert losses[0] == losses[1]
    assert server.asked == 6
    assert "only the teacher's weights can tell" in told[1]
    record = json.loads((tmp_path / "two" / "training.json").read_text(encoding="utf-8"))
    assert record["teacher"] == "openai:m"
    assert record["cache"]["fidelity"] is None


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        (
            {"signal": {"kind": "openai", "model": "m"}, "objectives": [{"kind": "soft", "temperature": 2}]},
            "at 1 alone",
        ),
        ({"signal": {"kind": "openai", "model": "m"}, "objectives": [{"kind": "jsd"}]}, "whole distribution"),
        ({"signal": {"kind": "telepathy"}, "objectives": [{"kind": "soft"}]}, "telepathy"),
        ({"signal": {"kind": "openai", "model": "m"}, "teacher": None}, "name a folder with its tokenizer"),
    ],
)
def test_what_a_server_cannot_tell_is_refused(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        Distil(**{"model": "a/b", "teacher": "c/d", **settings})


def test_every_kind_of_signal_is_registered() -> None:
    assert sorted(signals) == ["openai", "recorded", "vllm"]
