"""The one way to write a file of results: whoever reads it sees the old file or the whole new one, never a part."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomically(path: str | Path) -> Generator[Path]:
    """A path beside `path` to write to; it takes the place of `path` only when complete and on the disk.

    Folders are made as needed. Whatever is raised inside leaves the old file and nothing else behind; a process that
    is killed leaves its unfinished file, whose name begins with a dot.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The number of the process: two that write the same file must not write into each other's.
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        partial.touch()
        mode = partial.stat().st_mode
        yield partial
        # Some writers (safetensors) make files that nobody else can read, whatever the umask says.
        partial.chmod(mode)
        with partial.open("r+b") as file:  # Windows flushes only what may be written
            os.fsync(file.fileno())
        partial.replace(path)
    finally:
        with contextlib.suppress(OSError):  # the place itself may be impossible
            partial.unlink(missing_ok=True)
