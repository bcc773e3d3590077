"""Why a file gives no picture."""

from __future__ import annotations

MISSING = "it does not exist"
"""The reason for a file that is not there."""


class UnreadableError(Exception):
    """The reason: a kind and perhaps details between brackets, such as `damaged (a JPEG cut short)`.

    lasting  whether it will be so until the file itself changes: not for missing rights or memory
    """

    def __init__(self, reason: str, *, lasting: bool = True) -> None:
        super().__init__(reason)
        self.lasting = lasting
