"""CPU seconds of one training step of every dense head, beside RetinaNet's on the same backbone.

A step is forward, backward, clipping to norm 20 and SGD, on one thread and on random images with about 7 boxes each, as
in step_time.py. All heads take turns in every round; a head's figure is the median of its rounds' CPU time.
With --students: RTMDet-tiny and YOLOX-tiny on their own bodies, and the same two with assignment and losses written
plainly after mmdetection, beside RetinaNet.

    python benchmarks/heads_time.py [--students] [--rounds 5] [--size 320] [--batch 2] [--boxes 7] [--backbone r18]
        [--width 256] [--json]
"""

from __future__ import annotations

import argparse
import copy
import json
import statistics
from collections.abc import Iterable
from functools import partial

import torch
from parts.plain_students import plain_losses
from step_time import CLASSES, FP32, Batch, Mode, draw_batch, measure, our_mode

from headstart.detectors.zoo import FAMILIES, build_detector
from headstart.engine.optim import build_optimizer
from headstart.heads.dense import DenseHead
from headstart.methods import build_method

FIRST = "retinanet"

STUDENTS = {"rtmdet_tiny": {}, "yolox_tiny": {"assigner": "mmdetection"}}
"""Names and options; YOLOX assigns as the plain version does."""


def build_modes(families: Iterable[str], batch: Batch, options: argparse.Namespace) -> dict[str, Mode]:
    """A plain training of every one of these families with a dense head, on the same batch."""
    modes = {}
    for family in families:
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


def build_students(batch: Batch) -> dict[str, Mode]:
    """The students as they are, each beside a copy whose assignment and losses are written plainly."""
    modes = {}
    for name, given in STUDENTS.items():
        torch.manual_seed(0)
        method = build_method("baseline", build_detector(name, CLASSES, pretrained=False, **given))
        other = copy.deepcopy(method).train()
        modes[name] = our_mode(method, batch, FP32)
        modes[f"{name}_plainly"] = Mode(
            partial(plain_losses, other.student, *batch), list(other.parameters()), build_optimizer(other, lr=1e-3)
        )
    return modes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--students", action="store_true", help="RTMDet-tiny and YOLOX-tiny in place of all heads")
    for option, value in {"rounds": 5, "size": 320, "batch": 2, "boxes": 7, "width": 256}.items():
        parser.add_argument(f"--{option}", type=int, default=value)
    parser.add_argument("--backbone", default="r18", help="one of the short names of `headstart models`")
    parser.add_argument("--json", action="store_true", help="print one line of json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    batch = draw_batch(options.batch, options.size, options.boxes)
    modes = build_modes([FIRST] if options.students else FAMILIES, batch, options)
    if options.students:
        modes |= build_students(batch)
    measure(modes, options.rounds)
    seconds = {family: statistics.median(mode.seconds) for family, mode in modes.items()}
    ratios = {family: value / seconds[FIRST] for family, value in seconds.items()}
    plainly = {name: seconds[name] / seconds[f"{name}_plainly"] for name in STUDENTS if name in seconds}
    if options.json:
        print(json.dumps({"ratios": ratios, "seconds": seconds, "vs_plainly": plainly}))
        return
    print(f"CPU seconds of a step: {options.batch} images, {options.size} px, one thread, {options.rounds} rounds\n")
    print(f"  {options.backbone + ', ' + str(options.width) + ' channels':24}{'seconds':>9}{'/ ' + FIRST:>13}")
    for family, value in seconds.items():
        print(f"  {family:24}{value:9.3f}{ratios[family]:13.2f}")
    for name, ratio in plainly.items():
        print(f"\n  {name} / written plainly: {ratio:.3f}", end="")
    print()


if __name__ == "__main__":
    main()
