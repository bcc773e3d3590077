"""What every dense head of two towers shares: entering at a block, and what can be read inside."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Literal, Self, cast

from torch import Tensor, nn

from headstart.heads.cells import CellHead, CellOptions
from headstart.heads.convention import OWN, Convention
from headstart.heads.tower import Tower
from headstart.structures import DenseOutputs, Features, Regions, Size, Targets

TOWERS = ("cls_tower", "reg_tower")


class DenseHead(CellHead):
    """A head with a tower for classes and one for boxes. Subclasses give priors, predictions, assignment and loss.

    layer_names  what `layers` gives
    """

    predicts_at: Literal["cells"] = "cells"
    regions_per_image = 0
    layer_names: tuple[str, ...] = TOWERS
    cls: nn.Conv2d | nn.ModuleList

    def __init__(
        self,
        num_classes: int,
        channels: int,
        strides: Sequence[int],
        options: CellOptions,
        *,
        norm: bool = False,
        bias: bool | None = None,
        convention: Convention = OWN,
        tower: Callable[[], Tower] | None = None,
    ) -> None:
        """`norm`, `bias`: of the towers' convolutions (`Tower`); `tower` makes one of another kind, called twice."""
        super().__init__(num_classes, strides, options, convention)
        made = tower or partial(Tower, channels, options.width, options.depth, norm=norm, bias=bias)
        self.cls_tower, self.reg_tower = made(), made()

    def predict(self, cls: list[Tensor], reg: list[Tensor]) -> tuple[list[Tensor], list[Tensor], list[Tensor] | None]:
        """Class logits, box code and quality logits from the towers' activated results, all per level.

        cls, reg [l] (B, width, H, W) -> [l] (B, A*K, H, W), [l] (B, A*R, H, W), and [l] (B, A, H, W) or None; channels
        anchor by anchor.
        """
        raise NotImplementedError

    def forward(
        self, features: Features, sizes: list[Size], targets: list[Targets] | None = None, *, trace: bool = False
    ) -> DenseOutputs:
        return self.resume(features.pyramid, features.pyramid, start=0, sizes=sizes, trace=trace)

    def resume(
        self,
        cls_maps: list[Tensor],
        reg_maps: list[Tensor],
        *,
        start: int,
        sizes: list[Size],
        trace: bool = False,
        activated: bool = False,
    ) -> DenseOutputs:
        """Enter both towers at block `start` with maps per level and go to the end.

        For `start` > 0 the maps [l] (B, width, H, W) are what block `start` - 1 gave before its activation, as the
        traces hold it, or after it if `activated`; for 0 they are the pyramid's.
        """
        cls, cls_trace = run_tower(self.cls_tower, cls_maps, start, trace, activated)
        reg, reg_trace = run_tower(self.reg_tower, reg_maps, start, trace, activated)
        return DenseOutputs(*self.predict(cls, reg), sizes, cls_trace, reg_trace)

    def layers(self, outputs: DenseOutputs) -> dict[str, list[Tensor]]:
        """The activated results of both towers: what an assistant of this kind imitates. Needs a trace.

        {"cls_tower": [l] (B, width, H, W), "reg_tower": ...}.
        """
        return {
            "cls_tower": [self.activate(x) for x in outputs.cls_trace[-1]],
            "reg_tower": [self.activate(x) for x in outputs.reg_trace[-1]],
        }

    def activate(self, x: Tensor) -> Tensor:
        """The activation of its layers, on values of any shape: a ReLU in most heads, SiLU in some."""
        return self.cls_tower.activate(x)

    @property
    def minimum(self) -> float:
        """The least that `activate` gives."""
        return self.cls_tower.minimum

    def classifiers(self) -> dict[str, nn.Conv2d]:
        """The layers whose outputs are the classes, (A*K, C, kernel, kernel), by their names in its state dict."""
        if isinstance(self.cls, nn.ModuleList):
            return {f"cls.{level}": cast(nn.Conv2d, layer) for level, layer in enumerate(self.cls)}
        return {"cls": self.cls}

    @property
    def predictor(self) -> Self:
        """What makes the final predictions: the head itself."""
        return self

    @property
    def box_heads(self) -> tuple[()]:
        """What reads regions: nothing."""
        return ()

    @property
    def tower_shape(self) -> tuple[int, int]:
        """Width and depth of its two towers."""
        return self.width, len(self.cls_tower)

    def tap_names(self) -> list[str]:
        towers = [f"{name}/{block}" for name in TOWERS for block in range(len(self.cls_tower))]
        return [*self.layer_names, *towers, *super().tap_names()]

    def sampled_regions(self, outputs: DenseOutputs) -> list[Regions]:
        """The regions that it read in training: none."""
        return []

    def read_tap(self, name: str, outputs: DenseOutputs) -> list[Tensor]:
        part, _, which = name.partition("/")
        if part not in TOWERS:
            return super().read_tap(name, outputs)
        trace = outputs.cls_trace if part == "cls_tower" else outputs.reg_trace
        return trace[int(which) if which else -1]

    def keep_taps(self, outputs: DenseOutputs, names: Collection[str]) -> DenseOutputs:
        def kept(tower: str, trace: list[list[Tensor]]) -> list[list[Tensor]]:
            parts = [name.partition("/") for name in names]
            blocks = {int(block or len(trace) - 1) for part, _, block in parts if part == tower}
            return [maps if block in blocks else [] for block, maps in enumerate(trace)]

        return replace(
            super().keep_taps(outputs, names),
            cls_trace=kept("cls_tower", outputs.cls_trace),
            reg_trace=kept("reg_tower", outputs.reg_trace),
        )


def run_tower(
    tower: Tower, maps: Iterable[Tensor], start: int, trace: bool, activated: bool = False
) -> tuple[list[Tensor], list[list[Tensor]]]:
    """A tower from block `start` on: its activated result per level, and its trace [block][l] (empty if not asked)."""
    passed = [tower(x, start, level, activated=activated) for level, x in enumerate(maps)]
    blocks = [list(levels) for levels in zip(*(seen for _, seen in passed))] if trace else []
    return [x for x, _ in passed], blocks
