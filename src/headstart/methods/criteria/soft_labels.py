"""Classes and distributions that are to be those of a teacher."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def soft_focal(logits: Tensor, teacher: Tensor, weight: Tensor, *, beta: float = 1.0) -> Tensor:
    """Sum of the quality focal loss with the teacher's probabilities as soft labels: class scores by sigmoid.

    logits, teacher (N, K) logits; weight (N,) per row. Each entry's binary cross-entropy with the teacher's probability
    is weighted by |difference of the probabilities|^beta, through which gradient flows too: 0 where they agree, for
    beta > 0. Returns a scalar, in float32.

    Source: CrossKD (arXiv:2306.11369), tests/parity, crosskd_*.
    """
    logits, goal = logits.float(), teacher.detach().float().sigmoid()
    effort = functional.binary_cross_entropy_with_logits(logits, goal, reduction="none")
    return ((logits.sigmoid() - goal).abs().pow(beta) * effort * weight[:, None]).sum()


def divergence(logits: Tensor, teacher: Tensor, *, temperature: float = 1.0) -> Tensor:
    """Kullback-Leibler divergence of each row's distribution from the teacher's: (N, n), (N, n) logits -> (N,).

    temperature^2 x sum over k of p_k (log p_k - log q_k), p the teacher's softmax and q the other's, both of
    logits / temperature.

    Source: LD (arXiv:2102.12252) and CrossKD (arXiv:2306.11369), tests/parity, crosskd_gfl.
    """
    goal = functional.log_softmax(teacher.detach().float() / temperature, dim=-1)
    found = functional.log_softmax(logits.float() / temperature, dim=-1)
    return (goal.exp() * (goal - found)).sum(dim=-1) * temperature**2


def match_statistics(maps: Tensor, teacher: Tensor, eps: float = 1e-6) -> Tensor:
    """`maps` (B, C, H, W) with the mean and standard deviation of each channel of `teacher` (B, C, H', W').

    Over images and places; the deviation is the unbiased one, `eps` is added to that of `maps`. Gradient flows through
    their statistics too; the teacher's are constants. A channel of one value only (batch 1, a map of one cell) has no
    deviation: it becomes the teacher's mean, so that such a level teaches nothing instead of giving NaN.

    Source: CrossKD (arXiv:2306.11369), tests/parity, crosskd_*: the released `align_scale`.
    """
    kind = maps.dtype
    maps, teacher = maps.float(), teacher.detach().float()
    own_std, own_mean = _moments(maps)
    std, mean = _moments(teacher)
    return ((maps - own_mean) / (own_std + eps) * std + mean).to(kind)


def _moments(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Deviation and mean of each channel, (1, C, 1, 1)."""
    many = maps.numel() // maps.shape[1] > 1
    return torch.std_mean(maps, dim=(0, 2, 3), keepdim=True, correction=int(many))
