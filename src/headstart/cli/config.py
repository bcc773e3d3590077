"""headstart config: the settings of a run, resolved or as a schema."""

from __future__ import annotations

import sys

import typer

from headstart.cli import options
from headstart.cli.distill import Assistants, Compare, Method, Teacher
from headstart.cli.errors import handle_errors
from headstart.cli.words import WordsCommand
from headstart.terminal import say

config = typer.Typer(help="Show the settings of a run, or their schema.", no_args_is_help=True)


@config.command(cls=WordsCommand)
@handle_errors
def show(
    data: options.Data = None,
    student: options.Student = None,
    teacher: Teacher = None,
    method: Method = None,
    assistants: Assistants = None,
    compare: Compare = None,
    class_map: options.ClassMap = None,
    epochs: options.Epochs = None,
    steps: options.Steps = None,
    schedule: options.Schedule = None,
    imgsz: options.Imgsz = None,
    batch: options.Batch = None,
    backbone: options.Backbone = None,
    weights: options.Weights = None,
    lr: options.Lr = None,
    optimizer: options.Optimizer = None,
    device: options.Device = None,
    recipe: options.Recipe = None,
    settings: options.Settings = None,
) -> None:
    """Print a run with every default filled in; with --data, what only data and device decide is filled in, too.

    headstart config show --data DIR --student retinanet_r18 --epochs 12
    """
    given = dict(locals())
    given.pop("recipe"), given.pop("settings")
    from headstart.api import read_settings
    from headstart.recipe import dump_run

    run = read_settings(given, recipe, settings or ())
    if data is None:
        say(dump_run(run), end="")
        return
    from headstart.early import look_first

    look_first(run)
    from headstart.engine.prepare import settle

    settled = settle(run, lambda text: say(text, stream=sys.stderr))
    train = settled.run.train.model_copy(update={"device": str(settled.device)})
    say(f"# {settled.total} steps, {settled.per_epoch} in an epoch of {len(settled.train_data)} images")
    say(dump_run(settled.run.model_copy(update={"train": train})), end="")


@config.command()
@handle_errors
def schema() -> None:
    """Print the JSON schema of recipes, for editors that complete YAML."""
    import json

    from headstart.config import Run

    say(json.dumps(Run.model_json_schema(), indent=2))
