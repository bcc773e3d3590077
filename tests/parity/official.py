"""Reads the fixtures: official parameter names to ours, inputs as our structures, and comparison at their accuracy."""

import json
import re

import numpy as np
import torch
from torch import Tensor, nn

from headstart.heads.roi import cell_by_cell
from headstart.structures import Features, Targets

SCENARIOS = ("full", "img1_empty", "all_empty")

HEAD_NAMES = [
    (r"(cls|reg)_convs\.(\d+)\.conv\.", r"\1_tower.convs.\2."),
    (r"(cls|reg)_convs\.(\d+)\.gn\.", r"\1_tower.norms.\2."),
    (r"(?:retina|conv|rpn|atss|gfl)_cls\.", "cls."),
    (r"(?:retina|conv|rpn|atss|gfl)_reg\.", "reg."),
    (r"(?:conv|atss)_centerness\.", "centreness."),
    (r"scales\.(\d+)\.scale", r"scales.\1"),
    (r"reppoints_cls_conv\.", "cls_conv."),
    (r"reppoints_pts_refine_conv\.", "reg_conv."),
    (r"reppoints_pts_init_conv\.", "initial_conv."),
    (r"reppoints_cls_out\.", "cls."),
    (r"reppoints_pts_refine_out\.", "reg."),
    (r"reppoints_pts_init_out\.", "initial."),
    (r"moment_transfer$", "moment"),
    (r"rpn_conv\.", "tower.convs.0."),
    (r"bbox_head\.(\d+)\.", r"heads.\1."),
    (r"(heads\.\d+\.|)(?:bbox_head\.)?shared_fcs\.", r"\1fcs."),
    (r"(heads\.\d+\.|)(?:bbox_head\.)?fc_(cls|reg)\.", r"\1\2."),
]


def rename(name: str) -> str:
    """The name of an official head's parameter in our head."""
    for pattern, ours in HEAD_NAMES:
        name = re.sub("^" + pattern, ours, name)
    return name


def ordered(name: str, weight: Tensor) -> Tensor:
    """An official parameter as ours: the first layer of a box head reads its crop in another order."""
    return cell_by_cell(weight, 7) if name.endswith("shared_fcs.0.weight") else weight


def load_head(head: nn.Module, arrays: dict[str, np.ndarray], prefix: str = "w/") -> None:
    """Load the official weights strictly."""
    weights = {rename(k.removeprefix(prefix)): ordered(k, tensor(v)) for k, v in arrays.items() if k.startswith(prefix)}
    weights.pop("integral.project", None)  # 0, 1, 2, ...: no weight, but there it is saved as one
    head.load_state_dict(weights, strict=True)


def tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(np.array(array))


def meta(arrays: dict[str, np.ndarray]) -> dict:
    return json.loads(str(arrays["META"]))


def sizes(arrays: dict[str, np.ndarray]) -> list[tuple[int, int]]:
    return [(h, w) for h, w in meta(arrays)["img_shapes"]]


def features(arrays: dict[str, np.ndarray], strides: list[int]) -> Features:
    maps = [tensor(arrays[f"in/feat{level}"]).requires_grad_() for level in range(len(strides))]
    return Features([], [], maps, strides)


def targets(arrays: dict[str, np.ndarray], scenario: str) -> list[Targets]:
    found = []
    for image in range(2):
        boxes, labels = tensor(arrays[f"in/gt_bboxes{image}"]), tensor(arrays[f"in/gt_labels{image}"])
        if scenario == "all_empty" or (scenario == "img1_empty" and image == 1):
            boxes, labels = boxes[:0], labels[:0]
        found.append(Targets(boxes, labels, torch.zeros(len(labels), dtype=torch.bool)))
    return found


def close(ours: Tensor, theirs: np.ndarray | Tensor, accuracy: float) -> None:
    """Equal within `accuracy` times the largest absolute value of the official array."""
    goal = theirs if isinstance(theirs, Tensor) else tensor(theirs)
    assert ours.shape == goal.shape, f"shape {tuple(ours.shape)}, official {tuple(goal.shape)}"
    if goal.numel():
        scale = goal.abs().max().item() or 1.0
        worst = (ours.detach().to(goal.dtype) - goal).abs().max().item()
        assert worst <= accuracy * scale, f"differs by {worst:.3g}, scale {scale:.3g}, allowed {accuracy * scale:.3g}"


def check_parameter_gradients(head: nn.Module, names: np.ndarray, numbers: np.ndarray, accuracy: float = 1e-4) -> None:
    """L2 norm, sum and sum of magnitudes of every parameter's gradient."""
    own = dict(head.named_parameters())
    for name, row in zip(names, numbers, strict=True):
        gradient = own[rename(str(name))].grad
        flat = (torch.zeros(1) if gradient is None else gradient).double().flatten()
        ours = torch.stack([flat.norm(), flat.sum(), flat.abs().sum()])
        goal = torch.tensor(row)
        assert (ours - goal).abs().max() <= accuracy * max(goal[2].item(), 1e-12), f"{name}: {ours} against {goal}"
