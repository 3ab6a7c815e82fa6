"""Models of the Hugging Face hub: from the local cache where they are there, else fetched once.

It refuses to wait for a network that is not there: the hub is asked once, with a short time limit, before anything
is downloaded, and whatever its client raises comes out as one MissingFile that says what to do.

>>> split_revision("Qwen/Qwen3-0.6B@v1")
Repo(id='Qwen/Qwen3-0.6B', revision='v1')
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from stillroom.common.text import first_line
from stillroom.errors import MissingExtra, MissingFile

FETCHED = ["*.safetensors", "*.json", "*.model", "*.jinja", "*.txt", "README.md"]
TIMEOUT_S = 8.0


class Repo(NamedTuple):
    """A hub repository and the branch, tag or commit of it that is meant."""

    id: str
    revision: str


def split_revision(name: str) -> Repo:
    """Takes `org/name@revision` apart; without a revision it is `main`."""
    repo, _, wanted = name.partition("@")
    return Repo(repo, wanted or "main")


def snapshot(name: str) -> Path:
    """The hub model's folder in the local cache, fetched if it is not there. Raises MissingFile."""
    repo = split_revision(name)
    cached = _cached(repo, FETCHED)
    if cached is not None and any((*cached.glob("*.safetensors"), *cached.glob("*.bin"))):
        return cached
    revision(name)  # asks once, with a short time limit: downloads alone retry for minutes without a network
    try:
        found = _download(repo, FETCHED)
        return found if any(found.glob("*.safetensors")) else _download(repo, [*FETCHED, "*.bin"])
    except (OSError, ValueError, RuntimeError) as error:
        raise _not_fetched(name, error) from error


def revision(name: str) -> str:
    """The commit that a hub name stands for: as cached, else as the hub says. Raises MissingFile."""
    repo = split_revision(name)
    cached = _cached(repo, ["config.json", "adapter_config.json"])
    if cached is not None:
        return cached.name
    try:
        return str(_client().HfApi().model_info(repo.id, revision=repo.revision, timeout=TIMEOUT_S).sha)
    except Exception as error:  # the client's exceptions have changed with its versions; all mean: not to be had
        raise _not_fetched(name, error) from error


def _cached(repo: Repo, patterns: list[str]) -> Path | None:
    try:
        return _download(repo, patterns, local_files_only=True)
    except (OSError, ValueError):
        return None  # not in the cache, or not a name that the hub takes: the hub's answer is the one to report


def _download(repo: Repo, patterns: list[str], **options: Any) -> Path:
    found = _client().snapshot_download(
        repo.id, revision=repo.revision, allow_patterns=patterns, ignore_patterns=["*/*"], **options
    )
    return Path(found)


def _client() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise MissingExtra("a model from the hub", "huggingface_hub", "train") from error
    return huggingface_hub


def _not_fetched(name: str, error: BaseException) -> MissingFile:
    return MissingFile(
        f"the model {name!r} is neither a folder here nor in the local hub cache, and the hub did not give it: "
        f"{first_line(error)}. Check the name and the network (a gated model needs `hf auth login`), or give a "
        "folder"
    )
