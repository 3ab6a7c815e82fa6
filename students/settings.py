"""What a recipe may say about its student: `student:` in the YAML.

    student: {model: Qwen/Qwen3-0.6B, method: sft, lora: {r: 16, alpha: 32}, epochs: 2, learning_rate: 2.0e-4}
    student: {model: Qwen/Qwen3-0.6B, method: dpo, dpo: {beta: 0.1, sft_first: {epochs: 1}}, learning_rate: 5.0e-5}

An unknown key, an impossible value or a wrong type is refused by pydantic, which names it. What only the model
can tell (a module that is not there, a context that is too short) is refused when it is loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

LossType = Literal[
    "sigmoid",
    "hinge",
    "ipo",
    "exo_pair",
    "nca_pair",
    "robust",
    "bco_pair",
    "sppo_hard",
    "aot",
    "aot_unpaired",
    "apo_zero",
    "apo_down",
    "discopop",
    "sft",
    "sigmoid_norm",
]
"""The losses of trl's DPOTrainer, by its names."""

SMOOTHED = frozenset({"robust", "exo_pair", "aot", "aot_unpaired"})
"""Losses that look at `label_smoothing`; trl ignores it for the others."""


DPO_LEARNING_RATE = 5e-5


class LoraSettings(BaseModel):
    """A low-rank adapter (Hu et al. 2021, arXiv:2106.09685). Its update is scaled by alpha / r.

    `target_modules`: `all-linear` (every linear layer but the head), or names as peft takes them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    r: int = Field(default=16, ge=1, le=1024)
    alpha: float = Field(default=32, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    target_modules: str | tuple[str, ...] = "all-linear"


class SftFirst(BaseModel):
    """A supervised training on the chosen answers that goes before DPO; what comes out of it is DPO's reference."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    epochs: Annotated[float, Field(gt=0, le=1000)] = 1
    learning_rate: float = Field(default=2e-4, gt=0, le=1)


class DpoSettings(BaseModel):
    """Direct preference optimisation (Rafailov et al. 2023, arXiv:2305.18290) as trl has it.

    `beta`: how dear it is to leave the reference (for `ipo` its τ). `loss_type`: one or several, summed with
    `loss_weights` (1 each, where not given). `label_smoothing`: chance that a preference is the wrong way round, for
    the losses that use it. `ld_alpha`: weight of the tokens of the longer answer beyond the length of the shorter
    (LD-DPO, arXiv:2409.06411); None and 1 weigh all alike. `precompute_ref`: the reference's log-probabilities once
    before the first step, not in every epoch; without it the reward before the first step is 0 to the last bit, with
    it to rounding. `sft_first`: false for none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    beta: float = Field(default=0.1, gt=0)
    loss_type: Annotated[tuple[LossType, ...], Field(min_length=1)] = ("sigmoid",)
    loss_weights: tuple[float, ...] | None = None
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)
    ld_alpha: float | None = Field(default=None, ge=0, le=1)
    precompute_ref: bool = True
    sft_first: SftFirst | None = None

    @field_validator("loss_type", mode="before")
    @classmethod
    def _one_loss(cls, value: Any) -> Any:
        """`loss_type: sigmoid` reads as well as a list."""
        return (value,) if isinstance(value, str) else value

    @field_validator("sft_first", mode="before")
    @classmethod
    def _switch(cls, value: Any) -> Any:
        return on_or_off(value)

    @model_validator(mode="after")
    def _losses_fit(self) -> DpoSettings:
        if self.loss_weights is not None and len(self.loss_weights) != len(self.loss_type):
            raise ValueError(
                f"loss_weights has {len(self.loss_weights)} numbers, loss_type {len(self.loss_type)} losses: give "
                "one weight for each"
            )
        smoothed = SMOOTHED & set(self.loss_type)
        if self.label_smoothing and not smoothed:
            raise ValueError(
                f"label_smoothing is {self.label_smoothing}, which {', '.join(self.loss_type)} would ignore: choose "
                f"a loss_type of {', '.join(sorted(SMOOTHED))}, or leave it out"
            )
        if "exo_pair" in smoothed and not self.label_smoothing:
            raise ValueError("loss_type exo_pair needs a label_smoothing above 0: its paper takes 0.001")
        return self


class StudentSettings(BaseModel):
    """How a student is trained.

    `method`: `sft` on the accepted traces, or `dpo` on pairs, which `dpo` sets up; its learning rate is 5e-5 where
    none is given. For pairs, `batch_size` counts pairs, and `max_length` holds for prompt and the longer answer.

    `model`: a hub name, a local folder, or `embedded:…`. `lora`: null or false trains every weight. `batch_size`:
    rows in one pass; one step of the optimiser sees `batch_size × gradient_accumulation` rows. `max_length`:
    tokens of prompt and completion; longer rows are left out and counted, never cut. `warmup_ratio`: share of the
    steps. `dtype`, of training and of answering: `auto` is bfloat16 where the machine computes in it natively, else
    float32. `seed`: None takes the run's. `system`: the student's system prompt, in training and ever after; None
    leaves the rows' own.
    `save_merged`: also write the adapter merged into the weights, which is what every server can load.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(min_length=1)
    method: Literal["sft", "dpo"] = "sft"
    dpo: DpoSettings | None = None
    lora: LoraSettings | None = LoraSettings()
    epochs: Annotated[float, Field(gt=0, le=1000)] = 3
    learning_rate: float = Field(default=2e-4, gt=0, le=1)
    batch_size: int = Field(default=8, ge=1)
    gradient_accumulation: int = Field(default=1, ge=1)
    max_length: int = Field(default=2048, ge=8)
    warmup_ratio: float = Field(default=0.05, ge=0, lt=1)
    scheduler: Literal["linear", "cosine", "constant"] = "linear"
    weight_decay: float = Field(default=0.0, ge=0)
    max_grad_norm: float = Field(default=1.0, gt=0)
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    seed: int | None = Field(default=None, ge=0, lt=2**31)
    system: str | None = None
    save_merged: bool = True

    @field_validator("lora", mode="before")
    @classmethod
    def _no_lora(cls, value: Any) -> Any:
        """`lora: false` reads as well as `lora: null`, and `lora: true` as the defaults."""
        return on_or_off(value)

    @model_validator(mode="before")
    @classmethod
    def _defaults_of_dpo(cls, values: Any) -> Any:
        """What only DPO has by default, so that a resolved recipe spells it out."""
        if not isinstance(values, Mapping) or values.get("method") != "dpo":
            return values
        given = dict(values)
        given["dpo"] = {} if given.get("dpo") is None else given["dpo"]
        return {"learning_rate": DPO_LEARNING_RATE} | given

    @model_validator(mode="after")
    def _method_fits(self) -> StudentSettings:
        if self.dpo is None:
            return self
        if self.method != "dpo":
            raise ValueError("there are settings for dpo, but method is sft: set method: dpo, or leave dpo out")
        if self.lora is None and not self.dpo.precompute_ref:
            raise ValueError(
                "dpo.precompute_ref is false and lora is off: the reference would be a second copy of the model in "
                "memory. Set precompute_ref: true, or train a lora"
            )
        if self.lora is not None and self.lora.dropout:
            raise ValueError(
                f"lora.dropout is {self.lora.dropout}, but trl switches dropout off for dpo: leave it out"
            )
        return self

    @property
    def learns_from(self) -> Literal["rows", "pairs"]:
        """What it is trained on."""
        return "pairs" if self.method == "dpo" else "rows"


def on_or_off(value: Any) -> Any:
    """A block that `false` leaves out, and `true` takes with its defaults."""
    if value is False:
        return None
    return {} if value is True else value
