"""The transformers teacher: batching, sharing and cancelling change what it costs, never what it answers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stillroom.common.models import resolve as models
from stillroom.common.models.quiet import quiet_transformers
from stillroom.common.records import Completion, Message, Request, SamplingParams, Usage, user
from stillroom.errors import InputError, RequestFailed, RunError
from stillroom.sampling.teachers.base import CountsTokens
from stillroom.sampling.teachers.chat import encode_chat
from stillroom.sampling.teachers.transformers import engine as engines
from stillroom.sampling.teachers.transformers.batch import Job, overlap
from stillroom.sampling.teachers.transformers.teacher import TransformersTeacher

pytest.importorskip("torch")
pytest.importorskip("transformers")

TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
WORDS = [*SPECIAL, "\n", *map(chr, range(32, 127))]
CONTEXT = 512
GREEDY = SamplingParams(temperature=0, max_tokens=12)
SHAPE = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": CONTEXT,
    "initializer_range": 0.4,  # large, so that greedy answers differ between prompts
    "pad_token_id": 0,
    "bos_token_id": 1,
    "tie_word_embeddings": False,
    "eos_token_id": 2,
}


def make_tokenizer() -> Any:
    """One token per printable character, so that texts and token ids say the same, and three special ones."""
    from tokenizers import Regex, Tokenizer, decoders, pre_tokenizers
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast

    inner = Tokenizer(WordLevel({word: number for number, word in enumerate(WORDS)}, unk_token=SPECIAL[0]))
    inner.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    inner.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=inner, pad_token=SPECIAL[0], bos_token=SPECIAL[1], eos_token=SPECIAL[2]
    )
    tokenizer.chat_template = TEMPLATE
    return tokenizer


def make_model(kind: str, **changes: Any) -> Any:
    import torch
    import transformers

    kinds: dict[str, tuple[Any, Any, dict[str, Any]]] = {
        "llama": (transformers.LlamaConfig, transformers.LlamaForCausalLM, {}),
        "sliding": (transformers.MistralConfig, transformers.MistralForCausalLM, {"sliding_window": 9}),
        "capped": (
            transformers.Gemma2Config,
            transformers.Gemma2ForCausalLM,
            {"sliding_window": 9, "attn_logit_softcapping": 2.0, "query_pre_attn_scalar": 8},
        ),
        "qwen": (transformers.Qwen3Config, transformers.Qwen3ForCausalLM, {}),
    }
    config, model, extra = kinds[kind]
    torch.manual_seed(0)
    made = model(config(vocab_size=len(WORDS), **SHAPE, **extra, **changes)).eval()
    made.generation_config.eos_token_id = 2
    return made


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A tiny random model of each kind, saved."""
    made = {}
    with quiet_transformers():
        for kind in ("llama", "sliding", "capped", "qwen"):
            made[kind] = tmp_path_factory.mktemp(kind)
            make_model(kind).save_pretrained(made[kind])
            make_tokenizer().save_pretrained(made[kind])
    return made


@pytest.fixture
def folder(folders: dict[str, Path]) -> Path:
    return folders["llama"]


@pytest.fixture
async def teacher(folder: Path) -> AsyncIterator[TransformersTeacher]:
    made = TransformersTeacher(str(folder), concurrency=8, dtype="float32", device="cpu")
    yield made
    await made.close()


def request(text: str, sampling: SamplingParams = GREEDY, seed: int = 0) -> Request:
    return Request("t", 0, user(text), sampling, seed)


async def answers(teacher: TransformersTeacher, requests: list[Request]) -> list[Completion]:
    return list(await asyncio.gather(*(teacher.sample(each, Usage()) for each in requests)))


def generated(folder: Path, text: str, tokens: int = 12) -> str:
    """What transformers' own greedy generation answers, one prompt at a time."""
    model, tokenizer = models.load_model(str(folder), "float32", "cpu"), models.load_tokenizer(str(folder))
    import torch

    model.set_attn_implementation("eager")  # the only one of theirs that caps scores
    ids = torch.tensor([encode_chat(tokenizer, user(text))])
    out = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=tokens)
    return str(tokenizer.decode(out[0, ids.shape[1] :], skip_special_tokens=True))


def make_engine(folder: Path, slots: int = 4, *, share: bool = True) -> engines.Engine:
    model, tokenizer = models.load_model(str(folder), "float32", "cpu"), models.load_tokenizer(str(folder))
    return engines.Engine(model, tokenizer, slots, share=share)


def add(engine: engines.Engine, each: Request) -> Job:
    job = Job(each, Usage(), Future())
    engine.add(job)
    return job


def run(engine: engines.Engine) -> int:
    """Steps until nothing is left to do; the number of tokens that the model has read."""
    read = 0
    inner = engine.model.forward

    def counted(*args: Any, **kwargs: Any) -> Any:
        nonlocal read
        read += kwargs["input_ids"].shape[1]
        return inner(*args, **kwargs)

    engine.model.forward = counted
    while not engine.idle:
        engine.step()
    engine.model.forward = inner
    return read


@pytest.mark.parametrize("kind", ["llama", "sliding", "capped", "qwen"])
async def test_batched_answers_are_those_of_generate(folders: dict[str, Path], kind: str) -> None:
    texts = [f"{'please ' * (number % 3)}add {number} and {number * 7}" for number in range(9)]
    teacher = TransformersTeacher(str(folders[kind]), concurrency=4, dtype="float32", device="cpu")
    together = await answers(teacher, [request(text) for text in texts])
    alone = [await teacher.sample(request(text), Usage()) for text in texts]
    await teacher.close()
    assert together == alone
    assert [each.text for each in together] == [generated(folders[kind], text) for text in texts]
    assert len({each.text for each in together}) > 3  # or the comparison shows nothing


@pytest.mark.parametrize("kind", ["llama", "sliding", "capped", "qwen"])
def test_sharing_reads_less_and_changes_nothing(folders: dict[str, Path], kind: str) -> None:
    examples = "worked example " * 12
    texts = [f"{examples}{number}?" for number in (1, 1, 2, 3, 3, 44, 5, 6)] + ["something else"]
    read, found = [], []
    for share in (True, False):
        engine = make_engine(folders[kind], share=share)
        jobs = [add(engine, request(text)) for text in texts]
        read.append(run(engine))
        found.append([job.future.result().text for job in jobs])
        assert (engine.rows.trunk is not None) == share
    assert found[0] == found[1] == [generated(folders[kind], text) for text in texts]
    assert read[0] < read[1] / 2


def test_a_new_trunk_replaces_the_old_while_rows_use_it(folder: Path) -> None:
    first, second = "the first instructions " * 5, "quite another beginning " * 15
    engine = make_engine(folder, slots=6)
    texts = [f"{first}{number}" for number in range(6)] + [f"{second}{number}" for number in range(24)]
    longer = SamplingParams(temperature=0, max_tokens=40)
    jobs = [add(engine, request(text, longer if number < 3 else GREEDY)) for number, text in enumerate(texts)]
    trunks = set()
    while not engine.idle:
        engine.step()
        trunks.add(None if engine.rows.trunk is None else len(engine.rows.trunk))
    assert len(trunks - {None}) > 1
    got = [job.future.result().text for job in jobs]
    assert got == [generated(folder, text, 40 if number < 3 else 12) for number, text in enumerate(texts)]


def test_a_long_prompt_is_read_in_pieces(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(engines.READ_AT_ONCE, "cpu", 7)
    engine = make_engine(folder)
    texts = ["a long prompt indeed " * 6, "short"]
    jobs = [add(engine, request(text)) for text in texts]
    run(engine)
    assert [job.future.result().text for job in jobs] == [generated(folder, text) for text in texts]


def test_a_late_request_joins_the_batch(folder: Path) -> None:
    engine = make_engine(folder)
    early = add(engine, request("early", SamplingParams(temperature=0, max_tokens=60)))
    for _ in range(5):
        engine.step()
    late = add(engine, request("late", SamplingParams(temperature=0, max_tokens=3)))
    while not late.future.done():
        engine.step()
    assert not early.future.done()
    run(engine)
    assert early.future.result().text == generated(folder, "early", 60)


def test_a_finished_row_frees_its_slot_at_once(folder: Path) -> None:
    engine = make_engine(folder, slots=2)
    add(engine, request("long", SamplingParams(temperature=0, max_tokens=50)))
    jobs = [
        add(engine, request(f"short {number}", SamplingParams(temperature=0, max_tokens=2))) for number in range(5)
    ]
    steps = 0
    while not all(job.future.done() for job in jobs):
        engine.step()
        steps += 1
    assert steps <= 16  # five short answers pass through the second slot beside the long one


async def test_cancelling_frees_the_slot_and_says_what_it_cost(folder: Path) -> None:
    teacher = TransformersTeacher(str(folder), concurrency=1, dtype="float32", device="cpu")
    usage = Usage()
    endless = SamplingParams(temperature=0, max_tokens=400)
    first = asyncio.create_task(teacher.sample(request("endless", endless), usage))
    second = asyncio.create_task(teacher.sample(request("next"), Usage()))
    while not usage.completion_tokens:  # noqa: ASYNC110  nothing tells of a first token
        await asyncio.sleep(0)
    first.cancel()
    assert (await second).completion_tokens == 12
    assert first.cancelled()
    assert usage.prompt_tokens
    assert 0 < (usage.completion_tokens or 0) < 400
    await teacher.close()


async def test_a_draw_depends_on_its_seed_and_not_on_its_neighbours(teacher: TransformersTeacher) -> None:
    params = SamplingParams(temperature=0.9, top_p=0.95, max_tokens=16)
    alone = await teacher.sample(request("say something", params, seed=5), Usage())
    crowd = [request("say something", params, seed=seed) for seed in range(8)]
    crowd += [request("other", SamplingParams(temperature=1.3, max_tokens=9), seed=3)]
    texts = [each.text for each in await answers(teacher, crowd)]
    assert texts[5] == alone.text
    assert len(set(texts)) > 6


async def test_length_and_counts(teacher: TransformersTeacher) -> None:
    usage = Usage()
    done = await teacher.sample(request("count"), usage)
    assert (done.finish_reason, done.completion_tokens) == ("length", 12)
    assert done.prompt_tokens == len("<>user\ncount<>\n<>assistant\n") - 3  # three special tokens of one id each
    assert (usage.prompt_tokens, usage.completion_tokens) == (done.prompt_tokens, 12)


def test_every_end_token_ends_an_answer_and_is_counted(folder: Path) -> None:
    engine = make_engine(folder)
    whole = add(engine, request("tell me"))
    run(engine)
    text = whole.future.result().text
    third = engine.tokenizer(text, add_special_tokens=False)["input_ids"][2]
    engine.ends = engine.ends | {third}
    cut = add(engine, request("tell me"))
    run(engine)
    done = cut.future.result()
    assert (done.finish_reason, done.completion_tokens, done.text) == ("stop", 3, text[:2])


async def test_a_stop_string_is_cut_off(teacher: TransformersTeacher) -> None:
    text = (await teacher.sample(request("stop here"), Usage())).text
    stop = text[4:6]
    done = await teacher.sample(request("stop here", GREEDY.model_copy(update={"stop": ("zzz", stop)})), Usage())
    assert done.finish_reason == "stop"
    assert done.text == text[: text.index(stop)]
    assert done.completion_tokens <= 6


async def test_logprobs_are_the_models_own(teacher: TransformersTeacher, folder: Path) -> None:
    import torch

    params = SamplingParams(temperature=0.5, max_tokens=6, logprobs=True)
    done = await teacher.sample(request("how sure", params, seed=1), Usage())
    model, tokenizer = models.load_model(str(folder), "float32", "cpu"), models.load_tokenizer(str(folder))
    prompt = encode_chat(tokenizer, user("how sure"))
    answer = tokenizer(done.text, add_special_tokens=False)["input_ids"]
    assert done.logprobs is not None
    assert len(answer) == len(done.logprobs) == 6
    logits = model(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1]
    expected = logits.log_softmax(-1).gather(1, torch.tensor(answer)[:, None])[:, 0]
    assert np.allclose(done.logprobs, expected.tolist(), atol=1e-3)


def plain_logprobs(model: Any, prompt: list[int], answer: list[int]) -> Any:
    """(answer tokens, V): what a forward pass over the whole says of each token of the answer."""
    import torch

    with torch.inference_mode():
        return model(torch.tensor([prompt + answer])).logits[0, len(prompt) - 1 : -1].float().log_softmax(-1)


@pytest.mark.parametrize("kind", ["llama", "qwen"])
async def test_the_most_likely_tokens_are_the_models_own(folders: dict[str, Path], kind: str) -> None:
    teacher = TransformersTeacher(str(folders[kind]), concurrency=4, dtype="float32", device="cpu")
    params = [SamplingParams(temperature=0.7, max_tokens=6, top_logprobs=count) for count in (3, 20, 0)]
    asked = [request(f"how sure, {number}", each, seed=number) for number, each in enumerate(params)]
    three, twenty, none = await answers(teacher, asked)
    await teacher.close()
    assert (none.choices, none.logprobs) == (None, None)
    folder = str(folders[kind])
    model, tokenizer = models.load_model(folder, "float32", "cpu"), models.load_tokenizer(folder)
    for number, (done, count) in enumerate([(three, 3), (twenty, 20)]):
        assert done.choices is not None
        ids = tokenizer.convert_tokens_to_ids([choice.token for choice in done.choices])
        rows = plain_logprobs(model, encode_chat(tokenizer, user(f"how sure, {number}")), ids)
        best = rows.topk(count)
        for at, choice in enumerate(done.choices):
            assert [token for token, _ in choice.top] == tokenizer.convert_ids_to_tokens(best.indices[at].tolist())
            assert np.allclose([p for _, p in choice.top], best.values[at], atol=1e-3)
            assert choice.logprob == pytest.approx(float(rows[at, ids[at]]), abs=1e-3)
        assert done.logprobs == tuple(choice.logprob for choice in done.choices)


async def test_the_end_of_an_answer_is_one_of_its_choices(folder: Path) -> None:
    engine = make_engine(folder)
    job = add(engine, request("tell me", GREEDY.model_copy(update={"top_logprobs": 1})))
    run(engine)
    tokens = [choice.token for choice in job.future.result().choices or ()]
    engine.ends = engine.ends | {WORDS.index(tokens[2])}
    cut = add(engine, request("tell me", GREEDY.model_copy(update={"top_logprobs": 1})))
    run(engine)
    done = cut.future.result()
    assert [choice.token for choice in done.choices or ()] == tokens[:3]
    assert done.text == "".join(tokens[:2])


async def test_a_schema_is_refused_before_anything_is_loaded(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "load_model", None)
    teacher = TransformersTeacher(str(folder))
    with pytest.raises(RequestFailed, match=r"transformers cannot .*json_schema.* kind: vllm") as caught:
        await teacher.sample(request("x", SamplingParams(json_schema="{}")), Usage())
    assert not caught.value.retryable


def test_a_prompt_is_counted_without_the_weights(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "load_model", None)
    teacher = TransformersTeacher(str(folder))
    assert isinstance(teacher, CountsTokens)
    assert teacher.context == CONTEXT
    assert teacher.count_tokens(user("count")) == len(encode_chat(make_tokenizer(), user("count")))


async def test_a_prompt_that_does_not_fit_fails_alone(teacher: TransformersTeacher) -> None:
    long = teacher.sample(request("x" * CONTEXT), Usage())
    good = teacher.sample(request("fits"), Usage())
    failed, done = await asyncio.gather(long, good, return_exceptions=True)
    assert isinstance(failed, RequestFailed)
    assert not failed.retryable
    assert str(CONTEXT) in str(failed)
    assert isinstance(done, Completion)


async def test_an_answer_ends_where_the_context_does(teacher: TransformersTeacher) -> None:
    done = await teacher.sample(request("x" * 470, SamplingParams(temperature=0, max_tokens=100)), Usage())
    assert done.finish_reason == "length"
    assert done.prompt_tokens + done.completion_tokens == CONTEXT


async def test_an_error_in_the_thread_reaches_every_asker(
    teacher: TransformersTeacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(self: Any, *args: Any) -> None:
        raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")

    with monkeypatch.context() as patch:
        patch.setattr(engines.Engine, "_forward", broken)
        asked = [teacher.sample(request(str(number)), Usage()) for number in range(12)]
        found = await asyncio.gather(*asked, return_exceptions=True)
    assert all(isinstance(error, RunError) and "concurrency" in str(error) for error in found)
    assert (await teacher.sample(request("again"), Usage())).completion_tokens == 12


async def test_an_error_while_handing_over_reaches_every_asker(
    teacher: TransformersTeacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = engines.Engine._completion

    def broken(self: Any, row: Any, reason: Any) -> Completion:
        if row.job.request.messages[0].content == "bad":
            raise KeyError("a token that nobody knows")
        return inner(self, row, reason)

    monkeypatch.setattr(engines.Engine, "_completion", broken)
    asked = [teacher.sample(request(text), Usage()) for text in ("fine", "bad", "sad")]
    fine, bad, sad = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(fine, Completion | RunError)
    assert isinstance(bad, RunError)
    assert isinstance(sad, RunError)


async def test_a_template_that_breaks_fails_one_request(
    teacher: TransformersTeacher, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(tokenizer: Any, messages: Any) -> list[int]:
        if messages[0].content == "bad":
            raise RecursionError("a bug")
        return [1, 5, 6]

    monkeypatch.setattr(engines, "encode_chat", broken)
    bad, fine = await asyncio.gather(
        teacher.sample(request("bad"), Usage()), teacher.sample(request("fine"), Usage()), return_exceptions=True
    )
    assert isinstance(bad, RunError)
    assert isinstance(fine, Completion)


async def test_a_model_that_cannot_be_loaded_fails_the_request(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    teacher = TransformersTeacher(str(tmp_path), device="cpu")
    with pytest.raises(InputError, match="cannot be loaded"):
        await teacher.sample(request("hello"), Usage())
    await teacher.close()


async def test_closing_fails_what_waits_and_ends_the_thread(folder: Path) -> None:
    import threading

    teacher = TransformersTeacher(str(folder), concurrency=1, dtype="float32", device="cpu")
    usage = Usage()
    asked = asyncio.create_task(teacher.sample(request("x", SamplingParams(temperature=0, max_tokens=400)), usage))
    while not usage.completion_tokens:  # noqa: ASYNC110  nothing tells of a first token
        await asyncio.sleep(0)
    await teacher.close()
    with pytest.raises(RunError, match="closed"):
        await asked
    with pytest.raises(RunError, match="closed"):
        await teacher.sample(request("y"), Usage())
    await teacher.close()
    assert "stillroom-teacher" not in {thread.name for thread in threading.enumerate()}


def test_identity_is_of_the_weights_and_loads_nothing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("the model was loaded")

    monkeypatch.setattr(models, "load_model", refuse)
    one, other = TransformersTeacher(str(folder)), TransformersTeacher(str(folder), concurrency=3)
    assert one.identity == other.identity == f"transformers:{models.fingerprint(str(folder))}"


def test_concurrency_must_be_positive() -> None:
    with pytest.raises(InputError, match="at least 1"):
        TransformersTeacher("embedded:smollm2-135m-instruct", concurrency=0)


@given(st.lists(st.integers(0, 2)), st.lists(st.integers(0, 2)))
def test_overlap_is_the_common_beginning(one: list[int], other: list[int]) -> None:
    count = overlap(np.array(one, dtype=np.int32), np.array(other, dtype=np.int32))
    assert one[:count] == other[:count]
    assert count == min(len(one), len(other)) or one[count] != other[count]


@pytest.mark.slow
async def test_smollm2_knows_a_capital() -> None:
    pytest.importorskip("gguf")
    teacher = TransformersTeacher("embedded:smollm2-135m-instruct", concurrency=8)
    messages = (Message("user", "What is the capital of France? Answer in one short sentence."),)
    greedy = Request("t", 0, messages, SamplingParams(temperature=0, max_tokens=32), 0)
    sampled = [Request("t", k, messages, SamplingParams(temperature=0.8, max_tokens=32), k) for k in range(7)]
    first, *others = await answers(teacher, [greedy, *sampled])
    await teacher.close()
    assert "Paris" in first.text
    assert first.finish_reason == "stop"
    assert sum("Paris" in each.text for each in others) >= 4
    assert len({each.text for each in others}) > 1


@pytest.mark.slow
async def test_smollm2_says_how_sure_it_was() -> None:
    pytest.importorskip("gguf")
    name = "embedded:smollm2-135m-instruct"
    teacher = TransformersTeacher(name, concurrency=4, dtype="float32", device="cpu")
    asked = user("What is the capital of France? Answer in one short sentence.")
    params = SamplingParams(temperature=0, max_tokens=32, top_logprobs=5)
    others = [Request("t", k, user(f"Count to {k}."), SamplingParams(max_tokens=16), k) for k in range(3)]
    done, *_ = await answers(teacher, [Request("t", 0, asked, params, 0), *others])
    await teacher.close()
    assert done.choices is not None
    assert len(done.choices) == done.completion_tokens
    assert "".join(choice.token for choice in done.choices) == f"{done.text}<|im_end|>"
    model, tokenizer = models.load_model(name, "float32", "cpu"), models.load_tokenizer(name)
    ids = tokenizer(f"{done.text}<|im_end|>", add_special_tokens=False)["input_ids"]
    rows = plain_logprobs(model, encode_chat(tokenizer, asked), ids)
    for at, choice in enumerate(done.choices):
        assert choice.top[0] == (choice.token, choice.logprob)  # greedy: the likeliest was chosen
        assert [token for token, _ in choice.top] == [
            tokenizer.decode([i]) for i in rows[at].topk(5).indices.tolist()
        ]
        assert np.allclose([p for _, p in choice.top], rows[at].topk(5).values, atol=1e-3)
    assert teacher.context == 8192
    assert teacher.count_tokens(asked) == done.prompt_tokens
