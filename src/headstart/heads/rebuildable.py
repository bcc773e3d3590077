"""What all heads share that can be made again: their options."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Generic, Self, TypeVar

from torch import nn

Options = TypeVar("Options")


class Rebuildable(nn.Module, Generic[Options]):
    """A head that is made by `Kind(num_classes, channels, strides, options)` and remembers the options.

    Options      the frozen dataclass of the kind's options
    hparams      the one that this head was made with
    num_classes  K, the background not counted
    """

    Options: ClassVar[type[Any]]
    hparams: Options
    num_classes: int

    def rebuild(self, channels: int, strides: Sequence[int], num_classes: int | None = None) -> Self:
        """A new head with the same options, its weights drawn anew.

        `channels` and `strides` are those of the pyramid that it is to read; `num_classes` is its own unless given.
        """
        count = self.num_classes if num_classes is None else num_classes
        return type(self)(count, channels, strides, self.rebuild_options())

    def rebuild_options(self) -> Options:
        """The options of another head of the same make."""
        return self.hparams
