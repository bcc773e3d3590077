"""CPU seconds of RoIAlign as a sparse product (`headstart.heads.pooling`) beside torchvision's kernel.

Forward and backward on one thread, at the sizes of HEAD's assistant (strides 8 to 64) and of its teacher (4 to 32).
Both take turns in every round; a figure is the median of the rounds' CPU time.

    python benchmarks/pooling.py [--rounds 7] [--size 320] [--batch 2] [--regions 512] [--channels 256] [--json]
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torchvision.ops import MultiScaleRoIAlign

from headstart.heads.roi import BoxHead, BoxHeadOptions

CASES = {"assistant": (8, 16, 32, 64), "teacher": (4, 8, 16, 32)}


def draw_boxes(images: int, regions: int, size: int) -> list[Tensor]:
    """Boxes of many sizes, small ones more often."""
    generator = torch.Generator().manual_seed(0)
    boxes = []
    for _ in range(images):
        corner = torch.rand(regions, 2, generator=generator) * size * 0.7
        side = torch.rand(regions, 2, generator=generator) ** 2 * size * 0.6 + 4
        boxes.append(torch.cat([corner, (corner + side).clamp(max=size)], dim=1))
    return boxes


def build_readers(
    strides: Sequence[int], maps: list[Tensor], boxes: list[Tensor], size: int
) -> dict[str, Callable[[], Tensor]]:
    """Both ways to (R, C, 7, 7). torchvision's takes ceil(side / 7) samples per cell, as ours; its boxes are not
    shifted by half a cell, which changes the numbers but not the work."""
    head = BoxHead(1, maps[0].shape[1], strides, BoxHeadOptions(hidden=1))
    named = {str(level): m for level, m in enumerate(maps)}
    first = int(math.log2(strides[0]))
    kernel = MultiScaleRoIAlign(list(named), 7, sampling_ratio=-1, canonical_scale=56, canonical_level=first)
    sizes = [(size, size)] * len(boxes)
    return {"ours": lambda: head.pool(maps, boxes), "torchvision": lambda: kernel(named, boxes, sizes)}


def measure(readers: dict[str, Callable[[], Tensor]], rounds: int) -> dict[str, tuple[float, float]]:
    """Seconds of (forward, backward) of each; one round before is not counted."""
    spent: dict[str, list[tuple[float, float]]] = {name: [] for name in readers}
    for turn in range(rounds + 1):
        for name, read in readers.items():
            begin = time.process_time()
            crops = read()
            middle = time.process_time()
            crops.backward(torch.ones_like(crops, memory_format=torch.contiguous_format))
            if turn:
                spent[name].append((middle - begin, time.process_time() - middle))
    return {name: tuple(statistics.median(part) for part in zip(*times)) for name, times in spent.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for option, value in {"rounds": 7, "size": 320, "batch": 2, "regions": 512, "channels": 256}.items():
        parser.add_argument(f"--{option}", type=int, default=value)
    parser.add_argument("--json", action="store_true", help="print one line of json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    boxes = draw_boxes(options.batch, options.regions, options.size)
    found = {}
    for case, strides in CASES.items():
        sides = [-(-options.size // stride) for stride in strides]
        maps = [torch.randn(options.batch, options.channels, side, side, requires_grad=True) for side in sides]
        seconds = measure(build_readers(strides, maps, boxes, options.size), options.rounds)
        found[case] = {"ratio": sum(seconds["ours"]) / sum(seconds["torchvision"]), "seconds": seconds}
    if options.json:
        print(json.dumps(found))
        return
    print(f"{options.batch} x {options.regions} regions, {options.channels} channels, {options.size} px; CPU seconds")
    print(f"{'':24}{'forward':>9}{'backward':>9}{'ours / torchvision':>20}")
    for case, row in found.items():
        for name, (forward, backward) in row["seconds"].items():
            ratio = f"{row['ratio']:20.2f}" if name == "ours" else ""
            print(f"{case + ', ' + name:24}{forward:9.3f}{backward:9.3f}{ratio}")


if __name__ == "__main__":
    main()
