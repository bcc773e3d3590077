"""What one training step knows of the student: one traced pass, and what is derived from it, each made once."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from functools import cached_property
from typing import TypeVar, cast

from torch import Tensor

from headstart.assign.sample import RegionSampler
from headstart.detectors.detector import Detector
from headstart.heads.protocol import HeadOutputs
from headstart.structures import Assignment, Features, ImageBatch, Progress, Regions, Targets

Made = TypeVar("Made")


@dataclass(frozen=True)
class Needs:
    """What a guidance reads of a step besides the plain pass.

    trace    the blocks of the towers
    regions  how many regions per image at least; 0: none
    """

    trace: bool = False
    regions: int = 0

    def __or__(self, other: Needs) -> Needs:
        """What both need: one sampling of regions, of the larger number."""
        return Needs(self.trace or other.trace, max(self.regions, other.regions))


class Step:
    """One batch (`batch`, `targets`), where training stands (`progress`), and the student's only pass over it.

    Everything is made when it is first asked for and then kept, so that all guidances read the same. What is drawn at
    random is drawn in the order of these requests; `Method` makes the regions before the assignment.
    """

    def __init__(
        self, student: Detector, batch: ImageBatch, targets: list[Targets], progress: Progress, needs: Needs
    ) -> None:
        self.student, self.batch, self.targets, self.progress, self.needs = student, batch, targets, progress, needs
        self._kept: dict[Hashable, object] = {}

    @cached_property
    def features(self) -> Features:
        """Stages and pyramid."""
        return self.student.extract(self.batch)

    @cached_property
    def outputs(self) -> HeadOutputs:
        """What the student's head says, made with the targets; traced if somebody needs that."""
        return self.student.head(self.features, self.batch.sizes, self.targets, trace=self.needs.trace)

    @cached_property
    def assignment(self) -> Assignment:
        """Which prior of the student's head (of its RPN, in a two-stage detector) answers for which object."""
        return self.student.assign(self.outputs, self.targets)

    @cached_property
    def losses(self) -> dict[str, Tensor]:
        """The student's own detection losses, by name: scalars."""
        return self.student.loss(self.outputs, self.targets, self.assignment)

    @property
    def regions(self) -> list[Regions]:
        """The regions that everybody reads who reads regions, one entry per image; [] where nobody does.

        Of a two-stage student they are among those that it samples for itself; of a dense one, sampled from its
        proposals.
        """
        return self._sampled[0]

    @property
    def region_rows(self) -> Tensor | None:
        """Which rows of a two-stage student's own regions these are, (R,) int64; None: all of them, or a dense one."""
        return self._sampled[1]

    @cached_property
    def _sampled(self) -> tuple[list[Regions], Tensor | None]:
        head, count = self.student.head, self.needs.regions
        if not count:
            return [], None
        sampler = RegionSampler(count)
        if head.predicts_at == "regions":
            own = head.sampled_regions(self.outputs)
            if count >= head.regions_per_image:
                return own, None
            return sampler.subsample(own, self.targets, head.num_classes)
        proposals = head.proposals(self.outputs, self.batch.sizes)
        return [sampler(p, t, head.num_classes) for p, t in zip(proposals, self.targets)], None

    def once(self, key: Hashable, make: Callable[[], Made]) -> Made:
        """What `make` gives, made at the first request for `key` in this step."""
        if key not in self._kept:
            self._kept[key] = make()
        return cast(Made, self._kept[key])
