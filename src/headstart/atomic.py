"""The one way to write a file of results: whoever reads it sees the old file or the whole new one, never a part."""

from __future__ import annotations

import contextlib
import os
import re
import secrets
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

PARTIAL = re.compile(r"\..+\.(?:[0-9a-f]{16}\.partial|\d+\.part(?:ial)?)|\.last\.ckpt\.partial|\.tmp\w{6}")
"""What unfinished files are called, by this and by earlier versions, and by the writer of safetensors."""


@contextmanager
def atomically(path: str | Path) -> Generator[Path]:
    """A path beside `path` to write to; it takes the place of `path` only when complete and on the disk.

    Folders are made as needed. Whatever is raised inside leaves the old file and nothing else behind; a process that
    is killed leaves its unfinished file, whose name begins with a dot (`remove_partials`). Nobody can foresee that
    name, and a file or a link that has it already is never written to.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{secrets.token_hex(8)}.partial")
    try:
        partial.touch(exist_ok=False)
    except OSError as error:
        error.filename = str(path)  # the name that the user knows
        raise
    try:
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


@contextmanager
def alone(lock: Path) -> Generator[None]:
    """Waits until no other process is inside with the same file. Where locks are not to be had, nobody waits."""
    with contextlib.ExitStack() as stack:
        try:
            import fcntl

            lock.parent.mkdir(parents=True, exist_ok=True)
            held = stack.enter_context(lock.open("ab"))
            fcntl.flock(held, fcntl.LOCK_EX)
        except (ImportError, OSError):
            pass
        yield


def remove_partials(folder: Path) -> None:
    """Removes what processes that were killed have left unfinished in a folder; only for one that nobody writes to."""
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        if PARTIAL.fullmatch(path.name) and (path.is_symlink() or path.is_file()):
            with contextlib.suppress(OSError):
                path.unlink(missing_ok=True)
