"""headstart config: the settings of a run, resolved or as a schema."""

from __future__ import annotations

import typer

from headstart.cli import options
from headstart.cli.errors import handle_errors
from headstart.terminal import say

config = typer.Typer(help="Show the settings of a run, or their schema.", no_args_is_help=True)


@config.command()
@handle_errors
def show(recipe: options.Recipe = None, settings: options.Settings = None) -> None:
    """Print a recipe with every default filled in."""
    from headstart.recipe import dump_run, load_run

    say(dump_run(load_run(recipe, None, settings or ())), end="")


@config.command()
@handle_errors
def schema() -> None:
    """Print the JSON schema of recipes, for editors that complete YAML."""
    import json

    from headstart.config import Run

    say(json.dumps(Run.model_json_schema(), indent=2))
