"""The command `headstart`: one file per verb, from arguments to a function. Importing this must not import torch."""

from __future__ import annotations

from typing import Annotated

import typer

import headstart
from headstart.cli.config import config
from headstart.cli.data import data
from headstart.cli.demo import demo
from headstart.cli.distill import distill
from headstart.cli.import_ import import_
from headstart.cli.methods import methods
from headstart.cli.models import models
from headstart.cli.predict import predict
from headstart.cli.push import push
from headstart.cli.train import train
from headstart.cli.val import val
from headstart.cli.words import WordsCommand

app = typer.Typer(
    name="headstart",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for command in (demo, data, train, distill, val, predict, import_, push, models, methods):
    app.command(command.__name__.rstrip("_"), cls=WordsCommand)(command)
app.add_typer(config, name="config")


def _version(wanted: bool) -> None:
    if wanted:
        print(headstart.__version__)
        raise typer.Exit


@app.callback()
def headstart_command(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """Distil any object detector into any other, and prove whether it helped."""


def main() -> None:
    """What the console script and `python -m headstart` run."""
    app(prog_name="headstart")
