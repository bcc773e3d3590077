"""CPU seconds of one training step: our plain RetinaNet-R18, torchvision's, and the same student distilled by HEAD.

A step is forward, backward, clipping to norm 20 and SGD, on one thread and on random images with about 7 boxes each.
All modes take turns in every round; a mode's figure is the median of its rounds' CPU time. See benchmarks/README.md for
what exactly is compared.

    python benchmarks/step_time.py [--rounds 5] [--size 320] [--batch 2] [--bf16 auto|yes|no] [--json]
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import json
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torchvision.models.detection import RetinaNet
from torchvision.models.detection.backbone_utils import resnet_fpn_backbone
from torchvision.ops.feature_pyramid_network import LastLevelP6P7

from headstart.detectors.detector import Detector
from headstart.detectors.zoo import build_detector
from headstart.engine.memory import keep_freed_memory
from headstart.engine.optim import build_optimizer, clip_gradients
from headstart.engine.precision import Precision, has_bf16
from headstart.engine.teacher import prepare_frozen
from headstart.methods import Frozen, Method, build_method
from headstart.structures import ImageBatch, Progress, Targets

CLASSES = [str(i) for i in range(80)]
LATER = Progress(5_000, 90_000, first_drop=60_000)
"""A step at which every warm-up is over."""
FP32, BF16 = Precision(), Precision(torch.bfloat16, channels_last=True)

NAMES = {
    "torchvision": "torchvision RetinaNet-R18",
    "plain": "plain RetinaNet-R18",
    "head": "HEAD, R50 teacher",
    "plain_bf16": "plain RetinaNet-R18, bf16",
    "head_bf16": "HEAD, R50 teacher, bf16",
}

Batch = tuple[ImageBatch, list[Targets]]


def draw_batch(images: int, size: int, boxes: int = 7) -> Batch:
    """Noise, with boxes of many sizes: as far as the time of a step goes, like photographs."""
    generator = torch.Generator().manual_seed(0)

    def random(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator)

    pixels = (random(images, 3, size, size) * 255).to(torch.uint8)
    targets = []
    for _ in range(images):
        corner = random(boxes, 2) * size * 0.7
        side = size * (0.06 + 0.5 * random(boxes, 2) ** 2)
        labels = (random(boxes) * len(CLASSES)).long()
        corners = torch.cat([corner, (corner + side).clamp(max=size)], dim=1)
        targets.append(Targets(corners, labels, torch.zeros(boxes, dtype=torch.bool)))
    sizes = [(size, size)] * images
    return ImageBatch(pixels, sizes, list(range(images)), sizes), targets


@dataclass
class Mode:
    """`loss()` is the forward pass of one step; `teacher` the CPU seconds of the teacher's part of each step.

    `regions`: how many HEAD compared in the last step, of the image that had fewest.
    """

    loss: Callable[[], Tensor]
    parameters: list[nn.Parameter]
    optimizer: torch.optim.Optimizer
    seconds: list[float] = field(default_factory=list)
    teacher: list[float] = field(default_factory=list)
    regions: int = 0

    def step(self) -> float:
        begin = time.process_time()
        self.loss().backward()
        clip_gradients(self.parameters, 20.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return time.process_time() - begin


def torchvision_mode(batch: Batch, size: int) -> Mode:
    """torchvision's RetinaNet, P6 and P7 from C5 as ours. Its norms are frozen whole; ours train their affine part."""
    images, targets = batch
    body = resnet_fpn_backbone(
        backbone_name="resnet18",
        weights=None,
        trainable_layers=3,
        returned_layers=[2, 3, 4],
        extra_blocks=LastLevelP6P7(512, 256),
    )
    model = RetinaNet(body, len(CLASSES), min_size=size, max_size=size).train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=1e-3, momentum=0.9, weight_decay=1e-4, fused=True)
    wanted = [{"boxes": t.boxes, "labels": t.labels} for t in targets]

    def loss() -> Tensor:
        losses = model([image.float() / 255 for image in images.pixels], wanted)
        return torch.stack(list(losses.values())).sum()

    return Mode(loss, parameters, optimizer)


def our_mode(method: Method, batch: Batch, precision: Precision) -> Mode:
    """One of the library's methods, as a run of this precision trains it."""
    if precision.channels_last:
        method.to(memory_format=torch.channels_last)
    parameters = [p for p in method.parameters() if p.requires_grad]
    mode = Mode(lambda: torch.zeros(()), parameters, build_optimizer(method.train(), lr=1e-3))

    def loss() -> Tensor:
        with precision.autocast(torch.device("cpu")), watched_teacher(method, mode):
            return method(*batch, LATER).total

    mode.loss = loss
    return mode


@contextlib.contextmanager
def watched_teacher(method: Method, mode: Mode) -> Iterator[None]:
    """Notes how long the teachers work, and at how many regions."""
    spent: list[float] = []
    under_way: list[str] = []
    names = ("features", "outputs", "taps", "at")
    asked = [(teacher, name, getattr(teacher, name)) for teacher in method.teachers for name in names]

    def watch(name: str, ask: Callable[..., object]) -> Callable[..., object]:
        def run(batch: ImageBatch, *places: list, **more: int) -> object:
            if under_way:  # one of the teacher's functions by another
                return ask(batch, *places, **more)
            if name == "at":
                mode.regions = min(len(boxes) for boxes in places[0])
            under_way.append(name)
            begin = time.process_time()
            found = ask(batch, *places, **more)
            spent.append(time.process_time() - begin)
            under_way.clear()
            return found

        return run

    for teacher, name, ask in asked:
        teacher.clear()
        setattr(teacher, name, watch(name, ask))
    yield
    for teacher, name, _ in asked:
        delattr(teacher, name)
    mode.teacher.append(sum(spent))


def make_student(name: str, **options: Any) -> Detector:
    """As it is when it starts from ImageNet weights."""
    return build_detector(name, CLASSES, pretrained=False, frozen_stages=1, norm_eval=True, **options)


def freeze(teacher: Detector, precision: Precision) -> Frozen:
    """A copy, made quick as every run does."""
    own = copy.deepcopy(teacher)
    prepare_frozen(own, precision)
    return Frozen(own)


def build_modes(batch: Batch, size: int, bf16: bool) -> dict[str, Mode]:
    torch.manual_seed(0)
    student = make_student("retinanet_r18")
    teacher = build_detector("fasterrcnn_r50", CLASSES, pretrained=False)

    def plain(precision: Precision) -> Mode:
        return our_mode(build_method("baseline", copy.deepcopy(student)), batch, precision)

    def head(precision: Precision) -> Mode:
        method = build_method("head", copy.deepcopy(student), freeze(teacher, precision), regions=512)
        return our_mode(method, batch, precision)

    modes = {"torchvision": torchvision_mode(batch, size), "plain": plain(FP32), "head": head(FP32)}
    if bf16:
        modes |= {"plain_bf16": plain(BF16), "head_bf16": head(BF16)}
    return modes


def measure(modes: dict[str, Mode], rounds: int) -> None:
    """All modes in turn, `rounds` times; one round before is not counted."""
    for turn in range(rounds + 1):
        for mode in modes.values():
            seconds = mode.step()
            if turn:
                mode.seconds.append(seconds)


def medians(modes: dict[str, Mode]) -> tuple[dict[str, float], dict[str, float]]:
    """Of each mode the median seconds of a step, and of the teacher in it."""
    teacher = {name: statistics.median(mode.teacher) if any(mode.teacher) else 0.0 for name, mode in modes.items()}
    return {name: statistics.median(mode.seconds) for name, mode in modes.items()}, teacher


def summarise(modes: dict[str, Mode]) -> dict[str, Any]:
    seconds = {name: statistics.median(mode.seconds) for name, mode in modes.items()}
    shares = {f"{name}_teacher": statistics.median(modes[name].teacher) for name in modes if name.startswith("head")}
    found: dict[str, Any] = {
        "plain_vs_torchvision": seconds["plain"] / seconds["torchvision"],
        "head_vs_plain": seconds["head"] / seconds["plain"],
        "head_bf16_vs_plain": None,
        "teacher_share": shares["head_teacher"] / seconds["head"],
        "regions": modes["head"].regions,
    }
    if "head_bf16" in seconds:
        found["head_bf16_vs_plain"] = seconds["head_bf16"] / seconds["plain_bf16"]
        found["head_bf16_vs_plain_fp32"] = seconds["head_bf16"] / seconds["plain"]
        found["teacher_share_bf16"] = shares["head_bf16_teacher"] / seconds["head_bf16"]
    return {**found, "seconds": seconds | shares}


def show(found: dict[str, Any], options: argparse.Namespace) -> None:
    seconds = found["seconds"]
    print(f"CPU seconds of a step: {options.batch} images, {options.size} px, one thread, {options.rounds} rounds\n")
    for name, words in NAMES.items():
        if name in seconds:
            teacher = f"  of it the teacher {seconds[f'{name}_teacher']:.3f}" if f"{name}_teacher" in seconds else ""
            print(f"  {words:36}{seconds[name]:8.3f}{teacher}")
    print(f"\n  HEAD compared {found['regions']} regions per image")
    print(f"  plain / torchvision       {found['plain_vs_torchvision']:.2f}")
    print(f"  HEAD / plain              {found['head_vs_plain']:.2f}  teacher's share {found['teacher_share']:.0%}")
    if found["head_bf16_vs_plain"] is None:
        print("  HEAD / plain, both bf16   not measured: no bf16 in this processor (--bf16 yes: emulated)")
    else:
        share = f"teacher's share {found['teacher_share_bf16']:.0%}"
        print(f"  HEAD / plain, both bf16   {found['head_bf16_vs_plain']:.2f}  {share}")
        print(f"  HEAD bf16 / plain fp32    {found['head_bf16_vs_plain_fp32']:.2f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--bf16", choices=("auto", "yes", "no"), default="auto", help="auto: where the CPU has it")
    parser.add_argument("--json", action="store_true", help="print one line of json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    keep_freed_memory()
    bf16 = has_bf16(torch.device("cpu")) if options.bf16 == "auto" else options.bf16 == "yes"
    modes = build_modes(draw_batch(options.batch, options.size), options.size, bf16)
    measure(modes, options.rounds)
    found = summarise(modes)
    if options.json:
        print(json.dumps(found))
    else:
        show(found, options)


if __name__ == "__main__":
    main()
