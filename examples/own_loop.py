"""Distillation in a training loop of one's own: HEAD from a Faster R-CNN to a small RetinaNet, without the engine.

python examples/own_loop.py MY-DATA teacher.safetensors student.safetensors
"""

import sys

import torch

from headstart import Frozen, Progress, build_detector, build_method, load_detector, open_dataset, save_detector
from headstart.data.loader import train_loader
from headstart.data.transforms import Transform


def main(data: str, teacher_file: str, student_file: str, steps: int = 200, size: int = 320) -> None:
    device = "cuda" if torch.cuda.is_available() else "cpu"
    images = open_dataset(data, "train")
    # Any data will do that gives `ImageBatch` (raw RGB, padded) and one `Targets` (boxes, labels) for each image.
    loader = train_loader(images, Transform(short=size, long=size, flip=0.5), batch_size=4, seed=0)

    teacher = Frozen(load_detector(teacher_file).to(device))
    student = build_detector("retinanet_r18", images.classes, pretrained=False, width=64)
    method = build_method("head", student, teacher, regions=64).to(device).train()
    for row in method.describe():
        print(f"{row['from']} -> {row['to']}, weight {row['weight']}")

    # Everything in the method is trained, what will be thrown away too; the teacher is no part of it.
    optimizer = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr=0.01, momentum=0.9)
    step = 0
    while step < steps:
        for batch, targets in loader:
            batch, targets = batch.to(device), [t.to(device) for t in targets]
            objective = method(batch, targets, Progress(step, steps))
            optimizer.zero_grad()
            objective.total.backward()
            torch.nn.utils.clip_grad_norm_(method.parameters(), 20.0)
            optimizer.step()
            if step % 20 == 0:
                print(step, {name: round(term.item(), 3) for name, term in objective.terms.items()})
            step += 1
            if step == steps:
                break

    save_detector(method.student, student_file)  # a plain detector: `headstart predict student.safetensors photos/`


if __name__ == "__main__":
    main(*sys.argv[1:4])
