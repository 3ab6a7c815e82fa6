"""What a recipe may say about its student: `student:` in the YAML.

    student: {model: Qwen/Qwen3-0.6B, method: sft, lora: {r: 16, alpha: 32}, epochs: 2, learning_rate: 2.0e-4}

An unknown key, an impossible value or a wrong type is refused by pydantic, which names it. What only the model
can tell (a module that is not there, a context that is too short) is refused when it is loaded.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator


class LoraSettings(BaseModel):
    """A low-rank adapter (Hu et al. 2021, arXiv:2106.09685). Its update is scaled by alpha / r.

    `target_modules`: `all-linear` (every linear layer but the head), or names as peft takes them.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    r: int = Field(default=16, ge=1, le=1024)
    alpha: float = Field(default=32, gt=0)
    dropout: float = Field(default=0.0, ge=0, lt=1)
    target_modules: str | tuple[str, ...] = "all-linear"


class StudentSettings(BaseModel):
    """How a student is trained.

    `model`: a hub name, a local folder, or `embedded:…`. `lora`: null or false trains every weight. `batch_size`:
    rows in one pass; one step of the optimiser sees `batch_size × gradient_accumulation` rows. `max_length`:
    tokens of prompt and completion; longer rows are left out and counted, never cut. `warmup_ratio`: share of the
    steps. `dtype`: `auto` is bfloat16 where the machine computes in it natively, else float32. `seed`: None takes
    the run's. `system`: the student's system prompt, in training and ever after; None leaves the rows' own.
    `save_merged`: also write the adapter merged into the weights, which is what every server can load.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: str = Field(min_length=1)
    method: Literal["sft"] = "sft"
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
        if value is False:
            return None
        return {} if value is True else value
