"""CPU seconds of deformable convolution as a sparse product (`headstart.heads.deformable`) beside torchvision's kernel.

Forward and backward on one thread, at the sizes of RepPoints' head; a plain convolution of the same size shows what the
free sampling costs. All take turns in every round; a figure is the median of the rounds' CPU time.

    python benchmarks/deformable.py [--rounds 5] [--size 320] [--batch 2] [--channels 256] [--json]
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.ops import deform_conv2d

from headstart.heads.deformable import DeformableConv

STRIDES = (8, 16, 32, 64, 128)


def draw_maps(batch: int, channels: int, size: int) -> list[tuple[Tensor, Tensor]]:
    """(features, offsets) of every level; taps lie some two cells off their places, as around an object."""
    generator = torch.Generator().manual_seed(0)
    maps = []
    for stride in STRIDES:
        side = -(-size // stride)
        features = torch.randn(batch, channels, side, side, generator=generator)
        offsets = torch.randn(batch, 18, side, side, generator=generator) * 2
        maps.append((features.requires_grad_(), offsets.requires_grad_()))
    return maps


def build_layers(channels: int) -> dict[str, Callable[[Tensor, Tensor], Tensor]]:
    layer = DeformableConv(channels, channels)
    return {
        "ours": layer,
        "torchvision": lambda x, offsets: deform_conv2d(x, offsets, layer.weight, padding=(1, 1)),
        "convolution": lambda x, offsets: functional.conv2d(x, layer.weight, padding=1),
    }


def measure(
    layers: dict[str, Callable[[Tensor, Tensor], Tensor]], maps: list[tuple[Tensor, Tensor]], rounds: int
) -> dict[str, tuple[float, float]]:
    """Seconds of (forward, backward) of each over all levels; one round before is not counted."""
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in layers}
    for turn in range(rounds + 1):
        for name, layer in layers.items():
            begin = time.process_time()
            results = [layer(x, offsets) for x, offsets in maps]
            middle = time.process_time()
            torch.autograd.backward(results, [torch.ones_like(x) for x in results])
            if turn:
                spent[name].append((middle - begin, time.process_time() - middle))
    return {name: tuple(statistics.median(part) for part in zip(*times)) for name, times in spent.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for option, value in {"rounds": 5, "size": 320, "batch": 2, "channels": 256}.items():
        parser.add_argument(f"--{option}", type=int, default=value)
    parser.add_argument("--json", action="store_true", help="print one line of json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    maps = draw_maps(options.batch, options.channels, options.size)
    seconds = measure(build_layers(options.channels), maps, options.rounds)
    ratio = sum(seconds["ours"]) / sum(seconds["torchvision"])
    if options.json:
        print(json.dumps({"ratio": ratio, "seconds": seconds}))
        return
    print(f"{options.batch} images, {options.size} px, {options.channels} channels; CPU seconds")
    print(f"{'':16}{'forward':>9}{'backward':>9}{'ours / torchvision':>20}")
    for name, (forward, backward) in seconds.items():
        print(f"{name:16}{forward:9.3f}{backward:9.3f}{f'{ratio:20.2f}' if name == 'ours' else ''}")


if __name__ == "__main__":
    main()
