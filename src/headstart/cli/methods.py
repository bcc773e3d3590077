"""headstart methods: the ways to train a student."""

from __future__ import annotations

from typing import Annotated

from typer import Argument

from headstart.cli.errors import handle_errors


@handle_errors
def methods(name: Annotated[str | None, Argument(help="Describe this method in full.")] = None) -> None:
    """List the ways to train a student, or describe one with its options."""
    import inspect

    from headstart.methods import METHODS, method_options
    from headstart.report.table import listing, show

    if name is None:
        rows = [{"name": key, "what": (inspect.getdoc(kind) or "").splitlines()[0]} for key, kind in METHODS.items()]
        show(listing(rows))
        print("In full: headstart methods NAME. Options: --set method.OPTION=VALUE.")
        return
    options = method_options(name)
    print(inspect.getdoc(METHODS[name]))
    parameters = inspect.signature(METHODS[name]).parameters
    rows = [{"option": option, "default": repr(parameters[option].default)} for option in options]
    if rows:
        print()
        show(listing(rows))
