"""Pickled torch files (.pth, .pt, last.ckpt), read without running anything that they name."""

from __future__ import annotations

import pickle
import pickletools
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO

import torch

from headstart.errors import UserError
from headstart.reading import reading

DEEPEST = 1000
"""Tuples within tuples. Python computes the hash of a tuple by recursion in C, which a deep one takes past the end of
the stack: the process would end without a word."""

PICKLES = 5
"""How many stand one after another in a file of torch's old format, before the numbers of its tensors."""


def load_torch(
    path: Path,
    what: str,
    remedy: str,
    *,
    device: torch.device | str = "cpu",
    placeholders: Mapping[str, type] | None = None,
) -> object:
    """The content of a file of `torch.save`, from which no code is run.

    what, remedy  as for `headstart.reading.reading`
    placeholders  full names of classes -> what is made in their place; those of other names are refused

    Raises UserError for a file that is missing, no regular one, damaged or nested too deeply. A file that names code
    ends in pickle.UnpicklingError if `placeholders` are given (whoever gives them can say what to do), else in
    UserError.
    """
    allowed = torch.serialization.safe_globals([(kind, name) for name, kind in (placeholders or {}).items()])
    with reading(path, what, remedy), allowed:
        demand_shallow(path, what, remedy)
        try:
            return torch.load(path, map_location=device, weights_only=True)
        except RuntimeError as error:
            if "TorchScript" not in str(error):
                raise
            raise UserError(
                f"{path} is a TorchScript program: expected weights, as by torch.save(model.state_dict(), ...)."
            ) from error
        except pickle.UnpicklingError as error:
            if placeholders is None:
                raise
            refused = error
    raise refused


def demand_shallow(path: Path, what: str, remedy: str) -> None:
    """Raises UserError for a file whose pickles hold tuples more than DEEPEST deep. What is no pickle passes."""
    with path.open("rb") as file:
        if not zipfile.is_zipfile(file):
            file.seek(0)
            depths = [_depth(file) for _ in range(PICKLES)]
        else:
            with zipfile.ZipFile(file) as archive:
                depths = [_depth_of(archive, name) for name in archive.namelist() if name.endswith("data.pkl")]
    if max(depths, default=0) > DEEPEST:
        raise UserError(f"{what} {path} holds tuples more than {DEEPEST} deep. {remedy}.")


def _depth_of(archive: zipfile.ZipFile, name: str) -> int:
    with archive.open(name) as file:
        return _depth(file)


def _depth(file: IO[bytes]) -> int:
    """How deep the tuples of the next pickle in a file are nested; of a damaged one, as far as it goes.

    A tuple is never changed once it is made, so its depth is known where it is made: one more than its deepest entry.
    Each entry of `stack` is the depth of an object that unpickling would have there, None a mark.
    """
    stack: list[int | None] = []
    memo: dict[object, int] = {}
    deepest = 0
    # Torch says what is wrong with a damaged pickle; here it only ends the search.
    with suppress(Exception):
        for opcode, argument, _ in pickletools.genops(file):
            if opcode.name in ("PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"):
                memo[len(memo) if opcode.name == "MEMOIZE" else argument] = stack[-1] or 0
                continue
            if opcode.name in ("GET", "BINGET", "LONG_BINGET"):
                stack.append(memo[argument])
                continue
            if opcode.name == "DUP":
                stack.append(stack[-1])
                continue
            inside = _take(stack, [kind.name for kind in opcode.stack_before])
            depth = max(inside, default=0) + ("TUPLE" in opcode.name)
            deepest = max(deepest, depth)
            stack += [None if kind.name == "mark" else depth for kind in opcode.stack_after]
    return deepest


def _take(stack: list[int | None], before: list[str]) -> list[int]:
    """Removes from the stack what an opcode takes from it, and gives the depths of these objects."""
    taken: list[int] = []
    if "mark" in before:
        while (depth := stack.pop()) is not None:
            taken.append(depth)
        before = before[: before.index("mark")]
    for _ in before:
        taken.append(stack.pop() or 0)
    return taken
