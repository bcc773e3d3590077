"""headstart methods: the ways to train a student."""

from __future__ import annotations

from typing import Annotated

from typer import Argument

from headstart.cli.errors import handle_errors
from headstart.terminal import say


@handle_errors
def methods(name: Annotated[str | None, Argument(help="Describe this method in full.")] = None) -> None:
    """List the ways to train a student, or describe one with its options."""
    import inspect
    from dataclasses import fields

    from headstart.method_choice import BASELINE
    from headstart.methods import METHODS, options_class
    from headstart.pace import Pace
    from headstart.report.table import listing, show

    if name is None:
        rows = [{"name": key, "what": (inspect.getdoc(build) or "").splitlines()[0]} for key, build in METHODS.items()]
        show(listing(rows))
        say("In full: headstart methods NAME. Options: --set method.OPTION=VALUE. Several at once: --method A+B.")
        return
    described = [options_class(name), *([Pace] if name != BASELINE else [])]
    say(inspect.getdoc(METHODS[name]) or "")
    for options in described:
        rows = [{"option": field.name, "default": repr(field.default)} for field in fields(options)]
        if rows:
            say(f"\n{inspect.getdoc(options)}\n")
            show(listing(rows))
