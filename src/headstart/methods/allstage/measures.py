"""How far two maps are apart, entry by entry, so that places, channels and rows can be weighted afterwards."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from headstart.methods.criteria.pearson import EPS

Measure = Literal["pearson", "mse", "smooth_l1", "cosine", "channel_kl", "ssim"]
"""The measures of maps."""

RowMeasure = Literal["pearson", "mse", "smooth_l1", "cosine"]
"""Those that rows of vectors, which have no places, can be compared by."""

MASKED = -1e9
"""The logit of a place that must get no probability; finite, so that nothing becomes NaN."""


def measure_errors(
    measure: Measure, own: Tensor, goal: Tensor, mask: Tensor, *, sample: bool = False, temperature: float = 1.0
) -> Tensor:
    """The errors (B, C, H, W), or (B, 1, H, W) of `cosine`, whose mean over the cells of `mask` is the measure.

    own, goal    (B, C, H, W), compared in float32, whatever the precision of the run
    mask         (B, 1, H, W) float: 1 where a cell counts; the others change no statistic
    sample       `pearson`: the sample standard deviation, as PKD's code has it; else that of the population
    temperature  `channel_kl`: of the softmax over places

    pearson     half the squared error of maps standardised channel by channel over images and places; its mean is
                1 - the mean of the channels' correlations (population standard deviation). PKD (arXiv:2207.02039)
    mse, smooth_l1   the squared error, and Huber's
    cosine      1 - the cosine of the two vectors of each cell
    channel_kl  temperature^2 x the divergence of each channel's softmax over places, teacher from student; the mean is
                CWD's (arXiv:2011.13256). An entry is p log(p / q) - p + q, so that none is negative and the sum of a
                channel is its divergence
    ssim        (1 - SSIM) / 2 of channels scaled to 0..1 over images and places, in Gaussian windows of 11 cells
                (arXiv:2211.13133); windows end at the border of the mask

    All are 0 where the maps agree. Raises ValueError if the shapes differ.
    """
    if own.shape != goal.shape:
        raise ValueError(f"student's features are {tuple(own.shape)}, teacher's {tuple(goal.shape)}")
    made: dict[Measure, Callable[[Tensor, Tensor, Tensor], Tensor]] = {
        "pearson": partial(_pearson, sample=sample),
        "mse": lambda s, t, m: (s - t).square(),
        "smooth_l1": lambda s, t, m: functional.smooth_l1_loss(s, t, reduction="none"),
        "cosine": lambda s, t, m: 1 - functional.cosine_similarity(s, t, dim=1)[:, None],
        "channel_kl": partial(_channel_kl, temperature=temperature),
        "ssim": _ssim,
    }
    with torch.autocast(own.device.type, enabled=False):
        return made[measure](own.float(), goal.detach().float(), mask.float())


def masked_mean(values: Tensor, mask: Tensor, dim: tuple[int, ...] = (0, 2, 3)) -> Tensor:
    """The mean of values (B, C, H, W) over `dim` (kept, with size 1) and the cells of mask (B, 1, H, W)."""
    return (values * mask).sum(dim, keepdim=True) / mask.sum(dim, keepdim=True).clamp(min=1)


def _pearson(own: Tensor, goal: Tensor, mask: Tensor, *, sample: bool) -> Tensor:
    return (_standardise(own, mask, sample) - _standardise(goal, mask, sample)).square() / 2


def _standardise(maps: Tensor, mask: Tensor, sample: bool) -> Tensor:
    """Mean 0 and deviation 1 in each channel over the cells of the mask; a constant channel becomes 0."""
    count = mask.sum()
    centred = maps - masked_mean(maps, mask)
    variance = masked_mean(centred.square(), mask)
    if sample:
        variance = variance * (count / (count - 1).clamp(min=1))
    # The root of 0 has no gradient.
    flat = variance <= 0
    deviation = torch.where(flat, 1.0, variance).sqrt().masked_fill(flat, 0.0)
    return centred / (deviation + EPS)


def _channel_kl(own: Tensor, goal: Tensor, mask: Tensor, *, temperature: float) -> Tensor:
    def looks(maps: Tensor) -> Tensor:
        return functional.log_softmax(maps.masked_fill(mask == 0, MASKED).flatten(2) / temperature, dim=2)

    log_q, log_p = looks(own), looks(goal)
    p, q = log_p.exp(), log_q.exp()
    found = (p * (log_p - log_q) - p + q).reshape(own.shape)
    # Each image counts the same, whatever its size: the mean over the mask gives the mean of the images' sums.
    return found * (temperature**2 * mask.sum() / len(mask))


def _ssim(own: Tensor, goal: Tensor, mask: Tensor, *, k1: float = 0.01, k2: float = 0.03) -> Tensor:
    own, goal = _scale(own, mask), _scale(goal, mask)
    window = _gaussian(own)

    def blur(maps: Tensor) -> Tensor:
        return _blur(maps * mask, window) / _blur(mask, window).clamp(min=EPS)

    mean_s, mean_t = blur(own), blur(goal)
    var_s, var_t = blur(own.square()) - mean_s.square(), blur(goal.square()) - mean_t.square()
    both = blur(own * goal) - mean_s * mean_t
    likeness = (2 * mean_s * mean_t + k1**2) / (mean_s.square() + mean_t.square() + k1**2)
    likeness = likeness * (2 * both + k2**2) / (var_s + var_t + k2**2)
    return (1 - likeness) / 2


def _scale(maps: Tensor, mask: Tensor) -> Tensor:
    """Every channel from 0 to 1 over the cells of the mask."""
    low = maps.masked_fill(mask == 0, torch.inf).amin((0, 2, 3), keepdim=True)
    high = maps.masked_fill(mask == 0, -torch.inf).amax((0, 2, 3), keepdim=True)
    return (maps - low) / (high - low).clamp(min=EPS)


def _gaussian(like: Tensor, *, reach: int = 5, sigma: float = 1.5) -> Tensor:
    """The weights (2 reach + 1,) of a window along one axis."""
    place = torch.arange(-reach, reach + 1, dtype=torch.float32, device=like.device)
    weights = (-place.square() / (2 * sigma**2)).exp()
    return weights / weights.sum()


def _blur(maps: Tensor, window: Tensor) -> Tensor:
    """(B, C, H, W) averaged by a separable window along both axes; beyond the border lies nothing (0)."""
    reach = len(window) // 2
    rows = maps.flatten(0, 1)[:, None]
    rows = functional.conv2d(rows, window[None, None, :, None], padding=(reach, 0))
    return functional.conv2d(rows, window[None, None, None, :], padding=(0, reach)).reshape(maps.shape)
