"""torchvision's detectors with random weights that find things, and what they find."""

import torch
from torch import nn
from torchvision.models import detection
from torchvision.ops import FrozenBatchNorm2d

from headstart.detectors.weights import import_detector
from headstart.engine.predict import find_objects

SMALL = {"min_size": 96, "max_size": 160}


def build(name, outputs=4, seed=0, **options):
    """The builder's model in evaluation mode: classes vary, boxes stay near their anchors."""
    torch.manual_seed(seed)
    options = {"weights": None, "weights_backbone": None, "num_classes": outputs} | options
    if "320" not in name:
        options = {**SMALL, **options}
    model = stir(getattr(detection, name)(**options), seed)
    if name.startswith("maskrcnn"):
        model.roi_heads.mask_roi_pool = None  # boxes are compared, and masks take their time
    return model


def stir(model, seed=0):
    """Redraws norms and heads of a model of torchvision's."""
    generator = torch.Generator().manual_seed(seed)
    # MobileNets let signals fade, so that all places would look the same, unless the norms help.
    mobile = hasattr(model.backbone.body, "16")
    spread, gain = ((0.1, 0.2), 0.7) if mobile else ((0.5, 2.0), 1.4)
    for part in model.modules():
        if isinstance(part, nn.BatchNorm2d | FrozenBatchNorm2d):
            part.running_mean.normal_(0, 0.1, generator=generator)
            part.running_var.uniform_(*spread, generator=generator)
            part.weight.data.uniform_(0.5, 1.2, generator=generator)
            part.bias.data.normal_(0, 0.1, generator=generator)
    for name, layer in model.named_modules():
        if name.startswith("backbone") or not isinstance(layer, nn.Conv2d | nn.Linear):
            continue
        boxes = name.endswith(("bbox_reg", "bbox_pred"))
        layer.weight.data.normal_(0, (0.3 if boxes else gain) / layer.weight[0].numel() ** 0.5, generator=generator)
        if layer.bias is not None:
            layer.bias.data.normal_(0, 0.3, generator=generator)
        if name.endswith("classification_head.cls_logits"):
            # Label 0 is background: dense heads have an output for it, which training keeps silent.
            layer.bias.data[:: model.head.classification_head.num_classes] = -30
        if name.endswith("bbox_reg") and hasattr(model.head.regression_head, "bbox_ctrness"):
            layer.bias.data += 1.5  # distances, in strides
    return model.eval()


def picture(height, width, seed=0):
    """A smooth picture (3, H, W) uint8."""
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.rand(1, 3, height // 12, width // 12, generator=generator)
    fine = nn.functional.interpolate(coarse, size=(height, width), mode="bicubic")[0]
    return (fine.clamp(0, 1) * 255).to(torch.uint8)


def imported(model, file, classes=None, **options):
    """The model's state through a file."""
    torch.save(model.state_dict(), file)
    return import_detector(file, classes=classes, **options)


@torch.no_grad()
def found_by_both(model, opened, image, **size):
    """(boxes, scores, labels) of torchvision's model and of ours, best first."""
    theirs = model([image / 255.0])[0]
    mine = find_objects(opened.detector, image, **{**opened.size, **size})
    return (theirs["boxes"], theirs["scores"], theirs["labels"] - 1), (mine.boxes, mine.scores, mine.labels)


def compare(theirs, mine):
    """How many of `theirs` have no twin of their own in `mine`: the same label, a score 1e-5 and a box 1e-3 away.

    Nothing is compared by rank, because scores that differ in the last digit may change places.
    """
    boxes, scores, labels = theirs
    alike = labels[:, None] == mine[2]
    alike &= (scores[:, None] - mine[1]).abs() <= 1e-5
    alike &= (boxes[:, None] - mine[0]).abs().amax(dim=2) <= 1e-3
    taken = torch.zeros(len(mine[1]), dtype=torch.bool)
    lonely = 0
    for row in alike:
        free = (row & ~taken).nonzero().flatten()
        lonely += not len(free)
        taken[free[:1]] = True
    return lonely
