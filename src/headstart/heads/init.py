"""How a head's layers are drawn before training."""

from __future__ import annotations

import math

from torch import nn

from headstart.heads.deformable import DeformableConv

PRIOR_BIAS = -math.log((1 - 0.01) / 0.01)
"""Bias of a classifier that starts by calling one cell in a hundred an object (arXiv:1708.02002)."""


def draw_normal(layer: nn.Conv2d | nn.Linear | DeformableConv, std: float, bias: float = 0.0) -> None:
    """Weights from N(0, std), a constant bias where there is one."""
    nn.init.normal_(layer.weight, std=std)
    if layer.bias is not None:
        nn.init.constant_(layer.bias, bias)


def draw_he(layer: nn.Conv2d) -> None:
    """Weights from a normal that keeps the size of gradients through a ReLU (arXiv:1502.01852)."""
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")


def draw_xavier(layer: nn.Linear) -> None:
    """Weights by Xavier's uniform rule, bias zero."""
    nn.init.xavier_uniform_(layer.weight)
    nn.init.zeros_(layer.bias)
