"""Which devices and how many processes Lightning is asked for."""

from __future__ import annotations

import atexit
import logging
import os
import warnings

import lightning.pytorch as pl
import torch
import torch.distributed as dist
from lightning.pytorch.strategies import DDPStrategy

from headstart.errors import UserError, beginning

DEVICES = ("cpu", "cuda", "mps")
"""Kinds that a run can use; torch has names for others."""


class ReducedByHand(DDPStrategy):
    """Lightning's processes and collectives without the DistributedDataParallel wrapper; see engine/reduce.py."""

    def configure_ddp(self) -> None:
        """Wraps nothing."""


class PatientTrainer(pl.Trainer):
    """A Trainer whose loop goes on after SIGTERM: `RunCallback` ends the run when everything is saved.

    Lightning's loop would leave between two of our hooks by a SystemExit, which looks like a run that has finished.
    """

    @property
    def received_sigterm(self) -> bool:
        return False


def choose_device(name: str = "auto") -> torch.device:
    """`auto` takes the first GPU if there is one. Raises UserError for a device that is unknown or not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device("cuda:" + name if name.isdigit() else name)
    except (RuntimeError, ValueError):
        device = None
    if device is None or device.type not in DEVICES:
        raise UserError(
            f"device must be auto, cpu, cuda, cuda:N or a GPU's number, found {beginning(repr(name))}. Use device cpu "
            "or auto."
        )
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UserError(f"device {name} was asked for, but this torch sees no Apple GPU. Use device cpu or auto.")
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UserError(f"device {name} was asked for, but this torch sees no GPU. Use device cpu or auto.")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(
            f"device {name} was asked for, but there are only {torch.cuda.device_count()} GPUs. Use a lower number."
        )
    return device


def build_trainer(device: torch.device, devices: int, callbacks: list[pl.Callback]) -> pl.Trainer:
    """A Trainer that does nothing but loop: saving, evaluation, progress and precision are the run's own."""
    quieten()
    accelerator = {"cuda": "gpu"}.get(device.type, device.type)
    world = place_among_processes(devices)[1]
    local = _processes_here(devices, world)
    single = [device.index or 0] if device.type == "cuda" else 1
    return PatientTrainer(
        accelerator=accelerator,
        devices=local if world > 1 else single,
        num_nodes=world // local,
        strategy=ReducedByHand() if world > 1 else "auto",
        max_epochs=1,
        callbacks=callbacks,
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        limit_val_batches=0,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,
        benchmark=False,
    )


def place_among_processes(devices: int) -> tuple[int, int]:
    """This process's rank and the number of processes, known before the processes have met.

    torchrun starts every process itself and says so in RANK and WORLD_SIZE, SLURM's srun in SLURM_PROCID and
    SLURM_NTASKS; otherwise Lightning starts copies of this command, which find their number in LOCAL_RANK.
    """
    if "RANK" in os.environ and "WORLD_SIZE" in os.environ:
        atexit.register(_leave)
        return int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    if _started_by_slurm():
        atexit.register(_leave)
        return int(os.environ["SLURM_PROCID"]), int(os.environ["SLURM_NTASKS"])
    if devices > 1:
        atexit.register(_leave)
        return int(os.environ.get("LOCAL_RANK", "0")), devices
    return 0, 1


def _started_by_slurm() -> bool:
    """Whether srun started several of this command. In a shell on a node the tasks of the job are not copies of it."""
    several = int(os.environ.get("SLURM_NTASKS") or 1) > 1 and "SLURM_PROCID" in os.environ
    return several and os.environ.get("SLURM_JOB_NAME") not in ("bash", "interactive")


def _processes_here(devices: int, world: int) -> int:
    """How many of the `world` processes run on this machine."""
    if "RANK" in os.environ:
        return int(os.environ.get("LOCAL_WORLD_SIZE", devices))
    return world // int(os.environ.get("SLURM_NNODES") or 1) if _started_by_slurm() else devices


def _leave() -> None:
    """Before the interpreter ends: gloo's threads, still running then, sometimes abort a process that is done."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()


def quieten() -> None:
    """Keeps Lightning's advertisements and its advice about things decided here away from the user."""
    for name in ("lightning.pytorch", "lightning.fabric", "lightning"):
        logging.getLogger(name).setLevel(logging.ERROR)
    warnings.filterwarnings("ignore", module=r"lightning\.")
    warnings.filterwarnings("ignore", message=r".*isinstance\(treespec, LeafSpec\).*")
