"""Which number format and memory layout a device is fast with."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch

from headstart.errors import UserError


@dataclass(frozen=True)
class Precision:
    """dtype that forward passes are cast to (None: float32 throughout), and whether convolutions are channels_last."""

    dtype: torch.dtype | None = None
    channels_last: bool = False

    def autocast(self, device: torch.device) -> AbstractContextManager:
        """The context for forward passes on `device`."""
        return torch.autocast(device.type, dtype=self.dtype or torch.bfloat16, enabled=self.dtype is not None)

    @property
    def name(self) -> str:
        """As `train.precision` calls it."""
        return "bf16" if self.dtype is torch.bfloat16 else "fp32"


def choose_precision(
    wanted: Literal["auto", "fp32", "bf16"], channels_last: bool | Literal["auto"], device: torch.device
) -> Precision:
    """`auto` is bf16 only where the hardware computes with it, channels_last only where it pays there.

    A processor without bf16 instructions emulates them many times slower than float32 (measured on AVX2).
    """
    native = has_bf16(device)
    if wanted == "bf16" and device.type == "cuda" and not native:
        raise UserError("precision bf16 needs a GPU of compute capability 8.0 or newer. Use precision fp32.")
    dtype = torch.bfloat16 if wanted == "bf16" or (wanted == "auto" and native) else None
    layout = dtype is not None if channels_last == "auto" else channels_last
    return Precision(dtype, layout)


def has_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bf16 natively."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device)[0] >= 8
    if device.type == "cpu":
        return bool({"avx512_bf16", "amx_bf16"} & _cpu_flags())
    return False


def _cpu_flags() -> set[str]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return set()
    return next((set(line.split()) for line in lines if line.startswith("flags")), set())
