"""Small tensors of fixed numbers, made once per device: copying them there anew makes the host wait for it."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor


def cached_tensor(values: Sequence[Any], dtype: torch.dtype, device: torch.device | str | None) -> Tensor:
    """A tensor of these numbers (or rows of numbers). It is shared: never change it in place."""
    rows = tuple(tuple(value) if isinstance(value, Sequence) else value for value in values)
    return _made(rows, dtype, torch.device(device or "cpu"))


@functools.lru_cache(maxsize=256)
def _made(values: tuple[Any, ...], dtype: torch.dtype, device: torch.device) -> Tensor:
    with torch.inference_mode(False):  # what is made in inference mode cannot be used for training afterwards
        return torch.tensor(values, dtype=dtype, device=device)
