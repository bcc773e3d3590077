"""Detection losses of a batch of which some images have no labels: those images take no part, in no normaliser either.

The whole batch passes through the student, because distillation reads all of it; its losses are made of the labelled
images' rows alone. Of a batch without any labelled image they are 0, with a gradient of zeros for every parameter.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar, cast

import torch
from torch import Tensor

from headstart.heads.protocol import Head, HeadOutputs
from headstart.heads.two_stage import StageOutputs, TwoStageOutputs
from headstart.structures import Assignment, DenseOutputs, RegionOutputs, Regions, Targets

Outputs = TypeVar("Outputs", bound=HeadOutputs)


def loss_of_labelled(
    head: Head[Outputs], outputs: Outputs, targets: Sequence[Targets], assignment: Assignment
) -> dict[str, Tensor]:
    """`head.loss` over the images with labels: {name: scalar}. `outputs` and `assignment` are of all B images."""
    if all(target.labelled for target in targets):
        return head.loss(outputs, assignment)
    images = torch.tensor(
        [image for image, target in enumerate(targets) if target.labelled],
        dtype=torch.int64,
        device=assignment.labels.device,
    )
    return head.loss(cast(Outputs, _select(outputs, images, targets)), _select_assignment(assignment, images))


def labelled_regions(
    outputs: RegionOutputs, regions: Sequence[Regions], targets: Sequence[Targets]
) -> tuple[RegionOutputs, list[Regions]]:
    """What a box head said of the regions in images with labels, and these regions; none of the other images.

    outputs (R, ...) of all images' `regions` in order. The entries of the other images stay, without a row.
    """
    if all(target.labelled for target in targets):
        return outputs, list(regions)
    kept = [region if target.labelled else region[:0] for region, target in zip(regions, targets)]
    flags = [torch.full_like(r.labels, target.labelled, dtype=torch.bool) for r, target in zip(regions, targets)]
    rows = torch.cat(flags).nonzero().flatten()
    return RegionOutputs([], outputs.cls[rows], outputs.reg[rows]), kept


def labelled_stage(stage: StageOutputs, targets: Sequence[Targets]) -> StageOutputs:
    """The same of one stage of box heads."""
    roi, regions = labelled_regions(stage.roi, stage.regions, targets)
    return replace(stage, roi=roi, regions=regions)


def _select(outputs: HeadOutputs, images: Tensor, targets: Sequence[Targets]) -> HeadOutputs:
    """What losses read of the outputs, for the chosen images (N,)."""
    if isinstance(outputs, DenseOutputs):
        return _select_dense(outputs, images)
    *earlier, last = (labelled_stage(stage, targets) for stage in outputs.stages)
    return cast(
        TwoStageOutputs,
        replace(
            outputs,
            rpn=_select_dense(outputs.rpn, images),
            regions=last.regions,
            roi=last.roi,
            earlier=tuple(earlier),
        ),
    )


def _select_dense(outputs: DenseOutputs, images: Tensor) -> DenseOutputs:
    return replace(
        outputs,
        cls=[x[images] for x in outputs.cls],
        reg=[x[images] for x in outputs.reg],
        quality=None if outputs.quality is None else [x[images] for x in outputs.quality],
        sizes=[outputs.sizes[image] for image in images.tolist()],
        cls_trace=[],
        reg_trace=[],
        earlier=tuple([x[images] for x in stage] for stage in outputs.earlier),
        inner={},
    )


def _select_assignment(assignment: Assignment, images: Tensor) -> Assignment:
    return Assignment(
        assignment.labels[images],
        assignment.boxes[images],
        assignment.positive[images],
        assignment.weight[images],
        tuple(_select_assignment(stage, images) for stage in assignment.earlier),
    )
