"""Tasks from what the library `datasets` reads: local files and folders, and a hub that is not there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from stillroom.errors import InputError, MissingFile, RecipeError, TaskError
from stillroom.traces.tasks import HubTasks, load_tasks

datasets = pytest.importorskip("datasets")

ROWS = [{"question": f"What is {n} + 1?", "answer": str(n + 1), "tags": {"level": n}} for n in range(20)]


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def hub(path: str, **given: Any) -> HubTasks:
    return HubTasks(source="hf", path=path, **given)


@pytest.fixture
def parquet(tmp_path: Path) -> Path:
    path = tmp_path / "data" / "train.parquet"
    path.parent.mkdir()
    datasets.Dataset.from_list(ROWS).to_parquet(path)
    return path


@pytest.mark.parametrize("path", ["data/train.parquet", "data"])
def test_a_local_file_and_a_local_folder(tmp_path: Path, parquet: Path, path: str) -> None:
    tasks = load_tasks(hub(path, test=5), base=tmp_path, seed=1)
    assert (len(tasks.train), len(tasks.test)) == (15, 5)
    assert all(task.source.startswith(f"{path}[train]:") for task in tasks.train)
    assert tasks.train[0].metadata["tags"].keys() == {"level"}


def test_what_save_to_disk_wrote(tmp_path: Path) -> None:
    both = datasets.DatasetDict(
        {"train": datasets.Dataset.from_list(ROWS), "test": datasets.Dataset.from_list(ROWS[:3])}
    )
    both.save_to_disk(tmp_path / "saved")
    tasks = load_tasks(hub("saved", test_split="test"), base=tmp_path, seed=1)
    assert (len(tasks.train), len(tasks.test), len(tasks.left_out)) == (17, 3, 3)
    with pytest.raises(RecipeError, match="no split 'validation': there are test, train"):
        load_tasks(hub("saved", split="validation"), base=tmp_path, seed=1)


def test_bad_rows_are_refused_with_their_place(tmp_path: Path) -> None:
    datasets.Dataset.from_list([*ROWS, {"question": "", "answer": "1"}]).to_parquet(tmp_path / "bad.parquet")
    with pytest.raises(TaskError, match=r"bad\.parquet\[train\]:21: empty_prompt"):
        load_tasks(hub("bad.parquet"), base=tmp_path, seed=1)


@pytest.mark.parametrize(
    ("path", "error", "said"),
    [
        ("./nowhere", MissingFile, "there is no"),
        ("data/tran.parquet", MissingFile, r"did you mean train\.parquet"),
        ("data/notes.txt", RecipeError, "is none of"),
    ],
)
def test_paths_that_cannot_be_read(
    tmp_path: Path, parquet: Path, path: str, error: type[Exception], said: str
) -> None:
    (tmp_path / "data" / "notes.txt").touch()
    with pytest.raises(error, match=said):
        load_tasks(hub(path), base=tmp_path, seed=1)


def test_an_unknown_split_is_named(tmp_path: Path, parquet: Path) -> None:
    with pytest.raises(RecipeError, match="split 'validation'"):
        load_tasks(hub("data", split="validation"), base=tmp_path, seed=1)


def test_a_damaged_file_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 this is not a parquet")
    with pytest.raises(InputError, match=r"broken\.parquet"):
        load_tasks(hub("broken.parquet"), base=tmp_path, seed=1)


def test_a_hub_that_cannot_be_reached_is_one_clear_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: Any, **__: Any) -> None:
        raise ConnectionError("Couldn't reach 'openai/gsm8k' on the Hub\nmore")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with pytest.raises(InputError, match=r"the hub cannot be reached for 'openai/gsm8k'.*local folder") as error:
        load_tasks(hub("openai/gsm8k"), base=tmp_path, seed=1)
    assert "\n" not in str(error.value)


def test_a_name_that_the_hub_does_not_have(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def absent(*_: Any, **__: Any) -> None:
        raise datasets.exceptions.DatasetNotFoundError("Dataset 'a/b' doesn't exist on the Hub")

    monkeypatch.setattr(datasets, "load_dataset", absent)
    with pytest.raises(MissingFile, match="no dataset 'a/b' here or on the hub"):
        load_tasks(hub("a/b"), base=tmp_path, seed=1)


@pytest.mark.parametrize(
    ("path", "given", "expected"),
    [
        ("openai/gsm8k", {}, "number"),
        ("HuggingFaceH4/MATH-500", {}, "gold"),
        ("math-ai/aime25", {}, "integer"),
        ("deepmind/aqua_rat", {}, "choice"),
        ("somebody/else", {}, None),
        ("openai/gsm8k", {"answer_type": None}, None),
        ("openai/gsm8k", {"answer_type": "integer"}, "integer"),
    ],
)
def test_well_known_sets_say_what_their_answers_are(path: str, given: dict[str, Any], expected: str | None) -> None:
    assert HubTasks(source="hf", path=path, **given).answer_type == expected
