"""python joined_batch.py RANK WORLD FOLDER: this process's share of the losses, agreed on with the others over gloo."""

import sys
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn

from headstart.assign.sample import RegionSampler
from headstart.heads.atss import ATSSHead, ATSSOptions
from headstart.heads.fcos import FCOSHead, FCOSOptions
from headstart.heads.gfl import GFLHead, GFLOptions
from headstart.heads.labelled import labelled_regions, loss_of_labelled
from headstart.heads.reppoints import RepPointsHead, RepPointsOptions
from headstart.heads.retina import RetinaHead, RetinaOptions
from headstart.heads.roi import BoxHead, BoxHeadOptions
from headstart.heads.rpn import RPNHead, RPNOptions
from headstart.losses.normalise import mean_over_ranks
from headstart.methods.weight import TargetVariance
from headstart.structures import CellIndex, Detections, Features, Progress, Targets

STRIDES = [4, 8, 16, 32]
SIZE = (64, 64)
DARK = {"one process without labels": (2, 3), "one image of each": (1, 2), "no label at all": (0, 1, 2, 3)}
"""Which images have no labels; two processes have two each."""


def heads() -> dict[str, nn.Module]:
    """Heads whose sampling has nothing to choose, so that a share of the batch is trained as it is in the whole."""
    torch.manual_seed(0)
    made = {
        "retina": RetinaHead(3, 8, STRIDES, RetinaOptions(width=8, depth=1)),
        "fcos": FCOSHead(3, 8, STRIDES, FCOSOptions(width=8, depth=1)),
        "improved fcos": FCOSHead(
            3, 8, STRIDES, FCOSOptions(width=8, depth=1, normalised=True, centre_sampling=True, box_loss="giou")
        ),
        "atss": ATSSHead(3, 8, STRIDES, ATSSOptions(width=8, depth=1, anchor_scale=4.0)),
        "gfl": GFLHead(3, 8, STRIDES, GFLOptions(width=8, depth=1, anchor_scale=4.0)),
        "reppoints": RepPointsHead(3, 8, STRIDES, RepPointsOptions(width=8, depth=1, point_scale=2.0)),
        "rpn": RPNHead(8, STRIDES, RPNOptions(width=8, sample=10**6)),
        "roi": BoxHead(3, 8, STRIDES, BoxHeadOptions(hidden=8)),
    }
    for parameter in (p for head in made.values() for p in head.parameters()):
        nn.init.normal_(parameter, std=0.1)
    return made


def whole_batch() -> tuple[list[Tensor], list[Targets], list[Detections]]:
    """Four images: three objects, none, one, none; and proposals for each."""
    generator = torch.Generator().manual_seed(1)
    maps = [torch.randn(4, 8, 64 // s, 64 // s, generator=generator) for s in STRIDES]
    targets, proposals = [], []
    for objects in (3, 0, 1, 0):
        corner = torch.rand(objects, 2, generator=generator) * 30
        boxes = torch.cat([corner, corner + 15 + 15 * torch.rand(objects, 2, generator=generator)], dim=1)
        labels = torch.arange(objects)
        targets.append(Targets(boxes, labels, torch.zeros(objects, dtype=torch.bool)))
        regions = torch.cat([boxes + 1, torch.tensor([[1.0, 1, 9, 9]] * (2 + objects))])
        index = torch.arange(len(regions))
        proposals.append(Detections(regions, torch.ones(len(regions)), index * 0, CellIndex(*[index] * 4)))
    return maps, targets, proposals


def measure(rank: int, world: int, dark: tuple[int, ...] = ()) -> dict[str, Tensor]:
    """Losses and gradients of this process's images, averaged over processes as training does.

    `dark`: the images without labels.
    """
    maps, targets, proposals = whole_batch()
    targets = [Targets.empty(labelled=False) if image in dark else target for image, target in enumerate(targets)]
    mine = slice(rank * 4 // world, (rank + 1) * 4 // world)
    maps, targets, proposals = [m[mine] for m in maps], targets[mine], proposals[mine]
    found: dict[str, Tensor] = {}
    for name, head in heads().items():
        if name == "roi":
            regions = [RegionSampler(count=10**6)(p, t, 3) for p, t in zip(proposals, targets)]
            read = head(maps, [r.boxes for r in regions])
            losses = head.loss(*labelled_regions(read, regions, targets))
        else:
            sizes = [SIZE] * len(targets)
            outputs = head(Features([], [], maps, STRIDES), sizes)
            losses = loss_of_labelled(head, outputs, targets, head.assign(outputs, targets))
        torch.stack(list(losses.values())).sum().backward()
        found |= {f"{name}/{key}": value.detach() for key, value in losses.items()}
        found |= {f"{name}/{key} gradient": p.grad for key, p in head.named_parameters()}
    if world > 1:
        for value in found.values():
            dist.all_reduce(value)
            value /= world
    found["count"] = mean_over_ranks(torch.tensor(10.0 * (rank + 1)))
    rows = [maps[0].flatten(1)]
    found["scale"] = TargetVariance()(rows, rows, Progress(0, 10))
    return found


if __name__ == "__main__":
    torch.set_num_threads(1)
    rank, world, folder = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
    dist.init_process_group("gloo", init_method=f"file://{folder / 'meeting'}", rank=rank, world_size=world)
    found = measure(rank, world)
    for name, dark in DARK.items():
        found |= {f"{name}: {key}": value for key, value in measure(rank, world, dark).items()}
    torch.save(found, folder / f"{rank}.pt")
    dist.destroy_process_group()
