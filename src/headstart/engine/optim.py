"""One optimiser per lane, over the student and what its method trains besides it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from headstart.errors import UserError
from headstart.methods import Method

OPTIMISERS = ("sgd", "adamw")

FULL_RATE = {"sgd": 0.01, "adamw": 1e-4}
"""What `lr: auto` means at 16 images per step; other batches in proportion."""


def build_optimizer(
    method: Method,
    name: str = "sgd",
    *,
    lr: float = 0.01,
    weight_decay: float = 1e-4,
    momentum: float = 0.9,
    nesterov: bool = False,
    decay_norm_and_bias: bool = True,
) -> torch.optim.Optimizer:
    """SGD or AdamW over every trainable parameter of `method.student` and `method.parts()`, each exactly once.

    All parameters get the same rate and decay (mmdetection's schedule_1x), except that with
    `decay_norm_and_bias=False` norms and biases are not decayed: every parameter of at most one dimension, so learned
    factors of heads and backbones (`scales`, LayerScale) too, and whatever is called a bias.
    Raises UserError if the method has trainable parameters that neither the student nor its parts hold.
    """
    decayed, plain = _split(method, decay_norm_and_bias)
    groups = [{"params": decayed, "weight_decay": weight_decay}]
    if plain:
        groups.append({"params": plain, "weight_decay": 0.0})
    # Fused: one pass over each parameter instead of one per operation, on CPUs too (AdamW: a third of the time).
    if name == "sgd":
        return torch.optim.SGD(
            groups, lr=lr, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay, fused=True
        )
    if name == "adamw":
        betas = (momentum, 0.999)
        return torch.optim.AdamW(groups, lr=lr, betas=betas, weight_decay=weight_decay, fused=True)
    raise UserError(f"optimizer must be one of {', '.join(OPTIMISERS)}, found {name!r}.")


def trainable(method: Method) -> dict[str, nn.Parameter]:
    """The parameters that the lane's optimiser steps, by their names inside the method."""
    wanted = {id(p) for module in (method.student, *method.parts().values()) for p in module.parameters()}
    found = {name: p for name, p in method.named_parameters() if p.requires_grad}
    strangers = [name for name, p in found.items() if id(p) not in wanted]
    if strangers:
        raise UserError(
            f"{type(method).__name__} holds {strangers[0]}, which neither its student nor its parts() contain, so it "
            "would not be trained. Add the module to parts()."
        )
    if len(wanted - {id(p) for p in method.parameters()}):
        raise UserError(f"{type(method).__name__}.parts() has a module that the method does not hold as an attribute.")
    return found


def clip_gradients(parameters: list[nn.Parameter], limit: float | None) -> Tensor:
    """Scales the gradients so that their joint L2 norm is at most `limit`; the norm before, a scalar tensor.

    Without a limit the norm is only measured. Nothing is synchronised with the host.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    norm = torch.nn.utils.get_total_norm(gradients)
    if limit is not None:
        torch.nn.utils.clip_grads_with_norm_(parameters, limit, norm)
    return norm


def _split(method: Method, decay_norm_and_bias: bool) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    found = trainable(method)
    if decay_norm_and_bias:
        return list(found.values()), []
    plain = {name for name, p in found.items() if p.ndim < 2 or name.endswith("bias")}
    return [p for name, p in found.items() if name not in plain], [p for name, p in found.items() if name in plain]
