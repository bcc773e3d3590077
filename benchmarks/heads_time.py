"""CPU seconds of one training step of every dense head, beside RetinaNet's on the same backbone.

A step is forward, backward, clipping to norm 20 and SGD, on one thread and on random images with about 7 boxes each, as
in step_time.py. All heads take turns in every round; a head's figure is the median of its rounds' CPU time.

    python benchmarks/heads_time.py [--rounds 5] [--size 320] [--batch 2] [--backbone r18] [--width 256] [--json]
"""

from __future__ import annotations

import argparse
import json
import statistics

import torch
from step_time import CLASSES, FP32, Mode, draw_batch, measure, our_mode

from headstart.detectors.zoo import FAMILIES, build_detector
from headstart.heads.dense import DenseHead
from headstart.methods import build_method

FIRST = "retinanet"


def build_modes(options: argparse.Namespace) -> dict[str, Mode]:
    """A plain training of every family with a dense head, on the same batch."""
    batch = draw_batch(options.batch, options.size)
    modes = {}
    for family in FAMILIES:
        torch.manual_seed(0)
        student = build_detector(
            f"{family}_{options.backbone}",
            CLASSES,
            pretrained=False,
            width=options.width,
            frozen_stages=1,
            norm_eval=True,
        )
        if isinstance(student.head, DenseHead):
            modes[family] = our_mode(build_method("baseline", student), batch, FP32)
    return modes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for option, value in {"rounds": 5, "size": 320, "batch": 2, "width": 256}.items():
        parser.add_argument(f"--{option}", type=int, default=value)
    parser.add_argument("--backbone", default="r18", help="one of the short names of `headstart models`")
    parser.add_argument("--json", action="store_true", help="print one line of json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    modes = build_modes(options)
    measure(modes, options.rounds)
    seconds = {family: statistics.median(mode.seconds) for family, mode in modes.items()}
    ratios = {family: value / seconds[FIRST] for family, value in seconds.items()}
    if options.json:
        print(json.dumps({"ratios": ratios, "seconds": seconds}))
        return
    print(f"CPU seconds of a step: {options.batch} images, {options.size} px, one thread, {options.rounds} rounds\n")
    print(f"  {options.backbone + ', ' + str(options.width) + ' channels':24}{'seconds':>9}{'/ ' + FIRST:>13}")
    for family, value in seconds.items():
        print(f"  {family:24}{value:9.3f}{ratios[family]:13.2f}")


if __name__ == "__main__":
    main()
