"""Ctrl-C and SIGTERM end a run at the next step boundary, where everything can be saved."""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType

Handler = Callable[[int, FrameType | None], object] | int | None
"""Of a signal, as the module `signal` has them."""


class Interrupted(Exception):  # noqa: N818 (nothing went wrong)
    """The run was stopped from outside; the message says what was saved and how to go on."""


class Interrupt:
    """Catches the first SIGINT or SIGTERM as a wish; the second one, or one while `immediate`, stops at once.

    `immediate` is set while nothing would be lost (during an evaluation, after a save). `restore` gives the signals
    back to whoever had them before the first `install`.
    """

    def __init__(self) -> None:
        self.requested = False
        self.immediate = False
        self._former: dict[int, Handler] = {}

    def install(self) -> None:
        """Takes both signals over, again if somebody has taken them since.

        Only the main thread may, so elsewhere (a notebook's worker) nothing changes.
        """
        for number in (signal.SIGINT, signal.SIGTERM):
            try:
                former = signal.signal(number, self._catch)
            except ValueError:
                return
            self._former.setdefault(number, former)

    def restore(self) -> None:
        """Gives both signals back."""
        for number, handler in self._former.items():
            signal.signal(number, handler)
        self._former = {}

    def _catch(self, number: int, frame: FrameType | None) -> None:
        again, self.requested = self.requested, True
        if again or self.immediate:
            raise Interrupted
