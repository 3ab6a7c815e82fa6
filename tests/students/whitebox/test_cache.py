"""The cache: what is kept of a distribution, on disk whatever happens, and never asked for twice."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import AsyncGenerator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from stillroom.common.models.resolve import load_model, load_tokenizer
from stillroom.errors import RecipeError, TrainingError
from stillroom.students.data.encode import IGNORED, EncodedRow, encode_rows
from stillroom.students.data.rows import read_rows
from stillroom.students.whitebox import divergence
from stillroom.students.whitebox.cache.blocks import Damaged, read_block, write_block
from stillroom.students.whitebox.cache.capture import capture, keys_of
from stillroom.students.whitebox.cache.fidelity import chosen, measure
from stillroom.students.whitebox.cache.local import LocalSource, keep
from stillroom.students.whitebox.cache.record import Entry, Packed, pack, unpack
from stillroom.students.whitebox.cache.rules import CacheSettings, Rule, Signature, declared
from stillroom.students.whitebox.cache.signal import CachedSignal, Likeliest, likeliest
from stillroom.students.whitebox.cache.sources import Scored
from stillroom.students.whitebox.cache.store import INDEX, Found, Store
from stillroom.students.whitebox.head import Head
from tests.conftest import tiny as tiny_models

VOCABULARY = 259
FIXED = Rule(16, 16, None)
SIGNATURE = Signature("sha256:1", "tokens", "float32", FIXED, 8)
TS = (1.0, 2.0)


def random_logits(n: int, vocabulary: int = VOCABULARY, *, scale: float = 3.0, seed: int = 0) -> Any:
    return torch.randn(n, vocabulary, generator=torch.Generator().manual_seed(seed)) * scale


def kept_of(logits: Any, rule: Rule = FIXED, temperatures: tuple[float, ...] = TS, bits: int = 8) -> Likeliest:
    """Through the codec."""
    found = Found(pack(keep(logits, rule, temperatures), bits), temperatures)
    return likeliest([found], temperatures)


def row(ids: Sequence[int], start: int, name: str = "row") -> EncodedRow:
    return EncodedRow(name, list(ids), [IGNORED] * start + list(ids[start:]))


def some_rows(n: int) -> list[EncodedRow]:
    return [row([i % 200, 7, *range(3, 3 + 2 + i % 4)], 2, f"row {i}") for i in range(n)]


class Counting:
    """A source that makes entries up, and counts what it is asked for."""

    def __init__(self, fails_after: int | None = None) -> None:
        self.asked: list[list[int]] = []
        self.closed = 0
        self._fails_after = fails_after

    async def score(
        self, rows: Sequence[EncodedRow], rule: Rule, temperatures: tuple[float, ...]
    ) -> AsyncGenerator[Scored]:
        for number, one in reversed(list(enumerate(rows))):
            if self._fails_after is not None and len(self.asked) >= self._fails_after:
                raise TrainingError("the teacher is gone")
            self.asked.append(one.input_ids)
            yield Scored(number, entry_of(one, rule, temperatures))

    async def close(self) -> None:
        self.closed += 1


def entry_of(one: EncodedRow, rule: Rule = FIXED, temperatures: tuple[float, ...] = TS) -> Entry:
    positions = sum(label != IGNORED for label in one.labels)
    return keep(random_logits(positions, seed=sum(one.input_ids)), rule, temperatures)


def fill(folder: Path, rows: Sequence[EncodedRow], source: Counting, **how: Any) -> Any:
    told: list[str] = []
    store = Store.open(folder, told.append)
    signature, temperatures = how.get("signature", SIGNATURE), how.get("temperatures", TS)
    return asyncio.run(capture(store, lambda: source, rows, signature, temperatures)), told, store


# -- what is kept -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rule", [FIXED, Rule(32, 2, 0.95), Rule(1, 1, None)], ids=["16", "mass", "1"])
@pytest.mark.parametrize("temperature", [1.0, 1.5, 2.0])
@pytest.mark.parametrize("bits", [8, 16])
def test_at_every_declared_temperature_it_is_a_distribution_near_the_teachers(
    rule: Rule, temperature: float, bits: int
) -> None:
    logits = random_logits(50)
    kept = kept_of(logits, rule, (1.0, 1.5, 2.0), bits)
    ids, log_p, log_tail = kept.top(temperature)
    exact = torch.log_softmax(logits / temperature, -1)
    total = log_p.exp().sum(-1) + log_tail.exp()
    assert total == pytest.approx(torch.ones(50), abs=1e-5)
    real = log_p > -math.inf
    off = (log_p - exact.gather(-1, ids))[real].abs()
    assert off.max() < (0.09 if bits == 8 else 0.001)
    held = torch.where(real, exact.gather(-1, ids).exp(), 0.0).sum(-1)
    assert log_tail.exp() == pytest.approx(1 - held, abs=1e-4)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("student", [1.0, 3.0, 9.0])
def test_kl_is_below_the_full_one_rises_with_k_and_meets_it_with_all_tokens(
    temperature: float, student: float
) -> None:
    teacher, own = random_logits(40, 64), random_logits(40, 64, scale=student, seed=1)
    full = float(divergence.forward_kl(own.double(), teacher.double(), temperature))
    found = []
    for k in (1, 4, 16, 63, 64):
        kept = kept_of(teacher, Rule(k, k, None), bits=16)
        found.append(float(divergence.top_k_kl(own.double(), *kept.top(temperature), temperature=temperature)))
    assert all(value >= 0 for value in found)
    assert all(a <= b + 1e-3 * full for a, b in pairwise(found))
    assert all(value <= full * (1 + 1e-3) for value in found)
    assert found[-1] == pytest.approx(full, rel=1e-3)


def test_with_all_tokens_loss_and_gradient_are_the_dense_ones() -> None:
    """Same tokens, k = V: what is left is the rounding of 16 bits."""
    teacher, own = random_logits(30, 64), random_logits(30, 64, seed=1).requires_grad_(True)
    kept = kept_of(teacher, Rule(64, 64, None), bits=16)
    dense, cached = (
        torch.autograd.grad(loss, own)[0]
        for loss in (
            divergence.forward_kl(own, teacher, 2.0),
            divergence.top_k_kl(own, *kept.top(2.0), temperature=2.0),
        )
    )
    assert (dense - cached).norm() < 1e-3 * dense.norm()


def test_a_student_that_is_the_teacher_has_no_loss_but_for_the_rounding() -> None:
    teacher = random_logits(40)
    for bits, most in ((8, 2e-3), (16, 1e-6)):
        loss = divergence.top_k_kl(teacher.double(), *kept_of(teacher, bits=bits).top(1.0))
        assert -1e-6 <= float(loss) / 40 < most


def test_fewer_tokens_than_were_kept_go_to_the_tail() -> None:
    kept = kept_of(random_logits(20), bits=16)
    direct = divergence.top_k(random_logits(20), 5, 2.0)
    ids, log_p, log_tail = kept.top(2.0, 5)
    assert torch.equal(ids, direct.ids)
    assert log_p == pytest.approx(direct.log_p, abs=1e-3)
    assert log_tail == pytest.approx(direct.log_tail, abs=1e-3)


def test_a_share_keeps_as_many_as_reach_it_and_always_leaves_a_tail() -> None:
    sharp, flat = torch.zeros(1, 20), torch.zeros(1, 20)
    sharp[0, 3] = 20.0
    entry = keep(torch.cat([sharp, flat]), Rule(32, 2, 0.95), TS)
    assert entry.counts.tolist() == [
        2,
        19,
    ]  # 2 at least; and with 20 tokens never all, since a tail of none has no log
    assert (entry.log_tail > -np.inf).all()
    loss = divergence.top_k_kl(
        torch.randn(2, 20, requires_grad=True), *kept_of(torch.cat([sharp, flat]), Rule(32, 2, 0.95)).top(1.0)
    )
    loss.backward()
    assert torch.isfinite(loss)


@pytest.mark.parametrize("log_p", [0.0, -1e-9, -24.9, -80.0, -math.inf])
def test_the_codec_bears_any_probability(log_p: float) -> None:
    entry = Entry(np.array([1]), np.array([5]), np.array([log_p]), np.array([[-math.inf, -1e-12]]))
    again = unpack(pack(entry, 8))
    assert again.log_p[0] == pytest.approx(max(log_p, -25.0), abs=0.1)
    assert again.log_tail[0, 0] == -math.inf
    assert again.log_tail[0, 1] == pytest.approx(0, abs=1e-6)
    top = likeliest([Found(pack(entry, 8), TS)], TS).top(2.0)
    assert torch.isfinite(top.log_p).all()


def test_a_temperature_that_was_not_declared_is_refused_with_those_that_were() -> None:
    with pytest.raises(RecipeError, match=r"holds temperatures 1, 2, not 1\.5: .*`student\.cache\.temperatures`"):
        kept_of(random_logits(3)).top(1.5)


@pytest.mark.parametrize(
    ("asked", "given", "can", "found"),
    [
        ([1.0], None, None, (1.0, 2.0)),
        ([2.0], None, None, (1.0, 2.0)),
        ([1.5], None, None, (1.0, 1.5, 2.0)),
        ([1.0], (1.0,), None, (1.0,)),
        ([2.0], (2.0,), None, (1.0, 2.0)),
        ([1.0], None, (1.0,), (1.0,)),
        ([3.0], None, None, "up to 2, not 3: .*`student.cache: false`"),
        ([1.5], (1.0, 2.0), None, r"temperature 1\.5, which is not among `student.cache.temperatures` \(1, 2\)"),
        ([2.0], None, (1.0,), r"temperature 2 is asked for, and this teacher .* at 1 alone"),
        ([1.0], (1.0, 2.0), (1.0,), r"temperature 2 is asked for"),
    ],
)
def test_temperatures_are_those_asked_for_and_the_usual_ones(
    asked: list[float], given: Any, can: Any, found: tuple[float, ...] | str
) -> None:
    if isinstance(found, str):
        with pytest.raises(RecipeError, match=found):
            declared(asked, given, can)
    else:
        assert declared(asked, given, can) == found


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"k": 16, "mass": 0.9}, "a fixed number of tokens, or a share"),
        ({"k": 0}, "greater than or equal to 1"),
        ({"mass": 1.0}, "less than 1"),
        ({"k": 8, "most": 64}, "set mass as well"),
        ({"mass": 0.9, "least": 8, "most": 4}, "no number of tokens is in between"),
        ({"bits": 4}, "8 or 16"),
        ({"temperatures": [1, 4]}, "up to 2, not 4"),
        ({"temperatures": [0]}, "greater than 0"),
    ],
)
def test_rules_that_do_not_fit_are_refused(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        CacheSettings(**settings)


# -- keys ---------------------------------------------------------------------------------------------------------


def test_the_key_is_of_all_that_decides_what_is_kept_and_of_nothing_else() -> None:
    keys = {
        SIGNATURE.key([1, 2, 3], 1),
        SIGNATURE.key([1, 2, 3], 2),
        SIGNATURE.key([1, 2, 4], 1),
        *(
            other.key([1, 2, 3], 1)
            for other in (
                SIGNATURE._replace(teacher="x"),
                SIGNATURE._replace(tokenizer="x"),
                SIGNATURE._replace(dtype="x"),
                SIGNATURE._replace(rule=Rule(8, 8, None)),
                SIGNATURE._replace(bits=16),
            )
        ),
    }
    assert len(keys) == 8
    assert keys_of([row([1, 2, 3], 1, "a"), row([1, 2, 3], 1, "b")], SIGNATURE) == [SIGNATURE.key([1, 2, 3], 1)] * 2


# -- blocks and store ---------------------------------------------------------------------------------------------


def some_entries(n: int, bits: int = 8, beyond: int = 0) -> dict[str, Packed]:
    found = {}
    for i, one in enumerate(some_rows(n)):
        entry = entry_of(one, Rule(8, 2, 0.9) if i % 2 else FIXED)
        found[f"key{i}"] = pack(entry._replace(ids=entry.ids + beyond), bits)
    return found


@pytest.mark.parametrize(("bits", "beyond"), [(8, 0), (16, 0), (8, 140_000)])
def test_a_block_gives_back_what_was_written(bits: int, beyond: int) -> None:
    entries = some_entries(5, bits, beyond)
    name, data = write_block(entries, (1.0, 1.5))
    read = read_block(name, data)
    assert read.temperatures == (1.0, 1.5)
    assert list(read.entries) == list(entries)
    for key, packed in entries.items():
        again = read.entries[key]
        assert again.bits == packed.bits
        for name in ("counts", "ids", "steps", "tail"):
            assert np.array_equal(getattr(again, name), getattr(packed, name))


@pytest.mark.parametrize("change", ["flip", "cut", "empty", "other"])
def test_a_damaged_block_is_told_set_aside_and_asked_for_again(change: str, tmp_path: Path) -> None:
    rows, source = some_rows(100), Counting()
    fill(tmp_path, rows, source)
    file = sorted(tmp_path.glob("*.parquet"))[0]
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes({"flip": bytes(data), "cut": bytes(data[:100]), "empty": b"", "other": b"PAR1" * 9}[change])
    again = Counting()
    found, told, store = fill(tmp_path, rows, again)
    assert len(told) == 1
    assert "asked for again" in told[0]
    assert 0 < len(again.asked) <= 64
    assert found.rows == len(again.asked)
    assert store.size().rows == len(set(keys_of(rows, SIGNATURE)))
    assert fill(tmp_path, rows, Counting())[0].rows == 0


def test_a_block_that_lies_about_its_shape_is_refused() -> None:
    entries = some_entries(1)
    key, packed = next(iter(entries.items()))
    block = write_block({key: packed._replace(ids=packed.ids[:-1])}, TS)
    with pytest.raises(Damaged, match="not of the same positions"):
        read_block(*block)


def test_what_was_renamed_and_not_indexed_is_picked_up(tmp_path: Path) -> None:
    rows = some_rows(100)
    fill(tmp_path, rows, Counting())
    whole = (tmp_path / INDEX).read_bytes()
    for index in (b"", whole[: len(whole) // 2], whole[:-20], b"\x00garbage\n" + whole, whole.splitlines()[0]):
        (tmp_path / INDEX).write_bytes(index)
        (tmp_path / f".x.parquet.{10**6}.tmp").write_bytes(b"half a block")
        source = Counting()
        found, told, _ = fill(tmp_path, rows, source)
        assert (found.rows, source.asked, told) == (0, [], [])
        assert not list(tmp_path.glob("*.tmp"))
        assert Store.read(tmp_path).has(keys_of(rows, SIGNATURE), TS) == set(keys_of(rows, SIGNATURE))


def test_a_block_that_is_gone_is_asked_for_again(tmp_path: Path) -> None:
    rows = some_rows(70)
    fill(tmp_path, rows, Counting())
    sorted(tmp_path.glob("*.parquet"))[0].unlink()
    found, _, _ = fill(tmp_path, rows, Counting())
    assert 0 < found.rows <= 64


def test_reading_writes_nothing(tmp_path: Path) -> None:
    assert Store.read(tmp_path / "none").size() == (0, 0, 0, 0)
    assert not (tmp_path / "none").exists()


def test_the_index_names_no_file_outside_of_its_folder(tmp_path: Path) -> None:
    rows = some_rows(3)
    fill(tmp_path / "a", rows, Counting())
    line = json.loads((tmp_path / "a" / INDEX).read_bytes())
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / INDEX).write_text(json.dumps({**line, "file": f"../a/{line['file']}"}), encoding="utf-8")
    assert Store.read(tmp_path / "b").size().rows == 0


# -- capture ------------------------------------------------------------------------------------------------------


def test_what_is_there_is_not_asked_again(tmp_path: Path) -> None:
    rows, source = some_rows(100), Counting()
    found, _, _ = fill(tmp_path, rows, source)
    assert len(source.asked) == len({tuple(one.input_ids) for one in rows}) == found.rows
    assert found.tokens == sum(len(ids) for ids in source.asked)
    assert source.closed == 1
    for one, entry in zip(rows, found.entries, strict=True):
        assert np.array_equal(entry.packed.ids, pack(entry_of(one), 8).ids)
    subset = Counting()
    again, _, _ = fill(tmp_path, [*rows[50:], *rows[10:20]], subset, temperatures=(2.0,))
    assert (again.rows, again.tokens, subset.asked, subset.closed) == (0, 0, [], 0)


def test_another_temperature_or_teacher_is_asked_for(tmp_path: Path) -> None:
    rows = some_rows(5)
    fill(tmp_path, rows, Counting())
    assert fill(tmp_path, rows, Counting(), temperatures=(1.0, 1.5))[0].rows == 5
    assert fill(tmp_path, rows, Counting(), signature=SIGNATURE._replace(teacher="other"))[0].rows == 5
    assert fill(tmp_path, rows, Counting())[0].rows == 0


def test_a_teacher_that_fails_loses_nothing_that_it_gave(tmp_path: Path) -> None:
    rows, source = some_rows(100), Counting(fails_after=70)
    with pytest.raises(TrainingError, match="the teacher is gone"):
        fill(tmp_path, rows, source)
    assert source.closed == 1
    rest = Counting()
    fill(tmp_path, rows, rest)
    assert len(rest.asked) == len({tuple(one.input_ids) for one in rows}) - 70


def test_a_teacher_that_gives_other_positions_is_refused(tmp_path: Path) -> None:
    class Short(Counting):
        async def score(self, rows: Any, rule: Any, temperatures: Any) -> AsyncGenerator[Scored]:
            yield Scored(0, entry_of(row([1, 2], 1)))

    with pytest.raises(TrainingError, match="row 0: the teacher told of 1 positions, and the answer has 2 tokens"):
        fill(tmp_path, some_rows(1), Short())


def test_an_id_beyond_the_tokenizer_is_refused() -> None:
    found = Found(pack(entry_of(some_rows(1)[0]), 8), TS)
    assert CachedSignal([found], TS, VOCABULARY).positions(0) == 2
    with pytest.raises(TrainingError, match="of another tokenizer"):
        CachedSignal([found], TS, 20)


# -- a model as the source ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model() -> Any:
    torch.manual_seed(5)
    made = tiny_models.make_model(vocab_size=272, attention_dropout=0.5)
    with torch.no_grad():
        for weight in made.parameters():
            weight.mul_(4)
    return made.train()


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize("batch", [1, 3])
def test_each_row_gets_its_own_distribution_whatever_it_shares_a_pass_with(
    model: Any, flat: bool, batch: int, tiny: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Against the model's own forward pass, the padding of its output layer cut off; in train mode, with dropout."""
    monkeypatch.setattr("stillroom.students.whitebox.cache.local.MOST_LOGITS", 8 * VOCABULARY)  # 2 positions a part
    messages = [
        ([{"role": "user", "content": "1" * n}], [{"role": "assistant", "content": "2" * (9 - n)}])
        for n in range(1, 8)
    ]
    rows = encode_rows(
        read_rows([{"prompt": p, "completion": c} for p, c in messages]), load_tokenizer(str(tiny)), 256
    ).rows
    source = LocalSource(model, Head(model, VOCABULARY, "it"), flat=flat, batch=batch)

    async def all_of() -> dict[int, Entry]:
        return {number: entry async for number, entry in source.score(rows, FIXED, TS)}

    found = asyncio.run(all_of())
    assert model.training
    model.eval()
    for number, one in enumerate(rows):
        start = one.labels.index(next(label for label in one.labels if label != IGNORED))
        with torch.no_grad():
            logits = model(torch.tensor([one.input_ids])).logits[0, start - 1 : -1, :VOCABULARY]
        expected = keep(logits, FIXED, TS)
        assert np.array_equal(found[number].ids, expected.ids)
        assert found[number].log_p == pytest.approx(expected.log_p, abs=1e-4)
        assert found[number].log_tail == pytest.approx(expected.log_tail, abs=1e-4)
    model.train()


def test_fidelity_is_that_of_the_whole_gradient(model: Any, tiny: Path) -> None:
    student = load_model(str(tiny), "float32", "cpu")
    sides = [LocalSource(each, Head(each, VOCABULARY, "it"), flat=False, batch=4) for each in (model, student)]
    rows = some_rows(6)

    def found(rule: Rule, own: LocalSource = sides[1]) -> Any:
        async def entries() -> dict[int, Entry]:
            return {number: entry async for number, entry in sides[0].score(rows, rule, TS)}

        packed = asyncio.run(entries())
        kept = [Found(pack(packed[i], 16), TS) for i in range(len(rows))]
        return measure(sides[0], own, rows, rows, kept, TS)

    whole, few = found(Rule(VOCABULARY, VOCABULARY, None)), found(Rule(2, 2, None))
    assert [one.temperature for one in whole] == [1.0, 2.0]
    assert all(
        one.cosine == pytest.approx(1, abs=1e-4) and one.kl == pytest.approx(one.kl_kept, rel=1e-3) for one in whole
    )
    assert all(one.cosine < 0.999 and one.kl_kept < one.kl for one in few)
    assert "gradient cosine" in str(few[0])
    assert found(FIXED, sides[0])[0].cosine is None


def test_a_hundredth_is_measured_and_64_positions_at_least() -> None:
    rows = some_rows(40)
    positions = [sum(label != IGNORED for label in one.labels) for one in rows]
    few = chosen(rows)
    assert 64 <= sum(positions[i] for i in few) < 64 + 5
    assert {tuple(rows[i].input_ids) for i in few} == {tuple(rows[::-1][i].input_ids) for i in chosen(rows[::-1])}
    assert chosen(rows[:3]) == sorted(chosen(rows[:3]), key=chosen(rows[:3]).index)
    many = [row([i % 250, i // 250, *range(40)], 2) for i in range(300)]
    assert sum(40 for _ in chosen(many)) == 120
