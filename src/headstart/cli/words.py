"""`key=value` words, as Ultralytics has them, beside options: `headstart train data=DIR model=fcos_r18 epochs=3`."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import typer
from typer.core import TyperArgument, TyperCommand, TyperOption

from headstart.data.raw import is_file
from headstart.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from typer import Context

ARGUMENTS = {"model": "weights", "student": "weights", "source": "sources"}
"""What others call the arguments of `val` and `predict`."""

YES, NO = ("true", "yes", "on", "1"), ("false", "no", "off", "0")


class WordsCommand(TyperCommand):
    """A command that also takes its options as `key=value`, under other tools' names too (`recipe.ALIASES`)."""

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:  # ty: ignore[incompatible-method-override]
        """The words, spelled out before they are parsed."""
        try:
            words = spell_out(args, self.params, ctx.command_path)
        except UserError as error:
            typer.secho(f"Error: {error}", fg="red", err=True)
            raise typer.Exit(2) from None
        return super().parse_args(ctx, words)


def spell_out(words: Sequence[str], params: Sequence[object], command: str) -> list[str]:
    """The words of a command line with every `key=value` as an option, a `--set` or an argument of the command.

    params   the options and arguments of the command;  command  how it is called, for the errors

    Raises UserError for a key that there is not, with the whole command as it is probably meant, and for a value that
    a switch cannot have.
    """
    known = _Known(params)
    found: list[str] = []
    arguments: list[tuple[int, str]] = []
    wrong: dict[str, str | None] = {}
    rest = list(words)
    while rest:
        word = rest.pop(0)
        pair = re.fullmatch(r"([A-Za-z_][\w.-]*)=(.*)", word, flags=re.DOTALL)
        if word == "--":
            found += [word, *rest]
            break
        if pair is None or is_file(Path(word)):
            found.append(word)
            if known.takes_value(word) and rest:
                found.append(rest.pop(0))
            continue
        key, value = pair[1], pair[2]
        near = key
        if not known.has(key):
            near = wrong[key] = known.nearest(key)
        if near is not None and (place := known.argument(near)) is not None:
            arguments.append((place, value))
        elif near is not None:
            found += known.option(near, value)
    spelled = [*(value for _, value in sorted(arguments, key=lambda one: one[0])), *found]
    if wrong:
        whole = shlex.join([*command.split(), *spelled])
        names = [f"'{key}'" for key in wrong]
        kinds = [near for near in wrong.values() if near is not None]
        ending = f"; did you mean {' and '.join(kinds)}?" if kinds else f"; `{command} --help` lists them."
        raise UserError(f"There is no option {' and no option '.join(names)}{ending} Then the command is: {whole}")
    return spelled


class _Known:
    """What a command understands: options by their names with underscores, arguments, and keys of a run."""

    def __init__(self, params: Sequence[object]) -> None:
        options = [param for param in params if isinstance(param, TyperOption)]
        self.options = {_key(opt): param for param in options for opt in param.opts if opt.startswith("--")}
        self.valued = {opt for param in options if not param.is_flag for opt in param.opts}
        self.arguments = [param.name or "" for param in params if isinstance(param, TyperArgument)]

    def takes_value(self, word: str) -> bool:
        """Whether the next word belongs to this one."""
        return word in self.valued

    def name(self, key: str) -> str:
        """The name here of what another tool may call otherwise."""
        from headstart.recipe import ALIASES

        key = key.replace("-", "_")
        if key in self.options or key in self.arguments:
            return key
        if ARGUMENTS.get(key) in self.arguments:
            return ARGUMENTS[key]
        return ALIASES.get(key, key)

    def has(self, key: str) -> bool:
        """Whether the command understands this key."""
        return self.argument(key) is not None or self.name(key) in self.options or self._place(key) is not None

    def nearest(self, key: str) -> str | None:
        """The known key that is most like this one, None if none is."""
        from headstart.recipe import OPTIONS

        keys = [*self.options, *self.arguments, *(OPTIONS if "set" in self.options else ())]
        ending = did_you_mean(key, keys, otherwise="")
        return ending.removeprefix("; did you mean ").removesuffix("?") if ending != "." else None

    def argument(self, key: str) -> int | None:
        """Which argument of the command the key is, None if it is an option."""
        name = self.name(key)
        return self.arguments.index(name) if name in self.arguments else None

    def option(self, key: str, value: str) -> list[str]:
        """The words for a key that is no argument. Raises UserError for a switch that is neither on nor off."""
        param = self.options.get(self.name(key))
        if param is None:
            return ["--set", f"{self._place(key)}={value}"]
        if not param.is_flag:
            return [param.opts[0], value]
        if value.lower() not in (*YES, *NO):
            raise UserError(f"{key}={value}: expected {key}=true or {key}=false.")
        return [param.opts[0]] if value.lower() in YES else param.secondary_opts[:1]

    def _place(self, key: str) -> str | None:
        """The dotted key of a run that `--set` reaches, None if the command has no `--set` or the run no such key."""
        from headstart.recipe import OPTIONS

        if "set" not in self.options:
            return None
        return key if "." in key else OPTIONS.get(self.name(key))


def _key(option: str) -> str:
    return option.lstrip("-").replace("-", "_")
