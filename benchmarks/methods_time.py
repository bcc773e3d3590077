"""CPU seconds of one training step by each method in units of the plain student's, and what it keeps in memory.

Steps as in step_time.py: a GFL-R18 student or another, a teacher on R50, noise with about 7 boxes an image, one thread.
All modes take turns in every round; a figure is the median of the rounds. Memory is what autograd keeps for the
backward pass, plus what the method trains besides the student. A method that a pair cannot have is named, with the
reason.

    python benchmarks/methods_time.py [--methods mimic crosskd ...] [--rounds 5] [--size 320] [--batch 2] [--width 256]
        [--student gfl_r18] [--teacher gfl_r50] [--bf16] [--json]
"""

from __future__ import annotations

import argparse
import copy
import json
import sys

import torch
from step_time import BF16, CLASSES, FP32, Mode, draw_batch, freeze, make_student, measure, medians, our_mode
from torch import Tensor

from headstart.detectors.zoo import build_detector
from headstart.engine.memory import keep_freed_memory
from headstart.errors import UserError
from headstart.methods import METHODS, build_method


def build_modes(options: argparse.Namespace) -> dict[str, Mode]:
    """The plain student, and each method with a teacher of its own."""
    batch, precision = draw_batch(options.batch, options.size), BF16 if options.bf16 else FP32
    torch.manual_seed(0)
    student = make_student(options.student, width=options.width)
    teacher = build_detector(options.teacher, CLASSES, pretrained=False, width=options.width)
    modes = {"plain": our_mode(build_method("baseline", copy.deepcopy(student)), batch, precision)}
    for method in options.methods:
        try:
            made = build_method(method, copy.deepcopy(student), freeze(teacher, precision))
        except UserError as error:
            print(f"{method}: {error}", file=sys.stderr)
        else:
            modes[method] = our_mode(made, batch, precision)
    return modes


def kept(mode: Mode) -> int:
    """Bytes of the tensors that autograd keeps for the backward pass of one step, each storage once."""
    seen: dict[int, int] = {}

    def note(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        seen[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
        total = mode.loss()
    del total
    return sum(seen.values())


def main() -> None:
    known = [name for name in METHODS if name != "baseline"]
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    for option, value in {"rounds": 5, "size": 320, "batch": 2, "width": 256}.items():
        parser.add_argument(f"--{option}", type=int, default=value)
    parser.add_argument("--methods", nargs="+", default=known, help="also several joined by +")
    parser.add_argument("--student", default="gfl_r18")
    parser.add_argument("--teacher", default="gfl_r50")
    parser.add_argument("--bf16", action="store_true", help="everything in bf16, for processors that have it")
    parser.add_argument("--json", action="store_true", help="print one line of json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    modes = build_modes(options)
    measure(modes, options.rounds)
    seconds, teacher = medians(modes)
    memory = {name: kept(mode) + 4 * sum(p.numel() for p in mode.parameters) for name, mode in modes.items()}
    plain = seconds["plain"]
    found = {
        name: {
            "seconds": value,
            "vs_plain": value / plain,
            "teacher": teacher[name] / plain,
            "vs_plain_and_teacher": value / (plain + teacher[name]),
            "extra_mb": (memory[name] - memory["plain"]) / 2**20,
        }
        for name, value in seconds.items()
    }
    if options.json:
        print(json.dumps(found))
        return
    print(f"CPU seconds of a step: {options.batch} images, {options.size} px, one thread, {options.rounds} rounds\n")
    print(f"  {'':14}{'seconds':>9}{'/ plain':>9}{'teacher':>9}{'/ (plain + teacher)':>21}{'extra MB':>10}")
    for name, row in found.items():
        print(
            f"  {name:14}{row['seconds']:9.3f}{row['vs_plain']:9.2f}{row['teacher']:9.2f}"
            f"{row['vs_plain_and_teacher']:21.2f}{row['extra_mb']:10.1f}"
        )


if __name__ == "__main__":
    main()
