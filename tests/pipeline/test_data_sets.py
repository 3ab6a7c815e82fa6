"""Preferences and labels of data sets, as tasks may be: folders of `datasets`, and the hub by name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from stillroom.errors import InputError, MissingFile, RecipeError
from stillroom.pipeline.config.load import load_recipe
from stillroom.pipeline.flows.audit import audit, calibrate
from stillroom.pipeline.flows.given import GivenResult
from stillroom.pipeline.flows.run import run
from stillroom.pipeline.run.progress import Display
from tests.conftest import stillroom
from tests.pipeline.test_preferences import write_prompts

datasets = pytest.importorskip("datasets")
QUIET = Display(quiet=True)
PAIRS = [{"prompt": f"{n} + {n}?", "chosen": f"It is {n + n}.", "rejected": "No idea at all."} for n in range(6)]
LABELS = [{"prompt": f"Say {n}.", "a": "ab" * 8, "b": f"{n}", "label": "a", "id": str(n)} for n in range(4)]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """A hub that has `me/pairs`, with a split and a configuration; what it was asked for."""
    asked: list[tuple[Any, ...]] = []

    def hub(path: str, name: str | None = None, *, split: str) -> Any:
        asked.append((path, name, split))
        if path != "me/pairs":
            raise datasets.exceptions.DatasetNotFoundError(f"Dataset '{path}' doesn't exist on the Hub")
        return datasets.Dataset.from_list(PAIRS)

    monkeypatch.setattr(datasets, "load_dataset", hub)
    return asked


def saved(folder: Path, **splits: list[dict[str, Any]]) -> Path:
    made = {name: datasets.Dataset.from_list(rows) for name, rows in splits.items()}
    datasets.DatasetDict(made).save_to_disk(folder)
    return folder


def given(folder: Path, **how: Any) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(json.dumps({"name": "mine", "given": how}))
    return path


def test_a_recipe_learns_from_preferences_of_the_hub(tmp_path: Path, asked: list[tuple[Any, ...]]) -> None:
    recipe = given(tmp_path, path="me/pairs", source="hf", name="clean", split="test")
    result = run(recipe, out=tmp_path / "out", display=QUIET)
    assert isinstance(result, GivenResult)
    assert (result.pairs, result.read["rows"], result.read["layout"]) == (6, 6, "pairs")
    assert asked == [("me/pairs", "clean", "test")]
    assert "me/pairs" in (tmp_path / "out" / "dpo" / "README.md").read_text()


@pytest.mark.parametrize("source", ["file", "hf"])
def test_a_folder_of_a_data_set_is_read_with_its_splits(tmp_path: Path, source: str) -> None:
    saved(tmp_path / "set", train=PAIRS, test=PAIRS[:2])
    for split, count in ((None, 6), ("test", 2)):
        recipe = given(tmp_path, path="set", source=source, split=split)
        result = run(recipe, out=tmp_path / f"out-{split}", display=QUIET)
        assert isinstance(result, GivenResult)
        assert result.pairs == count
    with pytest.raises(InputError, match="no split 'dev'"):
        run(given(tmp_path, path="set", source=source, split="dev"), out=tmp_path / "none", display=QUIET)


def test_a_folder_of_loose_files_is_a_data_set_where_that_is_said(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    datasets.Dataset.from_list(PAIRS).to_parquet(tmp_path / "set" / "train.parquet")
    with pytest.raises(MissingFile, match="is a folder, a file is needed"):
        run(given(tmp_path, path="set"), out=tmp_path / "none", display=QUIET)
    result = run(given(tmp_path, path="set", source="hf"), out=tmp_path / "out", display=QUIET)
    assert isinstance(result, GivenResult)
    assert result.pairs == 6


def test_bad_rows_have_their_place(tmp_path: Path, asked: list[tuple[Any, ...]]) -> None:
    saved(tmp_path / "set", train=[*PAIRS, {"prompt": "?", "chosen": "a", "rejected": "a"}])
    with pytest.raises(InputError, match=r"set\[train\], row 7: same_text: both answers"):
        run(given(tmp_path, path="set", source="hf"), out=tmp_path / "none", display=QUIET)
    result = run(given(tmp_path, path="set", source="hf", bad_rows="skip"), out=tmp_path / "out", display=QUIET)
    assert isinstance(result, GivenResult)
    assert sum(result.read["left_out"].values()) == 1


@pytest.mark.parametrize(
    ("how", "error", "said"),
    [
        (
            {"path": "me/pairs"},
            MissingFile,
            r"given\.path: .*to take the data set me/pairs from the hub, set source: hf",
        ),
        ({"path": "me/none", "source": "hf"}, MissingFile, r"given\.path: no dataset 'me/none' here or on the hub"),
        ({"path": "./me", "source": "hf"}, MissingFile, r"given\.path: there is no"),
        ({"path": "x.jsonl", "name": "main"}, RecipeError, "name is a data set's configuration: set source: hf"),
    ],
)
def test_what_is_not_there_is_said(
    tmp_path: Path, asked: list[tuple[Any, ...]], how: dict[str, Any], error: type[Exception], said: str
) -> None:
    with pytest.raises(error, match=said):
        run(given(tmp_path, **how), out=tmp_path / "out", display=QUIET)


def test_pairs_of_the_hub_are_audited(asked: list[tuple[Any, ...]]) -> None:
    found = audit("me/pairs", source="hf")
    assert (len(found.rows), str(found.path)) == (6, "me/pairs[train]")
    with pytest.raises(InputError, match="not in 'hub': give file or hf"):
        audit("me/pairs", source="hub")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="'clean' is the configuration of a data set: set source: hf"):
        audit("me/pairs", name="clean")


def test_the_command_line_names_source_and_split(tmp_path: Path) -> None:
    saved(tmp_path / "set", train=PAIRS, test=PAIRS[:2])
    for more in (["--source", "hf"], []):
        ended = stillroom("pairs", "set", *more, "--split", "test", "--json", cwd=tmp_path)
        assert ended.returncode == 0, ended.stderr
        assert json.loads(ended.stdout)["pairs"] == 2


def test_a_judge_is_calibrated_on_labels_of_a_data_set(tmp_path: Path) -> None:
    saved(tmp_path / "labels", train=LABELS[:1], test=LABELS)
    recipe = write_prompts(tmp_path, judge={"kind": "readability"})
    assert "gate" not in recipe.read_text()
    found = calibrate(
        recipe, labelled=tmp_path / "labels", source="hf", split="test", out=tmp_path / "run", display=QUIET
    )
    assert found.calibration.pairs == 4
    gate = {"labelled": "labels", "source": "hf", "split": "test", "required": False}
    recipe = write_prompts(tmp_path, judge={"kind": "readability"}, gate=gate)
    assert calibrate(recipe, out=tmp_path / "run", display=QUIET).calibration.pairs == 4
    with pytest.raises(RecipeError, match="set source: hf"):
        load_recipe(write_prompts(tmp_path, gate={"labelled": "labels", "name": "x"}))
