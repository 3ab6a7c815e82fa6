"""A trained student on disk: the adapter, the merged model, and the record of how it was made.

    student/
      adapter/        the LoRA, if there is one           training.json   settings, seed, versions, losses, rows
      merged/         model, tokenizer, chat template, generation_config

The folder appears whole or not at all: it is written next to its place, then renamed.

Merged weights are rounded to bfloat16 at random, up or down, each with the chance that keeps its value on average
(Gupta et al. 2015, arXiv:1502.02551). Training adds mostly less than a step of bfloat16 to a weight, and rounding to
the nearest would undo it: of a LoRA trained with DPO on SmolLM2, 41 % of the learned preference was gone after
merging. The same seed gives the same weights; a weight that is on the grid stays as it is.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from stillroom.common.files import share
from stillroom.common.models.resolve import load_model
from stillroom.common.secrets import named_in
from stillroom.errors import NoRoom, StillroomError
from stillroom.students.methods.registry import StudentSettings
from stillroom.students.records import Plan

RECORD = "training.json"
ADAPTER = "adapter"
MERGED = "merged"


def merge_adapter(trained: Any, dtype: Any, seed: int) -> Any:
    """The base model with the LoRA added to its weights, in `dtype`. `trained`: a peft model, at its last use."""
    import peft
    import torch

    generator_on = _generators(seed)
    with torch.no_grad():
        for module in trained.modules():
            if isinstance(module, peft.tuners.tuners_utils.BaseTunerLayer):
                weight = module.get_base_layer().weight
                if module.use_dora["default"]:  # its magnitudes scale the base's weights, too
                    weight.data = weight.float()
                    module.merge(adapter_names=["default"])
                    whole = weight.data
                else:
                    whole = weight.float() + module.get_delta_weight("default").float()
                weight.data = rounded(whole, dtype, generator_on(weight.device))
    return trained.unload().to(dtype)


def merge_into(plain: Any, trained: Any, seed: int) -> Any:
    """`plain`, the base with weights in full, with the weights that the adapter was trained on (those of fewer bits)
    and the adapter added to them, in the dtype of `plain`. `trained`: a peft model."""
    import peft
    import torch
    from peft.utils.integrations import dequantize_module_weight

    generator_on = _generators(seed)
    with torch.no_grad():
        for name, module in trained.get_base_model().named_modules():
            if isinstance(module, peft.tuners.tuners_utils.BaseTunerLayer):
                held = dequantize_module_weight(module.get_base_layer()).float()
                whole = held + module.get_delta_weight("default").float()
            elif isinstance(module, peft.utils.ModulesToSaveWrapper):
                whole = module.modules_to_save["default"].weight.float()
            else:
                continue
            weight = plain.get_submodule(name).weight
            weight.data = rounded(whole, weight.dtype, generator_on(whole.device)).to(weight.device)
    return plain


def round_weights(model: Any, dtype: Any, seed: int) -> Any:
    """The model with its weights in `dtype`."""
    generator_on = _generators(seed)
    for weight in model.parameters():
        weight.grad = None  # it would have to be of the same dtype
        weight.data = rounded(weight.data, dtype, generator_on(weight.device))
    return model.to(dtype)


def rounded(values: Any, dtype: Any, generator: Any) -> Any:
    """`values` (float32) in `dtype`: at random up or down for bfloat16, as they are for float32."""
    import torch

    if dtype != torch.bfloat16:
        return values.to(dtype)
    # bfloat16 is the upper half of a float32: a random lower half is added, and the sum cut off.
    bits = values.float().contiguous().view(torch.int32)
    noise = torch.randint(0, 1 << 16, bits.shape, dtype=torch.int32, device=bits.device, generator=generator)
    return ((bits + noise) & -(1 << 16)).view(torch.float32).to(dtype)


def _generators(seed: int) -> Callable[[Any], Any]:
    """From a device to its random generator, all of one seed."""
    import torch

    return cache(lambda device: torch.Generator(device=device).manual_seed(seed))


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """A folder to write into that becomes `out` at the end, in place of what was there; gone if anything fails."""
    work = out.with_name(f".{out.name}.part")
    try:
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        yield work
        # An earlier student steps aside first, and is removed last.
        old = out.with_name(f".{out.name}.old")
        shutil.rmtree(old, ignore_errors=True)
        if out.exists():
            out.rename(old)
        work.rename(out)
        shutil.rmtree(old, ignore_errors=True)
    except StillroomError:
        raise  # some are OSErrors too (a missing model), and say already what they are
    except OSError as error:
        raise _unwritable(out, error) from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def save_student(trained: Any, tokenizer: Any, work: Path, settings: StudentSettings, plan: Plan) -> None:
    """Writes the adapter (of a LoRA), and the whole model if asked or if there is no adapter.

    `trained`: the peft model or the model itself; its adapter is merged in, so it is the last use of it.
    """
    import torch
    from safetensors import SafetensorError

    try:
        if settings.lora:
            trained.peft_config["default"].base_model_name_or_path = settings.model
            # False: nothing of ours resizes the vocabulary, and to find that out peft would ask the hub for the base.
            trained.save_pretrained(str(work / ADAPTER), save_embedding_layers=False)
            (work / ADAPTER / "README.md").unlink(missing_ok=True)  # peft's card, all of it still to be filled in
            tokenizer.save_pretrained(str(work / ADAPTER))
        if settings.save_merged or not settings.lora:
            if settings.lora and settings.lora.quantise:
                plain = load_model(settings.model, dtype=plan.dtype, device="cpu")
                model = merge_into(plain, trained, plan.seed)
            else:
                lower = merge_adapter if settings.lora else round_weights
                model = lower(trained, getattr(torch, plan.dtype), plan.seed)
            # What must agree between the model and its tokenizer: the end of a turn, and padding.
            known = model.generation_config.eos_token_id
            others = [known] if isinstance(known, int) else list(known or ())
            ends = list(dict.fromkeys([tokenizer.eos_token_id, *others]))
            model.generation_config.eos_token_id = ends if len(ends) > 1 else ends[0]
            model.generation_config.pad_token_id = tokenizer.pad_token_id
            model.config.eos_token_id, model.config.pad_token_id = tokenizer.eos_token_id, tokenizer.pad_token_id
            model.config.use_cache = True
            model.save_pretrained(str(work / MERGED))
            tokenizer.save_pretrained(str(work / MERGED))
        for weights in work.rglob("*.safetensors"):
            share(weights)
    except SafetensorError as error:  # what its writer raises for a full disk; it is not an OSError
        raise _unwritable(work, error) from error


def write_record(record: dict[str, Any], work: Path) -> None:
    """Writes training.json. Of what the environment gave, it has the names."""
    text = json.dumps(named_in(record), indent=2, ensure_ascii=False, allow_nan=False)
    (work / RECORD).write_text(text + "\n", encoding="utf-8")


def read_record(out: Path) -> dict[str, Any] | None:
    """What training.json says, or None if no student was finished in `out`."""
    try:
        record = json.loads((out / RECORD).read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None
    return record if isinstance(record, dict) else None


def _unwritable(out: Path, error: Exception) -> NoRoom:
    return NoRoom(f"the student cannot be written to {out}: {error}. Free some space or choose another folder")
