"""The stages C2..C5 of an image at strides 4, 8, 16, 32; the first stages and the batch norms can be frozen."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from headstart.errors import UserError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

_PROBE_SIZE = (64, 96)


class Backbone(nn.Module):
    """A feature extractor and what a detector must know about it.

    body           any module: (B, 3, H, W) to a list of maps; `out_indices` says which of them are the stages
    channels, strides   of the stages, finest first
    frozen_stages  the first n stages (1: stem and C2) take no part in training: parameters fixed, their norms and
                   dropout in eval mode. As nothing before C2 then needs a gradient, autograd records nothing there
                   and backward ends at C2.
    norm_eval      every BatchNorm keeps its running statistics; its scale and shift are still trained
    mean, std      per channel, of RGB values in 0..1, that the weights were trained with
    notes          what was done to load its weights, a sentence each

    Raises UserError when the module does not give such maps (it is tried once on a small image).
    """

    def __init__(
        self,
        body: nn.Module,
        *,
        name: str,
        channels: Sequence[int] | None = None,
        strides: Sequence[int] | None = None,
        out_indices: Sequence[int] | None = None,
        frozen_stages: int = 0,
        norm_eval: bool = False,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        notes: Sequence[str] = (),
    ):
        super().__init__()
        self.body = body
        self.name = name
        self.out_indices = None if out_indices is None else list(out_indices)
        self.channels_first = str(getattr(body, "output_fmt", "NCHW")).rpartition(".")[2] != "NHWC"
        self.frozen_stages = frozen_stages
        self.norm_eval = norm_eval
        self.mean = tuple(mean)
        self.std = tuple(std)
        self.notes = tuple(notes)
        self._frozen_modules: list[str] = []
        body.eval()
        stages = self._probe()
        self.channels = _check_channels(name, stages, channels)
        self.strides = _check_strides(name, stages, strides)
        if not 0 <= frozen_stages <= len(stages):
            raise UserError(
                f"frozen_stages must be between 0 and {len(stages)} for backbone {name}, not {frozen_stages}"
            )
        if frozen_stages:
            self._freeze(stages[frozen_stages - 1])
        del stages
        self.train()

    def forward(self, pixels: Tensor) -> list[Tensor]:
        """Normalised (B, 3, H, W), sides multiples of 32, to maps (B, channels[i], H / strides[i], W / strides[i])."""
        maps = self.body(pixels)
        if self.out_indices is not None:
            maps = [maps[index] for index in self.out_indices]
        if not self.channels_first:
            maps = [m.permute(0, 3, 1, 2) for m in maps]
        return list(maps)

    def train(self, mode: bool = True) -> Backbone:
        """Like that of any module, but frozen stages, and with `norm_eval` all batch norms, stay in evaluation mode."""
        super().train(mode)
        for name in self._frozen_modules:
            self.body.get_submodule(name).eval()
        if self.norm_eval:
            for module in self.body.modules():
                if isinstance(module, _BatchNorm):
                    module.eval()
        return self

    def _probe(self) -> list[Tensor]:
        parameter = next(self.body.parameters(), torch.zeros(()))
        pixels = torch.zeros(1, 3, *_PROBE_SIZE, device=parameter.device, dtype=parameter.dtype)
        with torch.enable_grad():
            try:
                maps = self.forward(pixels)
            except (AssertionError, RuntimeError, ValueError) as error:
                raise UserError(
                    f"backbone {self.name} does not take images of any size: on {_PROBE_SIZE[0]} x {_PROBE_SIZE[1]} "
                    f"pixels it says '{error}'. Use another one, such as r50, mnv2, swin_t or convnext_t"
                ) from error
        if not maps or not all(isinstance(m, Tensor) and m.dim() == 4 for m in maps):
            raise UserError(f"backbone {self.name} must return a list of maps (B, C, H, W), finest first")
        return maps

    def _freeze(self, last: Tensor) -> None:
        # Autograd knows which parameters the last frozen stage depends on; names differ from family to family.
        parameters = [p for p in self.body.parameters() if p.requires_grad]
        grads = torch.autograd.grad(last.sum(), parameters, allow_unused=True)
        for parameter, grad in zip(parameters, grads, strict=True):
            if grad is not None:
                parameter.requires_grad_(False)
        for name, module in self.body.named_modules():
            inside = list(module.parameters())
            if inside and not any(p.requires_grad for p in inside):
                self._frozen_modules.append(name)


def _check_channels(name: str, maps: list[Tensor], given: Sequence[int] | None) -> list[int]:
    found = [m.shape[1] for m in maps]
    if given is not None and list(given) != found:
        raise UserError(f"backbone {name}: channels {list(given)} were announced, its maps have {found}")
    return found


def _check_strides(name: str, maps: list[Tensor], given: Sequence[int] | None) -> list[int]:
    height, width = _PROBE_SIZE
    found = [height // m.shape[2] for m in maps]
    exact = all((m.shape[2] * s, m.shape[3] * s) == (height, width) for m, s in zip(maps, found, strict=True))
    if not exact or found != sorted(found):
        sizes = [tuple(m.shape[2:]) for m in maps]
        raise UserError(
            f"backbone {name}: expected maps from fine to coarse, found {sizes} for an image of {_PROBE_SIZE}"
        )
    if given is not None and list(given) != found:
        raise UserError(f"backbone {name}: strides {list(given)} were announced, its maps have {found}")
    return found
