"""`batch: auto`: the most images per step that the memory of the device holds, measured by real training steps."""

from __future__ import annotations

import gc
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from torch.nn.functional import pad

from headstart.config import Run
from headstart.data.batch import MULTIPLE, collate, scale_batch
from headstart.data.dataset import DetectionDataset
from headstart.data.transforms import Transform
from headstart.detectors.detector import Detector
from headstart.engine.batches import Batch
from headstart.engine.build import make_lanes, resolve_auto
from headstart.engine.detectors import make_student
from headstart.engine.display import Print
from headstart.engine.lane import Lane
from headstart.engine.precision import Precision
from headstart.engine.teacher import make_teachers
from headstart.errors import UserError
from headstart.pace import latest_together
from headstart.structures import Progress, Size
from headstart.teachers import Frozen

MOST = 64
"""No larger batch is chosen: the learning rate, in proportion to it, would leave the range that the recipes know."""

STEPS_PER_EPOCH = 10
"""Nor one that leaves an epoch fewer steps: small data sets would hardly be learned from."""

GPU_SHARE, RAM_SHARE = 0.9, 0.8
"""How much of the memory that is free is used: of a GPU's, and of the system's, which other programs need too."""

TRIED = (1, 2, 4)
"""Images of the steps on a processor, whose need of memory grows in proportion from there on."""


class Memory(Protocol):
    """What a device says of its memory, in bytes."""

    def room(self) -> int:
        """How much training may have in all, what this process has already included."""
        ...

    def peak(self, step: Callable[[], None]) -> int | None:
        """The most that this process had during a step; None if there was not enough."""
        ...


def choose_batch(
    run: Run,
    dataset: DetectionDataset,
    device: torch.device,
    say: Print,
    *,
    student: Detector | None = None,
    teachers: Sequence[Detector | None] = (),
    world: int = 1,
) -> Run:
    """The run with the number of images in place of `batch: auto`; any other run as it is. Says what was found.

    Where nothing was said of the batch, it is at most the whole data set.

    Raises UserError in one of several processes, and where memory cannot be measured or holds not even one image.
    """
    if run.data.batch != "auto":
        if "batch" in run.data.model_fields_set or run.data.batch <= len(dataset):
            return run
        whole = max(len(dataset) // world * world, world)
        say(f"Batch: {whole} images per step, as many as there are.")
        return with_batch(run, whole)
    if world > 1:
        raise UserError(
            f"batch auto measures one process, and this run has {world}: find the number for one with --dry-run and "
            f"without --devices, and give {world} times as many"
        )
    say("Looking for the largest batch that fits: a few training steps are tried.")
    memory: Memory = GraphicsMemory(device) if device.type == "cuda" else SystemMemory()
    most = max(1, min(MOST, len(dataset) // STEPS_PER_EPOCH))
    found = _measure(memory, Trial(with_batch(run, 1), dataset, device, student, teachers), most)
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    if not found:
        raise UserError("not even one image per step fits into memory: use a smaller --imgsz, --width or backbone.")
    limit = (
        f"; more than {MOST}, or fewer than {STEPS_PER_EPOCH} steps per epoch, are not tried" if found == most else ""
    )
    say(f"Batch: {found} images per step fit into {memory.room() / 1e9:.1f} GB{limit}.")
    return with_batch(run, found)


def with_batch(run: Run, batch: int) -> Run:
    """The same run with another number of images per step."""
    return run.model_copy(update={"data": run.data.model_copy(update={"batch": batch})})


def largest(fits: Callable[[int], bool], most: int) -> int:
    """The largest count up to `most` that fits, to within a quarter of it; 0 if not even 1 does.

    Counts are doubled until one does not fit, then what lies between is halved.
    """
    low, high = 0, 1
    while high <= most and fits(high):
        low, high = high, 2 * high
        if low < most < high:
            high = most
        elif low == most:
            return most
    while high - low > max(1, low // 4):
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _measure(memory: Memory, trial: Trial, most: int) -> int:
    if trial.device.type != "cuda":
        return _extrapolate(memory, trial, most)
    return largest(lambda count: _fits(memory, trial, count), most)


def _fits(memory: Memory, trial: Trial, count: int) -> bool:
    peak = memory.peak(lambda: trial.step(count))
    return peak is not None and peak <= memory.room()


def _extrapolate(memory: Memory, trial: Trial, most: int) -> int:
    """From the memory that steps of a few images need, how many fit; `most` at most."""
    trial.step(1)  # the optimiser's own memory comes with the first step
    counts = [count for count in TRIED if count <= most]
    peaks = [memory.peak(lambda count=count: trial.step(count)) or 0 for count in counts]
    left = memory.room() - peaks[-1]
    if left < 0:
        return 0
    slopes = [(b - a) / (m - n) for a, b, n, m in zip(peaks, peaks[1:], counts, counts[1:])]
    each = max(slopes, default=0.0)
    return most if each <= 0 else min(most, counts[-1] + int(left / each))


class Trial:
    """Lanes as the run will have them, to try steps with; they are thrown away afterwards."""

    def __init__(
        self,
        run: Run,
        dataset: DetectionDataset,
        device: torch.device,
        student: Detector | None = None,
        teachers: Sequence[Detector | None] = (),
    ) -> None:
        self.dataset, self.device = dataset, device
        run, self.precision = resolve_auto(run, 1000, device)
        short, long = run.data.sides
        side = short if isinstance(short, int) else short[1]
        self.transform = Transform(short=side, long=long, flip=0.0, jitter=run.data.jitter)
        square = run.data.square or run.data.mosaic or run.data.mixup
        self.base, self.side = long, long if run.data.multi_scale is None else run.data.multi_scale[1]
        self.size = (long, long) if square else largest_image(dataset.sizes, side, long)
        self.busiest = sorted(range(len(dataset)), key=lambda i: -len(dataset.annotations(i)[1]))[:MOST]
        kept = None
        if student is None:
            student, kept = make_student(run, dataset.classes)
        self.teachers = make_teachers(
            run, dataset.classes, self.precision, _silent, teachers, kept.teacher if kept else ()
        )
        self.lanes = make_lanes(run, dataset.classes, self.teachers, 1000, student=student)
        _move(self.lanes, self.teachers, device, self.precision)

    def step(self, count: int) -> None:
        """One training step of every lane on `count` images, padded to the largest size that a batch can have."""
        images, targets = self.batch(count)
        first_drop = self.lanes[0].rate.first_drop
        for lane in self.lanes:
            progress = Progress(latest_together(lane.method.paces, 500, 1000), 1000, 0, first_drop)
            with self.precision.autocast(self.device):
                objective = lane.method(images, targets, progress)
            objective.total.backward()
            lane.update(progress.step)
        for teacher in self.teachers:
            teacher.clear()

    def batch(self, count: int) -> Batch:
        """The images with the most objects, again from the first where there are fewer."""
        chosen = [self.busiest[number % len(self.busiest)] for number in range(count)]
        images, targets = collate([self.transform(self.dataset[index]) for index in chosen])
        height, width = images.pixels.shape[-2:]
        pixels = pad(images.pixels, (0, self.size[1] - width, 0, self.size[0] - height))
        images, targets = scale_batch(replace(images, pixels=pixels), targets, self.side, self.base)
        return images.to(self.device), [t.to(self.device) for t in targets]


def largest_image(sizes: np.ndarray, short: int, long: int) -> Size:
    """Height and width in pixels of the largest batch: landscape and portrait images may come together.

    sizes  (N, 2) height and width as stored;  short, long  sides that the images are resized to
    """
    scale = np.minimum(short / sizes.min(1), long / sizes.max(1))
    height, width = (-(-np.rint(sizes * scale[:, None]).max(0) // MULTIPLE) * MULTIPLE).astype(int).tolist()
    return height, width


class GraphicsMemory:
    """Of a CUDA device, as its allocator counts."""

    def __init__(self, device: torch.device) -> None:
        self.device = device

    def room(self) -> int:
        free, _ = torch.cuda.mem_get_info(self.device)
        return int(GPU_SHARE * (free + torch.cuda.memory_reserved(self.device)))

    def peak(self, step: Callable[[], None]) -> int | None:
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(self.device)
        try:
            step()
            torch.cuda.synchronize(self.device)
        except torch.cuda.OutOfMemoryError:
            return None
        return torch.cuda.max_memory_reserved(self.device)


class SystemMemory:
    """Of the system, as Linux counts, within the limit of a container. Raises UserError on other systems."""

    status, reset = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    meminfo, group = Path("/proc/meminfo"), Path("/sys/fs/cgroup")

    def __init__(self) -> None:
        try:
            self._demand(self.status, "VmHWM")
            self.reset.write_text("5")  # the peak is counted anew
        except OSError:
            raise UserError(
                "batch auto can measure memory on Linux and on CUDA devices only: give a number, such as --batch 8"
            ) from None

    def room(self) -> int:
        free = self._demand(self.meminfo, "MemAvailable")
        limit, used = self.group / "memory.max", self.group / "memory.current"
        if limit.is_file() and used.is_file() and (most := limit.read_text().strip()).isdigit():
            free = min(free, int(most) - int(used.read_text()))
        return self._demand(self.status, "VmRSS") + int(RAM_SHARE * max(free, 0))

    def peak(self, step: Callable[[], None]) -> int | None:
        self.reset.write_text("5")
        step()
        return self._demand(self.status, "VmHWM")

    def _demand(self, file: Path, name: str) -> int:
        for line in file.read_text().splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1]) * 1024
        raise OSError(f"{file} does not say {name}")


def _move(lanes: Sequence[Lane], teachers: Sequence[Frozen], device: torch.device, precision: Precision) -> None:
    for teacher in teachers:
        teacher.to(device)
    for lane in lanes:
        lane.method.to(device).train()
        if precision.channels_last:
            lane.method.to(memory_format=torch.channels_last)
        if lane.ema is not None:
            lane.ema.to(device)


def _silent(text: str) -> None:
    """The real detectors are spoken of when they are made."""
