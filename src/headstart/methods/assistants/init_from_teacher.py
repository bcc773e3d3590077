"""What an assistant takes over from the teacher's head: everything that fits, classes by their meaning."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from headstart.classmap import ClassMap
from headstart.heads.dense import DenseHead
from headstart.heads.roi import BoxHead


def init_box_head(own: BoxHead, teacher: BoxHead, classes: ClassMap) -> list[str]:
    """Copy every tensor of the teacher's box head whose shape agrees, classifier and boxes class by class.

    Merged classes start from the mean of their rows. What does not come from the teacher is returned by name.
    """
    fresh = copy_agreed(own, teacher.state_dict() | pull_class_layers(teacher, own, classes))
    return fresh + _unknown(classes)


def init_dense_head(own: DenseHead, teacher: DenseHead, classes: ClassMap) -> list[str]:
    """The same for a dense head, whose boxes belong to no class."""
    return copy_agreed(own, teacher.state_dict() | pull_class_maps(teacher, own, classes)) + _unknown(classes)


def copy_agreed(own: nn.Module, other: Mapping[str, Tensor]) -> list[str]:
    """Copies into `own` what has the same name and shape in the state `other`; the names of the rest."""
    mine = own.state_dict()
    agreed = {name: value for name, value in other.items() if name in mine and mine[name].shape == value.shape}
    own.load_state_dict(agreed, strict=False)
    return [name for name in mine if name not in agreed]


def _unknown(classes: ClassMap) -> list[str]:
    unknown = len(classes.unmatched_student)
    return [f"{unknown} of {len(classes.student)} classes"] if unknown else []


def pull_class_layers(teacher: BoxHead, own: BoxHead, classes: ClassMap) -> dict[str, Tensor]:
    """`cls` and `reg` of a head of the teacher's kind for the student's K_s classes, by their names in `own`.

    cls.weight (K_s + 1, D), cls.bias (K_s + 1,); of boxes by class reg.weight (4 K_s, D), reg.bias (4 K_s,). A class
    gets its rows; merged classes the mean of theirs, their logit raised by the log of their number, which is the log of
    the sum of their exponentials where they agree; unknown classes keep `own` rows, background is copied.
    """
    found = {}
    known, kept = len(classes.teacher), len(classes.student)
    for key in ("weight", "bias"):
        theirs, mine = getattr(teacher.cls, key).detach(), getattr(own.cls, key).detach()
        rows = classes.pull_rows(theirs[:known], mine[:kept])
        if key == "bias":
            rows = rows + classes.counts(rows.device).clamp(min=1).log()
        found[f"cls.{key}"] = torch.cat([rows, theirs[known : known + 1].to(rows)])
        if not own.class_agnostic:
            boxes = getattr(teacher.reg, key).detach().unflatten(0, (known, 4))
            rows = classes.pull_rows(boxes, getattr(own.reg, key).detach().unflatten(0, (kept, 4)))
            found[f"reg.{key}"] = rows.flatten(0, 1)
    return found


def pull_class_maps(teacher: DenseHead, own: DenseHead, classes: ClassMap) -> dict[str, Tensor]:
    """The classifiers of a dense head of the teacher's kind for the student's K_s classes, anchor by anchor.

    By their names in `own`: a weight (A * K_s, C, kernel, kernel) and a bias (A * K_s,) of each.

    As for box heads, merged classes get the mean of their rows and the logarithm of their number: the odds of all of
    them together where they agree and are small.
    """
    found = {}
    known, kept = len(classes.teacher), len(classes.student)
    given = teacher.classifiers()
    for name, layer in own.classifiers().items():
        for key in ("weight", "bias"):
            theirs, mine = getattr(given[name], key).detach(), getattr(layer, key).detach()
            theirs, mine = theirs.unflatten(0, (-1, known)), mine.unflatten(0, (-1, kept))
            rows = classes.pull_rows(theirs.transpose(0, 1), mine.transpose(0, 1))
            if key == "bias":
                rows = rows + classes.counts(rows.device).clamp(min=1).log()[:, None]
            found[f"{name}.{key}"] = rows.transpose(0, 1).flatten(0, 1)
    return found
