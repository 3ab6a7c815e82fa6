"""Training from a cache: what it costs, what it gives, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from stillroom.cli.show import signals_line
from stillroom.common.models.resolve import load_model
from stillroom.errors import RecipeError
from stillroom.students.methods.distil import Distil
from stillroom.students.records import Signals, Trained, TrainingPlace
from stillroom.students.whitebox.cache import capture
from stillroom.students.whitebox.cache.store import Store
from tests.conftest import tiny as tiny_models

SOFT = {"kind": "soft", "temperature": 2.0}


class Runs:
    """Trains with one store, and says what the teacher was asked."""

    def __init__(self, folder: Path, tiny: Path, teacher: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.store, self.told, self.number = folder, folder / "signals", list[str](), 0
        self.loaded: list[str] = []
        self._common: dict[str, Any] = {
            "model": str(tiny),
            "teacher": str(teacher),
            "dtype": "float32",
            "epochs": 2,
            "lora": None,
            "learning_rate": 1e-3,
        }

        def load(name: str, *how: Any) -> Any:
            self.loaded.append(name)
            return load_model(name, *how)

        monkeypatch.setattr("stillroom.students.whitebox.sides.load_model", load)

    def __call__(self, rows: list[dict[str, Any]], **settings: Any) -> Trained:
        self.number += 1
        self.told, self.loaded = [], []
        place = TrainingPlace(store=self.store, tell=self.told.append)
        out = self.folder / str(self.number)
        return Distil(**{**self._common, **settings}).train(rows, out, seed=settings.get("seed", 1) or 1, place=place)

    @property
    def record(self) -> Any:
        return json.loads((self.folder / str(self.number) / "training.json").read_text(encoding="utf-8"))


@pytest.fixture
def runs(tmp_path: Path, tiny: Path, teacher: Path, monkeypatch: pytest.MonkeyPatch) -> Runs:
    return Runs(tmp_path, tiny, teacher, monkeypatch)


@pytest.mark.parametrize(
    "objectives",
    [[SOFT], [{"kind": "soft"}, {"kind": "hard"}], [{"kind": "skew_kl", "temperature": 2}], [{**SOFT, "top_k": 300}]],
    ids=["soft", "soft and hard", "skew", "top_k"],
)
def test_a_cache_of_all_tokens_trains_as_the_weights_do(
    objectives: list[dict[str, Any]], runs: Runs, rows: list[dict[str, Any]]
) -> None:
    """But for the rounding of 16 bits."""
    how: dict[str, Any] = {"objectives": objectives, "epochs": 5, "batch_size": 4, "learning_rate": 1e-2}
    cached = runs(rows, cache={"k": 300, "bits": 16}, **how)
    dense = runs(rows, **how)
    assert cached.losses == pytest.approx(dense.losses, rel=1e-3)
    assert max(dense.losses) > 1.05 * min(dense.losses)


def test_the_head_in_parts_and_accumulation_change_nothing(
    runs: Runs, rows: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = runs(rows, cache=True)
    monkeypatch.setattr("stillroom.students.whitebox.loss.MOST_LOGITS", 4 * 259)
    parts = runs(rows, cache=True, batch_size=2, gradient_accumulation=4)
    assert parts.losses == pytest.approx(whole.losses, rel=1e-5)


def test_what_was_captured_serves_other_rows_students_weights_and_temperatures(
    runs: Runs, rows: list[dict[str, Any]], tmp_path: Path, teacher: Path
) -> None:
    """The teacher's weights are not even loaded."""
    first = runs(rows, objectives=[SOFT, {"kind": "hard"}], cache=True)
    assert str(teacher) in runs.loaded
    assert "tokens asked of the teacher now" in runs.told[0]
    other = tmp_path / "other"
    tiny_models.make_model(num_hidden_layers=1).save_pretrained(other)
    tiny_models.make_tokenizer().save_pretrained(other)
    changes: list[tuple[Any, dict[str, Any]]] = [
        (rows, {"objectives": [{"kind": "soft", "temperature": 1.0}]}),
        (rows, {"objectives": [{**SOFT, "weight": 0.2}, {"kind": "hard", "weight": 0.8}]}),
        (rows, {"objectives": [{"kind": "skew_kl", "alpha": 0.3}]}),
        (rows, {"model": str(other)}),
        (rows[2:6], {"epochs": 1}),
        (list(reversed(rows)), {"system": "Add up."}),
        (rows, {}),
    ]
    for changed, settings in changes:
        trained = runs(changed, **{"objectives": [SOFT, {"kind": "hard"}], "cache": True, **settings})
        assert "nothing asked of the teacher" in runs.told[0], settings
        assert str(teacher) not in runs.loaded, settings
    assert trained.losses == first.losses


@pytest.mark.parametrize(
    "settings",
    [
        {"teacher_system": "You are terse."},
        {"cache": {"k": 8}},
        {"cache": {"mass": 0.9}},
        {"objectives": [{"kind": "soft", "temperature": 1.5}]},
        {"teacher": "student"},
    ],
    ids=["system prompt", "k", "mass", "temperature", "teacher"],
)
def test_what_changes_the_distribution_or_what_is_kept_is_asked_for(
    settings: dict[str, Any], runs: Runs, rows: list[dict[str, Any]], tiny: Path
) -> None:
    runs(rows, cache=True)
    if "teacher" in settings:
        settings = {"teacher": str(tiny)}
    runs(rows, **{"cache": True, **settings})
    assert "tokens asked of the teacher now" in runs.told[0]


def test_fidelity_is_told_and_recorded_and_stays_with_the_cache(runs: Runs, rows: list[dict[str, Any]]) -> None:
    runs(rows, cache={"k": 12})
    assert [line.partition(": gradient cosine")[0][-5:] for line in runs.told[1:]] == ["T = 1", "T = 2"]
    found = runs.record["cache"]
    assert found["rule"] == {"most": 12, "least": 12, "mass": None}
    assert found["temperatures"] == [1.0, 2.0]
    assert found["positions"] == runs.record["cache"]["fidelity"][0]["positions"]  # fewer than 64: all of them
    assert all(0.5 < each["cosine"] <= 1 and each["kl_kept"] <= each["kl"] for each in found["fidelity"])
    runs(rows, cache={"k": 12})
    assert runs.record["cache"] == found
    assert runs.loaded == []


def test_without_a_place_the_cache_goes_with_the_training(
    rows: list[dict[str, Any]], tiny: Path, teacher: Path, tmp_path: Path
) -> None:
    Distil(model=str(tiny), teacher=str(teacher), epochs=1, cache=True).train(rows, tmp_path / "student", seed=1)
    assert not list(tmp_path.rglob("*.parquet"))


def test_a_killed_capture_goes_on_where_it_was(
    runs: Runs, rows: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a kill leaves it: blocks of three rows, the third of which was never written."""
    monkeypatch.setattr(capture, "WINDOW", 3)
    add: Callable[..., None] = Store.add

    def twice(store: Store, *what: Any) -> None:
        if store.size().blocks == 2:
            raise KeyboardInterrupt
        add(store, *what)

    monkeypatch.setattr(Store, "add", twice)
    with pytest.raises(KeyboardInterrupt):
        runs(rows, cache=True)
    monkeypatch.setattr(Store, "add", add)
    resumed = runs(rows, cache=True)
    assert Store.read(runs.store).size().rows == 8
    again = runs(rows, cache=True)
    assert "nothing asked" in runs.told[0]
    assert again.losses == resumed.losses


def test_a_cache_of_another_tokenizer_is_refused_and_not_read(
    runs: Runs, rows: list[dict[str, Any]], tiny: Path, tmp_path: Path
) -> None:
    runs(rows, cache=True)
    swapped = tmp_path / "swapped"
    load_model(str(tiny), "float32", "cpu").save_pretrained(swapped)
    tiny_models.make_tokenizer().save_pretrained(swapped)
    file = swapped / "tokenizer.json"
    raw = json.loads(file.read_text(encoding="utf-8"))
    vocabulary = raw["model"]["vocab"]
    vocabulary["a"], vocabulary["b"] = vocabulary["b"], vocabulary["a"]
    file.write_text(json.dumps(raw), encoding="utf-8")
    with pytest.raises(RecipeError, match="other tokens: 2 differ"):
        runs(rows, cache=True, model=str(swapped))


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"objectives": [{"kind": "reverse_kl"}]}, "reverse_kl needs the teacher's whole distribution.*cache: false"),
        ({"objectives": [{"kind": "jsd"}]}, "jsd needs the teacher's whole distribution"),
        ({"objectives": [{"kind": "skew_reverse_kl"}]}, "skew_reverse_kl needs the teacher's whole"),
        ({"objectives": [{"kind": "soft", "temperature": 4}]}, "up to 2, not 4.*cache: false"),
        ({"objectives": [{"kind": "soft", "top_k": 50}]}, "top_k of soft is 50, and the cache keeps 16 tokens"),
        ({"cache": {"temperatures": [1]}, "objectives": [SOFT]}, "temperature 2, which is not among"),
    ],
)
def test_what_a_cache_cannot_serve_is_refused_with_the_reason(settings: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        Distil(**{"model": "a/b", "teacher": "c/d", "cache": True, **settings})


def test_without_a_cache_everything_is_served() -> None:
    for kind in ("reverse_kl", "jsd"):
        assert Distil(model="a/b", teacher="c/d", cache=False, objectives=[{"kind": kind}]).kept is None


def test_what_a_change_would_cost_is_known_before(
    runs: Runs, rows: list[dict[str, Any]], tiny: Path, teacher: Path, tmp_path: Path
) -> None:
    """Without asking anybody: the sum of what is missing is what the next training asks for."""
    file = tmp_path / "rows" / "train.parquet"
    file.parent.mkdir()
    pq.write_table(pa.Table.from_pylist(rows), file)
    common: dict[str, Any] = {"model": str(tiny), "teacher": str(teacher), "dtype": "float32"}
    place = TrainingPlace(store=runs.store)
    before = Distil(**common, cache=True).signals(file.parent, place)
    assert before is not None
    assert (before.rows, before.wanted, before.missing) == (0, 8, 8)
    runs(rows, cache=True)
    assert f"{before.missing_tokens:,} tokens asked of the teacher now" in runs.told[0]
    after = Distil(**common, cache=True).signals(file.parent, place)
    assert after is not None
    assert (after.rows, after.wanted, after.missing, after.missing_tokens) == (8, 8, 0, 0)
    assert after.bytes > 0
    changed = Distil(**common, cache={"k": 8}).signals(file.parent, place)
    assert changed is not None
    assert (changed.rows, changed.missing) == (8, 8)
    assert Distil(**common).signals(file.parent, place) is None
    unread = Distil(**{**common, "max_length": 8}, cache=True).signals(file.parent, place)
    assert unread is not None
    assert unread.missing is None
    assert "no row is left" in unread.why


@pytest.mark.parametrize(
    ("kept", "told"),
    [
        (
            Signals(8, 20, 1_500_000, 8, 0, 0),
            "8 rows, 20 positions, 1.50 MB; training on 8 rows now would ask it for nothing",
        ),
        (Signals(8, 20, 0, 9, 1, 1234), "training on 9 rows now would ask it for 1,234 tokens (1 rows)"),
        (Signals(8, 20, 0, why="no tokenizer"), "what a training would ask for cannot be said: no tokenizer"),
    ],
)
def test_status_says_so_in_a_line(kept: Signals, told: str) -> None:
    assert told in signals_line(kept)
