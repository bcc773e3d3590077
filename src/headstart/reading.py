"""The one way to read a file that somebody else may have written: whatever goes wrong becomes one sentence.

Only regular files are read: a pipe would wait for ever, and a device never ends.
"""

from __future__ import annotations

import stat
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from headstart.errors import UserError, beginning

LARGEST_TEXT = 512 * 2**10
"""Bytes of the largest text (recipe, class map, list of names) that is read."""


def demand_regular(path: Path, what: str, remedy: str) -> None:
    """Raises UserError unless `path` leads to a regular file.

    what    how the sentence calls the file, such as "The recipe"
    remedy  a sentence without its full stop
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise UserError(f"{what} {path} does not exist. {remedy}.") from None
    except (OSError, ValueError) as error:  # a name that is too long, or has a zero in it
        raise UserError(f"{what} {beginning(path)} cannot be opened: {reason(error)}. {remedy}.") from None
    if stat.S_ISDIR(mode):
        raise UserError(f"{what} {path} is a folder, not a file. {remedy}.")
    if not stat.S_ISREG(mode):
        raise UserError(f"{what} {path} is a pipe or a device, not a regular file. {remedy}.")


@contextmanager
def reading(path: str | Path, what: str, remedy: str) -> Generator[None]:
    """What is raised inside becomes a UserError that names the file, says why it cannot be read, and what to do.

    A UserError passes as it is. `what` and `remedy` as for `demand_regular`, which comes first.
    """
    demand_regular(Path(path), what, remedy)
    try:
        yield
    except UserError:
        raise
    except Exception as error:  # a damaged file may stop its reader with anything
        raise UserError(f"{what} {path} cannot be read: {reason(error)}. {remedy}.") from error


def read_text(path: str | Path, what: str, remedy: str, *, most: int = LARGEST_TEXT) -> str:
    """The text of a UTF-8 file of at most `most` bytes. Raises UserError as `reading`."""
    path = Path(path)
    with reading(path, what, remedy):
        with path.open("rb") as file:
            content = file.read(most + 1)
        if len(content) > most:
            raise UserError(f"{what} {path} is larger than {most // 2**10} kB. {remedy}.")
        return content.decode("utf-8")


def reason(error: BaseException) -> str:
    """Why something could not be read, in a few words without a full stop: the line of an error that says it."""
    if isinstance(error, UnicodeDecodeError):
        return f"it is not UTF-8 text (byte {error.start + 1})"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, MemoryError):
        return "it does not fit into memory"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    # torch wraps what happened in advice.
    advice = ("Weights only load failed", "Please file an issue", "Check the documentation")
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = [line for line in lines if not line.startswith(advice)]
    first = (said or lines or [""])[0].partition(". ")[0].rstrip(".")
    # The text of a KeyError is the key alone.
    named = first if first and not isinstance(error, LookupError) else f"{type(error).__name__} {first}".strip()
    return beginning(named, 120)
