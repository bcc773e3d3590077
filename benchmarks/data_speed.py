"""Images per CPU second of our data pipeline beside plain torchvision transforms.v2 on the very same files.

Both decode a JPEG of 640 x 480 px, resize it to a shorter side of 640 px, mirror every second one, and carry the boxes
along, on one thread. Ours is what the training loader runs for each image: the index, the size check, the seeding by
(seed, epoch, image) and `Transform`. The reference is decode_image and v2.Compose on tv_tensors. Rounds alternate;
the figure is the median of the rounds' CPU time. Beside them the augmentation of RTMDet and YOLOX, for pictures of
640 x 640 px: the same images fitted into the square, scaled by 0.5 to 1.5, with other colours, and mosaics of four.

Beside it, what opening the data costs: images per second of clock time that are read, checksummed and decoded for the
first time on all processors, the same for one process that only decodes, and images per second when all is remembered.

    python benchmarks/data_speed.py [--images 32] [--rounds 15] [--json]
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torchvision import tv_tensors
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms import v2

from headstart.data.dataset import DetectionDataset, Entry
from headstart.data.inspection import inspect_files
from headstart.data.loader import TransformedSamples
from headstart.data.mosaic import Mixing
from headstart.data.remembered import inspect_folder
from headstart.data.shapes_scene import draw_scene
from headstart.data.transforms import Transform

SHORT, LONG = 640, 1066

SQUARE = 640


def draw_files(folder: Path, count: int) -> DetectionDataset:
    """Drawn scenes cut to 640 x 480 px, about 140 KB each."""
    entries = []
    for i in range(count):
        picture, boxes, labels = draw_scene(np.random.default_rng(i), 640)
        picture.crop((0, 80, 640, 560)).save(folder / f"{i}.jpg", quality=90, subsampling=0)
        boxes = np.clip(boxes - [0, 80, 0, 80], 0, [640, 480, 640, 480])
        keep = (boxes[:, 2:] - boxes[:, :2]).min(1, initial=640) > 1
        entries.append(Entry(f"{i}.jpg", i, (480, 640), boxes[keep], labels[keep], np.zeros(keep.sum(), bool)))
    return DetectionDataset(entries, [str(k) for k in range(10)], path=folder, split="train")


def reference_pipeline(dataset: DetectionDataset) -> Callable[[int], object]:
    """decode_image and transforms.v2 on tv_tensors, nothing else."""
    transform = v2.Compose([v2.Resize(SHORT, max_size=LONG, antialias=True), v2.RandomHorizontalFlip(0.5)])

    def load(index: int) -> object:
        image = tv_tensors.Image(decode_image(str(dataset.file(index)), mode=ImageReadMode.RGB))
        boxes, labels, _ = dataset.annotations(index)
        size = (image.shape[1], image.shape[2])
        target = {
            "boxes": tv_tensors.BoundingBoxes(torch.from_numpy(boxes), format="XYXY", canvas_size=size),
            "labels": torch.from_numpy(labels),
        }
        return transform(image, target)

    return load


def our_pipeline(dataset: DetectionDataset) -> Callable[[int], object]:
    prepared = TransformedSamples(dataset, Transform(short=SHORT, long=LONG, flip=0.5))
    return lambda index: prepared[(0, index)]


def square_pipelines(dataset: DetectionDataset) -> dict[str, Callable[[int], object]]:
    """Name -> what makes a picture of at most 640 x 640 px, with one thing more than `square` each."""

    def make(mosaic: float = 0.0, mixup: float = 0.0, **options) -> Callable[[int], object]:
        transform = Transform(short=SQUARE, long=SQUARE, square=SQUARE, **options)
        mixing = Mixing(transform, SQUARE, mosaic=mosaic, mixup=mixup, epochs=1) if mosaic or mixup else None
        prepared = TransformedSamples(dataset, transform, mixing=mixing)
        return lambda index: prepared[(0, index)]

    return {
        "square": make(),
        "scale": make(scale=(0.5, 1.5)),
        "hsv": make(hsv=True),
        "jitter": make(jitter=True),
        "mosaic": make(mosaic=1.0),
        "mosaic, scale": make(mosaic=1.0, scale=(0.5, 1.5)),
        "mosaic, mixup": make(mosaic=1.0, mixup=1.0),
    }


def measure(pipelines: dict[str, Callable[[int], object]], images: int, rounds: int) -> dict[str, float]:
    """Images per CPU second of each pipeline, median over alternating rounds; one round before is not counted."""
    seconds: dict[str, list[float]] = {name: [] for name in pipelines}
    for turn in range(rounds + 1):
        for name, load in pipelines.items():
            begin = time.process_time()
            for index in range(images):
                load(index)
            if turn:
                seconds[name].append(time.process_time() - begin)
    return {name: images / statistics.median(times) for name, times in seconds.items()}


def measure_check(dataset: DetectionDataset, rounds: int) -> dict[str, float]:
    """Images per second, median over the rounds: decoded by one process, checked for the first time, remembered.

    The files are checked several times over, as a folder of at least 512.
    """
    files = [str(dataset.file(i)) for i in range(len(dataset))] * (-(-512 // len(dataset)))
    names = [Path(file).name for file in files]
    seconds: dict[str, list[float]] = {"decoding": [], "check": [], "remembered": []}
    for _ in range(rounds):
        begin = time.perf_counter()
        for file in files:
            decode_image(file, mode=ImageReadMode.RGB)
        seconds["decoding"].append(time.perf_counter() - begin)
        begin = time.perf_counter()
        inspect_files(files)
        seconds["check"].append(time.perf_counter() - begin)
        inspect_folder(dataset.path, names)
        begin = time.perf_counter()
        inspect_folder(dataset.path, names)
        seconds["remembered"].append(time.perf_counter() - begin)
    return {name: len(files) / statistics.median(times) for name, times in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", action="store_true", help="print one line of json")
    options = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        dataset = draw_files(Path(folder), options.images)
        kilobytes = sum(dataset.file(i).stat().st_size for i in range(len(dataset))) / len(dataset) / 1000
        speed = measure(
            {
                "ours": our_pipeline(dataset),
                "transforms_v2": reference_pipeline(dataset),
                **square_pipelines(dataset),
            },
            options.images,
            options.rounds,
        )
        os.environ["HEADSTART_CACHE"] = str(Path(folder) / "cache")
        check = measure_check(dataset, min(options.rounds, 5))
    check_ratio = check["check"] / check["decoding"]
    ratio = speed["ours"] / speed["transforms_v2"]
    if options.json:
        print(json.dumps({**speed, "ours_vs_transforms_v2": ratio, "kilobytes": kilobytes, "opening": check}))
        return
    print(f"{options.images} drawn JPEGs, {kilobytes:.0f} KB each; images per CPU second, one thread")
    print(f"  ours           {speed['ours']:7.1f}")
    print(f"  transforms.v2  {speed['transforms_v2']:7.1f}")
    print(f"  ours / transforms.v2 = {ratio:.2f}")
    for name in list(speed)[2:]:
        print(f"  {name:14} {speed[name]:7.1f}   {speed['square'] / speed[name]:.2f} times the time of square")
    print(f"Opening the data; images per second of clock time, {os.cpu_count()} processors")
    for name, value in check.items():
        print(f"  {name:<13}  {value:9.1f}")
    print(f"  check / decoding = {check_ratio:.2f}")


if __name__ == "__main__":
    main()
