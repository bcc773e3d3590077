"""Joining several processes by hand: one mean of gradients per lane, after its backward pass.

DistributedDataParallel expects one backward pass per forward pass, while a step here has one per lane, so its hooks
would count wrongly. Plain collective calls between backward and step have no such state, and find parameters without
a gradient by themselves: the process contributes zeros.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn

BUCKET_BYTES = 25 * 2**20


def world_size() -> int:
    """How many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def mean_gradients(parameters: list[nn.Parameter]) -> None:
    """Replaces each parameter's gradient (of its shape) by its mean over the processes, in flat buckets.

    A gradient that a process does not have counts as zeros there.
    """
    world = world_size()
    if world == 1:
        return
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    for bucket in _buckets([p.grad for p in parameters if p.grad is not None]):
        flat = torch.cat([g.reshape(-1) for g in bucket])
        dist.all_reduce(flat)
        _scatter(flat.div_(world), bucket)


def share_tensors(tensors: list[Tensor]) -> None:
    """Overwrites the tensors, of any shapes, with those of process 0.

    For the start weights, and for the running statistics before each step.
    """
    for bucket in _buckets(tensors):
        flat = torch.cat([t.detach().reshape(-1) for t in bucket])
        dist.broadcast(flat, src=0)
        _scatter(flat, bucket)


def mean_tensor(tensor: Tensor) -> Tensor:
    """The mean over the processes, of the same shape; the tensor itself where there is one process."""
    world = world_size()
    if world > 1:
        tensor = tensor.clone()
        dist.all_reduce(tensor)
        tensor /= world
    return tensor


def any_rank(flag: bool, device: torch.device) -> bool:
    """Whether the flag is set in any process; every process has to ask."""
    if world_size() == 1:
        return flag
    raised = torch.tensor(float(flag), device=device)
    dist.all_reduce(raised, op=dist.ReduceOp.MAX)
    return bool(raised.item())


def _buckets(tensors: list[Tensor]) -> list[list[Tensor]]:
    buckets: list[list[Tensor]] = []
    room = 0
    for tensor in sorted(tensors, key=lambda t: str(t.dtype)):
        size = tensor.numel() * tensor.element_size()
        if not buckets or size > room or buckets[-1][0].dtype != tensor.dtype:
            buckets.append([])
            room = BUCKET_BYTES
        buckets[-1].append(tensor)
        room -= size
    return buckets


@torch.no_grad()
def _scatter(flat: Tensor, tensors: list[Tensor]) -> None:
    start = 0
    for tensor in tensors:
        tensor.copy_(flat[start : start + tensor.numel()].view_as(tensor))
        start += tensor.numel()
