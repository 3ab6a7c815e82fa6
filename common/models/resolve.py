"""Finds a model by its name, for teachers and students alike, and says which weights a name stands for.

A name is one of

* `embedded:smollm2-135m-instruct`: a small model that comes with a Python package (no hub, no download);
* a folder, used as it is: a model saved by `save_pretrained`, or a LoRA adapter, whose base is then found too;
* a hub name, `Qwen/Qwen3-0.6B` or `Qwen/Qwen3-0.6B@main`: fetched once, then read from the local cache;
* `shallow:20:` and one of these: the same model with 20 of its layers (see `shallow.py`), made once.

It refuses to guess: a name that is none of these is a MissingFile that says what was looked for. It refuses to wait
for a network that is not there: the hub is asked once, with a short time limit, before anything is downloaded. It
runs no code that comes with a model (`trust_remote_code` is never set), and prints nothing.

>>> resolve_model("embedded:smollm2-135m-instruct").licence                               # doctest: +SKIP
'apache-2.0'
"""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from stillroom.common.files import at_home
from stillroom.common.models import packaged as embedded
from stillroom.common.models import shallow
from stillroom.common.models.quiet import import_torch, quiet_transformers
from stillroom.common.text import first_line
from stillroom.errors import InputError, MissingExtra, MissingFile

EMBEDDED_PREFIX = "embedded:"
# What decides a model's answers. Optimizer states and logs in the same folder do not.
WEIGHTS = ("*.safetensors", "*.bin", "*.gguf")
SETTINGS = ("config.json", "generation_config.json", "adapter_config.json", "tokenizer*", "chat_template*", "vocab.*",
            "merges.txt", "special_tokens_map.json", "added_tokens.json")  # fmt: skip
DTYPES = ("float32", "bfloat16", "float16")
"""Types of number that a model may compute in, as torch names them."""
LARGE = 64 << 20  # bytes: a file of which the hash is remembered
FETCHED = ["*.safetensors", "*.json", "*.model", "*.jinja", "*.txt", "README.md"]
TIMEOUT_S = 8.0
_SHA256 = re.compile("[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class ResolvedModel:
    """A model that is on this disk. `path` is a folder for `from_pretrained`; `licence` as an SPDX-like tag, or
    None where the model does not say."""

    name: str
    path: str
    licence: str | None


def resolve_model(name: str) -> ResolvedModel:
    """The folder of the model called `name`, fetched or converted first if need be.

    Raises MissingFile for a model that is nowhere, MissingExtra where a package must be installed for it.
    """
    if name.startswith(EMBEDDED_PREFIX):
        model = embedded.find(name.removeprefix(EMBEDDED_PREFIX))
        return ResolvedModel(name, str(embedded.converted(model)), model.licence)
    if (part := shallow.parse(name)) is not None:
        return ResolvedModel(name, str(_shallow(part)), resolve_model(part.base).licence)
    folder = _folder(name) or _snapshot(name)
    licence = None  # else the `license:` of the model card's header
    card = folder / "README.md"
    if card.is_file():
        header = card.read_text(encoding="utf-8", errors="replace").split("\n---", 1)[0]
        found = re.search(r"^licen[sc]e:\s*([\w.\-]+)", header, re.MULTILINE)
        licence = found.group(1).lower() if found else None
    return ResolvedModel(name, str(folder), licence)


def fingerprint(name: str) -> str:
    """A stable identity of the model's weights, tokenizer and settings. Loads and converts nothing.

    Folders and embedded models are told apart by content, wherever they lie; a hub model by its revision. An
    adapter's fingerprint includes that of its base.
    """
    if name.startswith(EMBEDDED_PREFIX):
        model = embedded.find(name.removeprefix(EMBEDDED_PREFIX))
        return f"{name}@{_hash_file(embedded.packaged_file(model))[:16]}.{embedded.CONVERSION}"
    if (part := shallow.parse(name)) is not None:
        return f"{shallow.PREFIX}{part.layers}:{fingerprint(part.base)}"
    folder = _folder(name)
    if folder is None:
        return f"{name.partition('@')[0]}@{_revision(name)}"
    base = adapter_base(folder)
    files = sorted({file for pattern in (*WEIGHTS, *SETTINGS) for file in folder.glob(pattern) if file.is_file()})
    if not any(file.suffix in {".safetensors", ".bin", ".gguf"} for file in files):
        raise MissingFile(f"the folder {str(folder)!r} holds no weights (*.safetensors): is it a saved model?")
    whole = hashlib.sha256()
    for file in files:
        whole.update(f"{file.name}\0{_hash_file(file)}\n".encode())
    return f"sha256:{whole.hexdigest()[:32]}" + (f"+{fingerprint(base)}" if base else "")


def adapter_base(folder: Path) -> str | None:
    """The name of the base model if `folder` holds a LoRA adapter, else None."""
    config = folder / "adapter_config.json"
    if not config.is_file():
        return None
    base = json.loads(config.read_text(encoding="utf-8")).get("base_model_name_or_path")
    if not base:
        raise InputError(f"{config} does not name its base model: set base_model_name_or_path, or merge the adapter")
    return str(base)


def load_tokenizer(name: str) -> Any:
    """The tokenizer of `name`; that of the base for an adapter that was saved without one."""
    with quiet_transformers() as transformers:
        folder = Path(resolve_model(name).path)
        base = adapter_base(folder)
        if base is not None and not (folder / "tokenizer_config.json").is_file():
            return load_tokenizer(base)
        return transformers.AutoTokenizer.from_pretrained(str(folder))


Quantised = Literal["nf4", "int8"]
"""How weights may be held in fewer bits: NormalFloat of 4 bits (QLoRA, arXiv:2305.14314), or 8-bit integers
(LLM.int8, arXiv:2208.07339)."""


def load_model(
    name: str,
    dtype: str = "auto",
    device: str = "auto",
    attention: str | None = None,
    quantised: Quantised | None = None,
) -> Any:
    """The causal language model `name`, in evaluation mode, with its adapter (if it is one) merged in.

    `dtype`: "auto" or one of DTYPES (see `pick_dtype`); `device`: "cpu", "cuda", "cuda:1" or "auto"; `attention`: an
    implementation by transformers' name ("sdpa", "flash_attention_2"), None for its own choice; `quantised`: holds
    the weights of its linear layers so, and computes in `dtype`. Raises InputError for a folder that transformers
    cannot read, or an implementation that is not there.
    """
    with quiet_transformers() as transformers:
        device = pick_device(device)
        wanted = getattr(import_torch(), pick_dtype(device, dtype))
        resolved = resolve_model(name)
        base = adapter_base(Path(resolved.path))
        if base is not None:
            if quantised is not None:
                raise InputError(
                    f"{resolved.path} is an adapter, which is merged into weights before these are held in fewer "
                    "bits: name the folder of a merged model"
                )
            try:
                import peft
            except ImportError as error:
                raise MissingExtra(f"the adapter {resolved.path}", "peft", "train") from error
            # Merged in float32, so that small updates are not rounded away before they add up.
            model = load_model(base, dtype="float32", device="cpu", attention=attention)
            merged = peft.PeftModel.from_pretrained(model, resolved.path).merge_and_unload()
            return merged.to(dtype=wanted, device=device).eval()
        try:
            model = transformers.AutoModelForCausalLM.from_pretrained(
                resolved.path,
                dtype=wanted,
                **({"attn_implementation": attention} if attention else {}),
                **({} if quantised is None else _in_fewer_bits(transformers, quantised, wanted, device)),
            )
        except (OSError, ValueError, KeyError, ImportError) as error:
            raise InputError(
                f"the model {name!r} cannot be loaded from {resolved.path}: {first_line(error)}"
            ) from error
        return (model if quantised else model.to(device)).eval()


def _in_fewer_bits(transformers: Any, quantised: Quantised, dtype: Any, device: str) -> dict[str, Any]:
    """What `from_pretrained` is given for it. Raises MissingExtra."""
    needs_bitsandbytes()
    if quantised == "int8":
        config = transformers.BitsAndBytesConfig(load_in_8bit=True)
    else:
        config = transformers.BitsAndBytesConfig(
            load_in_4bit=True,
            bnb_4bit_quant_type="nf4",
            bnb_4bit_use_double_quant=True,
            bnb_4bit_compute_dtype=dtype,
        )
    return {"quantization_config": config, "device_map": {"": device}}


def needs_bitsandbytes() -> None:
    """Raises MissingExtra where it is not installed."""
    if importlib.util.find_spec("bitsandbytes") is None:
        raise MissingExtra("holding weights in fewer bits", "bitsandbytes", "qlora")


def pick_device(device: str = "auto") -> str:
    """`device`, or for "auto" the first GPU where there is one, else the CPU."""
    if device != "auto":
        return device
    return "cuda" if import_torch().cuda.is_available() else "cpu"


def pick_dtype(device: str, wanted: str = "auto") -> str:
    """The type of number that a model computes in on `device`: for teachers, students and engines alike.

    `wanted`: what the user named, one of DTYPES, which is taken as it is. "auto" is bfloat16 on a GPU, and on a CPU
    that multiplies it in hardware (avx512_bf16, amx_bf16); else float32. Without those instructions a CPU emulates
    bfloat16, several times slower than float32. Raises InputError for any other name.
    """
    if wanted in DTYPES:
        return wanted
    if wanted != "auto":
        raise InputError(f"dtype {wanted!r} is none of auto, {', '.join(DTYPES)}")
    if not device.startswith("cpu"):
        return "bfloat16"
    return "bfloat16" if cpu_flags() & {"avx512_bf16", "amx_bf16"} else "float32"


@functools.cache
def cpu_flags() -> frozenset[str]:
    """The instruction sets of this CPU as Linux names them; empty on systems that do not list them."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return frozenset()
    found = re.search(r"^flags\s*:(.*)$", text, re.MULTILINE)
    return frozenset(found.group(1).split()) if found else frozenset()


def _folder(name: str) -> Path | None:
    """The folder that `name` means, or None for a hub name."""
    path = at_home(name)
    if path.is_dir():
        return path
    if path.is_absolute() or name.startswith((".", "~")) or name.count("/") > 1 or path.is_file():
        raise MissingFile(f"there is no model folder {name!r}: give a folder that holds config.json, or a hub name")
    return None


def _shallow(part: shallow.Shallow) -> Path:
    """The folder of a model with fewer layers, made on first use."""
    named = hashlib.sha256(fingerprint(part.base).encode()).hexdigest()[:16]
    folder = embedded.models_cache() / f"shallow-{part.layers}-{named}"
    if embedded.whole(folder):
        return folder

    def make(work: Path) -> None:
        model = load_model(part.base, dtype="float32", device="cpu")
        shallow.drop_layers(model, part.layers)
        stored = json.loads((Path(resolve_model(part.base).path) / "config.json").read_text(encoding="utf-8"))
        with quiet_transformers():
            model.to(getattr(import_torch(), stored.get("dtype") or "float32")).save_pretrained(work)
            load_tokenizer(part.base).save_pretrained(work)

    return embedded.kept_in(folder, make)


def _hash_file(file: Path) -> str:
    """Of all that is in it: two students of one base may differ in a single layer. The hub's cache names large files
    by that hash, so that no large teacher is read for it; others are read once a process (about 1 GB/s)."""
    stored = file.resolve()
    if stored.parent.name == "blobs" and _SHA256.fullmatch(stored.name):
        return stored.name
    found = stored.stat()
    if found.st_size < LARGE:
        return _content(stored)
    return _content_once(stored, found.st_size, found.st_mtime_ns, found.st_ino)


@functools.lru_cache(maxsize=256)
def _content_once(file: Path, *_: int) -> str:
    """Of the file as its size, time and number say that it is."""
    return _content(file)


def _content(file: Path) -> str:
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


# -- the hub -----------------------------------------------------------------------------------------------------


def _snapshot(name: str) -> Path:
    """The hub model's folder in the local cache, fetched if it is not there. Raises MissingFile."""
    cached = _cached(name, FETCHED)
    if cached is not None and any((*cached.glob("*.safetensors"), *cached.glob("*.bin"))):
        return cached
    _revision(name)  # asks once, with a short time limit: downloads alone retry for minutes without a network
    try:
        found = _download(name, FETCHED)
        return found if any(found.glob("*.safetensors")) else _download(name, [*FETCHED, "*.bin"])
    except (OSError, ValueError, RuntimeError) as error:
        raise _not_fetched(name, error) from error


def _revision(name: str) -> str:
    """The commit that a hub name stands for: as cached, else as the hub says. Raises MissingFile."""
    cached = _cached(name, ["config.json", "adapter_config.json"])
    if cached is not None:
        return cached.name
    repo, _, wanted = name.partition("@")
    try:
        return str(_client().HfApi().model_info(repo, revision=wanted or "main", timeout=TIMEOUT_S).sha)
    except Exception as error:  # the client's exceptions have changed with its versions; all mean: not to be had
        raise _not_fetched(name, error) from error


def _cached(name: str, patterns: list[str]) -> Path | None:
    try:
        return _download(name, patterns, local_files_only=True)
    except (OSError, ValueError):
        return None  # not in the cache, or not a name that the hub takes: the hub's answer is the one to report


def _download(name: str, patterns: list[str], **options: Any) -> Path:
    repo, _, wanted = name.partition("@")
    options |= {"revision": wanted or "main", "allow_patterns": patterns, "ignore_patterns": ["*/*"]}
    return Path(_client().snapshot_download(repo, **options))


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
