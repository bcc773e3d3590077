"""Memory that a training step frees is kept for the next one."""

from __future__ import annotations

import ctypes
import sys

M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4
KEPT = 2**31 - 1


def keep_freed_memory() -> bool:
    """Tells glibc not to hand large freed blocks back to the system; whether it did.

    It maps every block of some 32 MB anew and unmaps it when freed, and the system clears each of its pages again in
    every step: on processors that was 8 % of a HEAD step (320 px; benchmarks/README.md). The process holds on to
    what its largest step needed. Other systems and C libraries are left alone.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        mallopt = ctypes.CDLL("libc.so.6").mallopt
    except (OSError, AttributeError):
        return False
    return bool(mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, KEPT))
