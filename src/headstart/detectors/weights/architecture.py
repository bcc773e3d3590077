"""What the keys and shapes of a state dict say: which ResNet it holds, how many layers, how wide they are."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from torch import Tensor

from headstart.detectors.weights.key_mapping import name_in_file
from headstart.errors import UserError
from headstart.heads.roi import cell_by_cell

RESNETS: dict[tuple[bool, tuple[int, ...], int, int], str] = {
    (False, (2, 2, 2, 2), 64, 64): "resnet18",
    (False, (3, 4, 6, 3), 64, 64): "resnet34",
    (True, (3, 4, 6, 3), 64, 64): "resnet50",
    (True, (3, 4, 23, 3), 64, 64): "resnet101",
    (True, (3, 8, 36, 3), 64, 64): "resnet152",
    (True, (3, 4, 6, 3), 128, 4): "resnext50_32x4d",
    (True, (3, 4, 23, 3), 128, 4): "resnext101_32x4d",
    (True, (3, 4, 23, 3), 256, 8): "resnext101_32x8d",
    (True, (3, 4, 23, 3), 256, 4): "resnext101_64x4d",
    (True, (3, 4, 6, 3), 128, 128): "wide_resnet50_2",
    (True, (3, 4, 23, 3), 128, 128): "wide_resnet101_2",
}
"""(bottleneck blocks or basic ones, blocks per stage, output channels of the first 3x3 convolution, its input channels
per group) -> timm's name."""


def name_resnet(tensors: Mapping[str, Tensor], prefix: str) -> str:
    """timm's name of the ResNet whose keys begin with `prefix`. Raises UserError if it is none of `RESNETS`.

    The 3x3 convolution that decides has a weight (out, in / groups, 3, 3).
    """
    blocks: dict[int, set[int]] = {}
    for key in tensors:
        found = re.match(re.escape(prefix) + r"layer(\d+)\.(\d+)\.", key)
        if found:
            blocks.setdefault(int(found[1]), set()).add(int(found[2]))
    counts = tuple(len(blocks.get(stage, ())) for stage in range(1, 5))
    bottleneck = f"{prefix}layer1.0.conv3.weight" in tensors
    middle = tensors.get(f"{prefix}layer1.0.conv2.weight")
    known = middle is not None and middle.dim() == 4
    name = RESNETS.get((bottleneck, counts, middle.shape[0], middle.shape[1])) if known else None
    if name is None:
        shape = "?" if middle is None else "x".join(str(side) for side in middle.shape)
        raise UserError(
            f"has a ResNet of {'-'.join(map(str, counts))} blocks whose first 3x3 convolution is {shape}; that is not "
            "known: expected ResNet-18 to 152, ResNeXt or wide ResNet"
        )
    return name


def count_layers(tensors: Mapping[str, Tensor], pattern: str) -> int:
    """How many different values the first group of `pattern` has among the keys that it matches."""
    return len({found[1] for key in tensors if (found := re.fullmatch(pattern, key))})


def shape_of(tensors: Mapping[str, Tensor], name: str, dims: int) -> tuple[int, ...]:
    """The shape of the tensor called `name`.

    Raises UserError if it is missing, empty or has other than `dims` dimensions.
    """
    tensor = tensors.get(name)
    if tensor is None:
        raise UserError(f"lacks {name}")
    if tensor.dim() != dims or 0 in tensor.shape:
        raise UserError(f"has {name} of shape {tuple(tensor.shape)}, expected {dims} sides")
    return tuple(tensor.shape)


def take_rows(tensors: Mapping[str, Tensor], name: str, rows: int, file_keys: Mapping[str, str]) -> Tensor:
    """The tensor (rows, ...) called `name`; `file_keys`: our key -> the file's, for the errors.

    Raises UserError if it is missing, empty or has another number of rows.
    """
    tensor = tensors.get(name)
    if tensor is None:
        raise UserError(f"lacks {name_in_file(name, file_keys)}")
    if tensor.dim() == 0 or len(tensor) != rows or tensor.numel() == 0:
        raise UserError(f"has {file_keys.get(name, name)} of shape {tuple(tensor.shape)}, expected {rows} rows")
    return tensor


def order_crops(tensors: dict[str, Tensor], name: str, width: int) -> None:
    """Reorders, in place of `tensors`, the inputs of the first fully connected layer (hidden, C * G * G) of a box head.

    Other libraries flatten a crop (C, G, G) channel by channel; here it is flattened cell by cell, (G, G, C). C is
    `width`. Raises UserError if the layer does not read square crops of that many channels.
    """
    inputs = shape_of(tensors, name, 2)[1]
    grid = math.isqrt(inputs // width)
    if grid == 0 or grid * grid * width != inputs:
        raise UserError(f"has a box head whose first layer, {name}, reads no crops of {width} channels")
    tensors[name] = cell_by_cell(tensors[name], grid)
