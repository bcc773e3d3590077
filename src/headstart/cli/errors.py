"""Mistakes of a user and refusals of the file system become one line and exit status 2, a stopped run 130.

Tracebacks are for faults of ours.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

import typer

from headstart.engine.interrupt import Interrupted
from headstart.errors import UserError, beginning
from headstart.terminal import printable, say

MISTAKE, STOPPED = 2, 130


P = ParamSpec("P")
R = TypeVar("R")


def handle_errors(command: Callable[P, R]) -> Callable[P, R]:
    """The command with its expected exceptions turned into words on standard error and an exit status.

    Raises typer.Exit in their place. A reader that has gone (`| head`) ends the command without a word: typer sees to
    it.
    """

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            done = command(*args, **kwargs)
            sys.stdout.flush()  # not when the interpreter ends: a reader that has gone would be a traceback then
            return done
        except UserError as error:
            _say_error(str(error))
            raise typer.Exit(MISTAKE) from None
        except OSError as error:
            if error.filename is None:  # not about a file, so nobody's path is to blame
                raise
            place = beginning(error.filename, 300)
            _say_error(f"{place}: {error.strerror or error}. Check the path, its permissions and the free space.")
            raise typer.Exit(MISTAKE) from None
        except Interrupted as stop:
            if str(stop):  # only the first of several processes has something to say
                say(str(stop), stream=sys.stderr)
            raise typer.Exit(STOPPED) from None
        except KeyboardInterrupt:
            say("Stopped; nothing was being trained yet.", stream=sys.stderr)
            raise typer.Exit(STOPPED) from None

    return wrapped


def _say_error(text: str) -> None:
    typer.secho(printable(f"Error: {text}"), fg="red", err=True)
