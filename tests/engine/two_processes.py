"""python two_processes.py toy|RUN_YAML PROCESSES OUT: trains in so many gloo processes; process 0 saves its weights.

Every process of a real run also checks that it ended with the same weights as process 0.
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import torch
import torch.distributed as dist
import toys

from headstart.config import Train
from headstart.engine.build import make_lane
from headstart.engine.fit import fit
from headstart.engine.module import Lanes
from headstart.engine.strategy import build_trainer, place_among_processes
from headstart.recipe import load_run

torch.set_num_threads(1)


def train_toy(processes: int, out: str) -> None:
    """Three lanes on the joined batch of eight images, shared equally."""
    rank, world = place_among_processes(processes)
    teacher = toys.teacher()
    settings = Train(lr=0.1, warmup=2, momentum=0.9, clip=0.5, weight_decay=0.1)
    lanes = []
    for name, make in (("plain", toys.Plain), ("copy", toys.Copying), ("rest", toys.Resting)):
        torch.manual_seed(rank)  # every process begins elsewhere: they must agree on process 0
        method = make(toys.Student(norm=False), teacher) if name != "plain" else make(toys.Student(norm=False))
        method.dropout = torch.nn.Identity()
        method.parts()
        lanes.append(make_lane(name, method, settings, 6))
    batches = Batches(share(toys.batch_of(8, seed), rank, world) for seed in range(6))
    module = Lanes(lanes, [teacher], total=6, per_epoch=6)
    build_trainer(torch.device("cpu"), processes, []).fit(module, train_dataloaders=batches)
    if rank == 0:
        torch.save(module.methods.state_dict(), out)


class Batches:
    """An iterable that Lightning does not take for several loaders."""

    def __init__(self, batches):
        self.batches = list(batches)

    def __len__(self):
        return len(self.batches)

    def __iter__(self):
        return iter(self.batches)


def share(batch, rank: int, world: int):
    images, targets = batch
    mine = slice(rank * len(images) // world, (rank + 1) * len(images) // world)
    part = type(images)(images.pixels[mine], images.sizes[mine], images.ids[mine], images.originals[mine])
    return part, targets[mine]


def train_run(path: str, out: str) -> None:
    outcome = fit(load_run(path))
    total = torch.stack([p.double().sum() for s in outcome.students.values() for p in s.state_dict().values()])
    everyone = [torch.zeros_like(total) for _ in range(dist.get_world_size())]
    dist.all_gather(everyone, total)
    assert all(torch.equal(total, other) for other in everyone), f"process {os.environ['LOCAL_RANK']} differs"
    assert total.isfinite().all()
    if dist.get_rank() == 0:
        torch.save({"processes": len(everyone), "folder": str(outcome.folder)}, out)


if __name__ == "__main__":
    what, processes, out = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    train_toy(processes, out) if what == "toy" else train_run(what, out)
