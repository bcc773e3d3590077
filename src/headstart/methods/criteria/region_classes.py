"""Classes of regions that are to be a teacher's, objects and background apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional

from headstart.cached_tensor import cached_tensor
from headstart.classmap import ClassMap
from headstart.losses.normalise import mean_over_ranks
from headstart.methods.step import Step
from headstart.structures import RegionOutputs, Regions


class RegionClasses:
    """Two box heads' outputs for the same regions: DeFeat's class terms.

    The Kullback-Leibler divergence of the class distributions, teacher from student, its mean over the regions that are
    objects (`foreground`) and over the others (`background`). Compared are the classes that both know, and all the rest
    as one: background, and what only one of them knows.

    regions  those that both read, with the student's labels

    Source: DeFeat (arXiv:2103.14475, equation 7), temperature 1.
    """

    def __init__(
        self, classes: ClassMap, regions: Callable[[Step], list[Regions]], constants: Mapping[str, float]
    ) -> None:
        self.classes, self.regions, self.terms = classes, regions, constants

    def __call__(self, source: RegionOutputs, target: RegionOutputs, step: Step) -> dict[str, Tensor]:
        """Scalars `foreground` and `background`; gradients reach `source` alone."""
        known = len(self.classes.student)
        objects = torch.cat([r.labels for r in self.regions(step)]) < known
        goal = teacher_chances(self.classes, target.cls.detach().float()[:, : len(self.classes.teacher) + 1])
        own = student_chances(self.classes, source.cls.float()[:, : known + 1])
        far = functional.kl_div(own, goal, reduction="none", log_target=True).sum(dim=1)
        return {
            name: (far * chosen).sum() / mean_over_ranks(chosen.sum()).clamp(min=1)
            for name, chosen in (("foreground", objects), ("background", ~objects))
        }


def teacher_chances(classes: ClassMap, logits: Tensor) -> Tensor:
    """A teacher's logits (R, K_t + 1) as log probabilities (R, J + 1): the classes that both know, and the rest."""
    found = classes.pull_scores(logits.softmax(dim=1)[:, :-1], merge="sum", dim=1)
    return torch.cat([found, 1 - found.sum(dim=1, keepdim=True)], dim=1).clamp(min=1e-9).log()


def student_chances(classes: ClassMap, logits: Tensor) -> Tensor:
    """The same of a student's logits (R, K_s + 1)."""
    rest = [row for row in range(logits.shape[1]) if row not in classes.known]
    logs = logits.log_softmax(dim=1)
    others = logs.index_select(1, cached_tensor(rest, torch.int64, logits.device)).logsumexp(dim=1, keepdim=True)
    return torch.cat([classes.pick(logs[:, :-1], dim=1), others], dim=1)
