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
from headstart.errors import UserError

MISTAKE, STOPPED = 2, 130


P = ParamSpec("P")
R = TypeVar("R")


def handle_errors(command: Callable[P, R]) -> Callable[P, R]:
    """The command with its expected exceptions turned into words on standard error and an exit status.

    Raises typer.Exit in their place.
    """

    @functools.wraps(command)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return command(*args, **kwargs)
        except UserError as error:
            typer.secho(f"Error: {error}", fg="red", err=True)
            raise typer.Exit(MISTAKE) from None
        except OSError as error:
            if error.filename is None:  # not about a file, so nobody's path is to blame
                raise
            about = f"{error.filename}: {error.strerror or error}"
            typer.secho(f"Error: {about}. Check the path, its permissions and the free space.", fg="red", err=True)
            raise typer.Exit(MISTAKE) from None
        except Interrupted as stop:
            if str(stop):  # only the first of several processes has something to say
                print(stop, file=sys.stderr)
            raise typer.Exit(STOPPED) from None
        except KeyboardInterrupt:
            print("Stopped; nothing was being trained yet.", file=sys.stderr)
            raise typer.Exit(STOPPED) from None

    return wrapped
