"""Who pays for what is computed once for everybody: everyone who asks for it, as if alone."""

from __future__ import annotations

from collections.abc import Hashable
from contextlib import AbstractContextManager, nullcontext
from typing import Protocol


class Costs(Protocol):
    """Told by a teacher what it computes of a batch, and what it is asked for; the run's clocks are behind it."""

    def making(self, what: Hashable) -> AbstractContextManager[None]:
        """A context in which `what` is computed; other things may be computed or asked for inside."""
        ...

    def ask(self, what: Hashable) -> None:
        """Somebody was given `what`, computed before or just now."""
        ...


class NoCosts:
    """Nobody counts."""

    def making(self, what: Hashable) -> AbstractContextManager[None]:
        return nullcontext()

    def ask(self, what: Hashable) -> None:
        pass
