"""A student that is not headstart's: torchvision's SSDlite learns from a headstart teacher by HEAD and PKD.

python examples/own_student.py MY-DATA teacher.safetensors ssdlite.pt
"""

import sys

import torch
from torch import nn
from torchvision.models.detection import ssdlite320_mobilenet_v3_large
from torchvision.models.detection.image_list import ImageList
from torchvision.ops import box_iou

from headstart import Frozen, Progress, build_method, load_detector, open_dataset
from headstart.data.loader import train_loader
from headstart.data.transforms import Transform
from headstart.detectors.custom import CustomDetector
from headstart.structures import CellIndex, Detections


class SSDlite(nn.Module):
    """What `headstart.detectors.custom.Student` asks for, of torchvision's model."""

    strides, channels = (16, 32, 64), (672, 480, 512)  # the three finest of its six maps

    def __init__(self, classes):
        super().__init__()
        self.classes = tuple(classes)
        self.net = ssdlite320_mobilenet_v3_large(
            weights=None, weights_backbone=None, num_classes=len(classes) + 1, nms_thresh=0.6
        )

    def run(self, batch):
        """The six maps; predictions; anchors of each image."""
        pixels = batch.pixels.float() / 127.5 - 1
        maps = list(self.net.backbone(pixels).values())
        return maps, self.net.head(maps), self.net.anchor_generator(ImageList(pixels, batch.sizes), maps)

    def maps(self, batch):
        self.last = self.run(batch)  # `loss` of the same batch goes on from here
        return self.last[0][:3]

    def loss(self, batch, targets):
        _, outputs, anchors = self.last
        truth = [{"boxes": t.wanted.boxes, "labels": t.wanted.labels + 1} for t in targets]  # 0 is background here
        matched = [
            self.net.proposal_matcher(box_iou(t["boxes"], a)) if len(t["boxes"]) else torch.full((len(a),), -1)
            for t, a in zip(truth, anchors)
        ]
        return self.net.compute_loss(truth, outputs, anchors, [m.to(batch.pixels.device) for m in matched])

    def detect(self, batch):
        _, outputs, anchors = self.run(batch)
        found = self.net.postprocess_detections(outputs, anchors, batch.sizes)
        return [
            Detections(f["boxes"], f["scores"], f["labels"] - 1, CellIndex.none(len(f["scores"]), f["scores"].device))
            for f in found
        ]


def main(data, teacher_file, student_file, steps=200, size=320):
    images = open_dataset(data, "train")
    loader = train_loader(images, Transform(short=size, long=size, flip=0.5), batch_size=4, seed=0)
    teacher = Frozen(load_detector(teacher_file))
    ours = SSDlite(images.classes)
    # CKD reads the student's own towers, which SSDlite does not have; AKD by an assistant and PKD do without.
    method = build_method("head+pkd", CustomDetector(ours, width=64), teacher, head={"ckd": False}).train()
    for row in method.describe():
        print(f"{row['from']} -> {row['to']}, weight {row['weight']}")

    optimizer = torch.optim.SGD([p for p in method.parameters() if p.requires_grad], lr=0.01, momentum=0.9)
    step = 0
    while step < steps:
        for batch, targets in loader:
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
    torch.save(ours.net.state_dict(), student_file)  # plain torchvision weights


if __name__ == "__main__":
    main(*sys.argv[1:4])
