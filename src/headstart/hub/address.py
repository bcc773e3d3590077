"""Addresses of weights on the hub: `hf://OWNER/NAME[/FILE][@REVISION]`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from headstart.errors import UserError

SHAPE = "hf://OWNER/NAME[/FILE][@REVISION]"
SUFFIX = ".safetensors"

_START = re.compile(r"^hf:/{1,2}(?=[^/])")
"""A `Path` keeps one of the two slashes."""

_REPOSITORY = re.compile(r"[A-Za-z0-9_][\w.-]*/[A-Za-z0-9_][\w.-]*", re.ASCII)


@dataclass(frozen=True)
class HubAddress:
    """A repository of the hub, a file in it (None: the only one, or student.safetensors), and a branch, tag or commit
    (None: the newest)."""

    repository: str
    file: str | None = None
    revision: str | None = None

    def __str__(self) -> str:
        file = f"/{self.file}" if self.file else ""
        return f"hf://{self.repository}{file}{f'@{self.revision}' if self.revision else ''}"


def is_on_hub(place: str | Path) -> bool:
    """Whether a file is named by an address of the hub."""
    return _START.match(_text(place)) is not None


def parse_address(place: str | Path) -> HubAddress:
    """The parts of an address.

    Raises UserError for one of another shape, and for a file that is not .safetensors: other formats can hold code.
    """
    text = _text(place)
    path, at, revision = _START.sub("", text).partition("@")
    owner, _, rest = path.partition("/")
    name, slash, file = rest.partition("/")
    written = f"hf://{_START.sub('', text)}"
    if at and (not revision or revision.endswith(SUFFIX)):
        raise UserError(f"{written}: the revision stands at the end: {SHAPE}.")
    repository = check_repository(f"{owner}/{name}", written)
    if slash and (not file or ".." in file.split("/")):
        raise UserError(f"{written}: expected {SHAPE}.")
    if file and not file.endswith(SUFFIX):
        raise UserError(
            f"{written}: only {SUFFIX} files are taken from the hub, because others can hold code. Download the file "
            "yourself if you trust it, and give its path."
        )
    return HubAddress(repository, file or None, revision or None)


def check_repository(name: str, written: str | None = None) -> str:
    """`name` itself. Raises UserError unless it is OWNER/NAME; `written` is how the user gave it."""
    if not _REPOSITORY.fullmatch(name):
        expected = SHAPE if written else "OWNER/NAME, such as anna/blood-cells"
        raise UserError(f"{written or name}: expected {expected}.")
    return name


def _text(place: str | Path) -> str:
    return place.as_posix() if isinstance(place, Path) else place
