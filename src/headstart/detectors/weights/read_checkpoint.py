"""Reads other people's checkpoints: never runs code from them, and finds the tensors wherever they lie inside."""

from __future__ import annotations

import pickle
import re
import warnings
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeGuard

import torch
from safetensors import safe_open
from torch import Tensor

from headstart.errors import UserError, beginning
from headstart.reading import reading, reason
from headstart.torch_file import load_torch

WHAT, AGAIN = "The checkpoint", "It may be damaged, cut short or no checkpoint: copy or save it again"

CONTAINERS = ("state_dict", "model", "model_state_dict", "ema_state_dict", "model_ema", "ema", "net", "module")
"""Where training programs keep the weights."""

AVERAGE_COUNTERS = ("steps", "n_averaged")
"""Keys that an average of weights adds to its state dict."""


class Placeholder:
    """Stands for an object of the file whose class is not run: its arguments are dropped, its pickled state is kept."""

    def __init__(self, *_: object, **__: object) -> None:
        self.state: object = None

    def __setstate__(self, state: object) -> None:
        self.state = state


PLACEHOLDERS: dict[str, type] = {
    "mmengine.logging.history_buffer.HistoryBuffer": Placeholder,
    "mmengine.config.config.ConfigDict": OrderedDict,
    "mmcv.utils.config.ConfigDict": OrderedDict,
    "addict.addict.Dict": OrderedDict,
    "argparse.Namespace": Placeholder,
    "types.SimpleNamespace": Placeholder,
    **{f"pathlib.{kind}": Placeholder for kind in ("PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath")},
    **{f"pathlib._local.{kind}": Placeholder for kind in ("PosixPath", "WindowsPath")},
    **{f"datetime.{kind}": Placeholder for kind in ("datetime", "date", "timedelta")},
    "builtins.getattr": Placeholder,
    "numpy.ndarray": Placeholder,
    "numpy.dtype": Placeholder,
    **{f"numpy.{core}.multiarray._reconstruct": Placeholder for core in ("core", "_core")},
    **{f"numpy.{core}.multiarray.scalar": Placeholder for core in ("core", "_core")},
    **{f"numpy.dtypes.{kind}DType": Placeholder for kind in ("Float64", "Float32", "Int64", "Int32", "Bool", "UInt8")},
}
"""Objects that training programs leave beside the weights, and what is made in their place: nothing that can act."""


@dataclass(frozen=True)
class Checkpoint:
    """The weights of a file and what is saved with them.

    tensors  by the file's keys, without the prefix that all of them share
    extras   the other entries of the file, such as its configuration; state dicts are not among them
    notes    what was done to find the tensors, a sentence each
    """

    path: Path
    tensors: dict[str, Tensor]
    extras: dict[str, object] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def read_checkpoint(path: str | Path, entry: str | None = None) -> Checkpoint:
    """The weights of a .pth, .pt or .safetensors file; `entry` says which, where the file holds several.

    Raises UserError if the file is missing, damaged, needs code of its own, or holds no weights or several.
    """
    path = Path(path)
    if path.is_dir():
        inside = sorted(
            [*path.glob("*.safetensors"), *path.glob("*/*.safetensors")], key=lambda p: p.name, reverse=True
        )
        hint = f"such as {inside[0]}" if inside else "and there is none in it"
        raise UserError(f"{path} is a folder: expected a file of weights, {hint}")
    content = _read(path)
    if {"format", "run", "lanes"} <= set(content):
        raise UserError(f"{path} is the state of a run, for --resume: expected student.safetensors beside it")
    name, tensors, notes = _find_tensors(path, content, entry)
    tensors, more = _strip_prefix(tensors)
    extras = {key: value for key, value in content.items() if key != name and not _is_state_dict(value)} if name else {}
    return Checkpoint(path, tensors, extras, (*notes, *more))


def _read(path: Path) -> dict[str, object]:
    with reading(path, WHAT, AGAIN):
        with path.open("rb") as file:
            start = file.read(9)
        if start[8:] == b"{":
            with safe_open(path, framework="pt") as file:
                return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        content = _read_torch(path)
    if not isinstance(content, Mapping) or not all(isinstance(key, str) for key in content):
        kind = "an object that was pickled whole" if isinstance(content, Placeholder) else type(content).__name__
        raise UserError(f"{path} holds {kind}: expected a state dict (names with tensors), alone or in a checkpoint")
    return {str(key): value for key, value in content.items()}


def _read_torch(path: Path) -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return load_torch(path, WHAT, AGAIN, placeholders=PLACEHOLDERS)
        except pickle.UnpicklingError as error:
            found = re.search(r"GLOBAL (\S+)", str(error)) or re.search(r"(?:class|function) (\S+)", str(error))
            if found is None:
                raise UserError(f"{WHAT} {path} cannot be read: {reason(error)}. {AGAIN}.") from error
            raise UserError(_needs_code(path, found[1])) from error


def _needs_code(path: Path, name: str) -> str:
    return (
        f"{path} can only be read by running code that it names ({beginning(name)}), which headstart never does. If "
        "you trust the file, keep only its weights, where it was made: "
        "python -c \"import torch; c = torch.load('FILE', weights_only=False); "
        "c = c if isinstance(c, dict) else {'model': c}; s = c.get('state_dict', c.get('model', c)); "
        "s = s.state_dict() if hasattr(s, 'state_dict') else s; "
        "torch.save({'state_dict': s, 'meta': c.get('meta')}, 'weights.pth')\""
    )


def _is_state_dict(value: object) -> bool:
    """Whether a value holds tensors, or mappings, and nothing else."""
    return (
        isinstance(value, Mapping) and len(value) > 0 and all(isinstance(v, Tensor | Mapping) for v in value.values())
    )


def _holds_tensors(value: object) -> TypeGuard[Mapping[object, object]]:
    """Whether a value is a mapping with at least one tensor right in it."""
    return isinstance(value, Mapping) and any(isinstance(v, Tensor) for v in value.values())


def _is_set_of_weights(key: str, value: object) -> bool:
    """Whether an entry of a file may be what the user means: by what it is called, or by what it holds."""
    state = _unwrap(value)
    return _holds_tensors(state) and (key in CONTAINERS or any(str(name).endswith(".weight") for name in state))


def _find_tensors(
    path: Path, content: Mapping[str, object], entry: str | None
) -> tuple[str | None, dict[str, Tensor], tuple[str, ...]]:
    """The entry that was read (None: the file itself), its tensors, and what is to be said of it."""
    found = {key: value for key, value in content.items() if _is_set_of_weights(key, value)}
    if entry is not None:
        if not _holds_tensors(_unwrap(content.get(entry))):
            has = f"it has {', '.join(found)}" if found else "the file has no such entries"
            raise UserError(f"{path} has no weights under '{entry}': {has}")
        found = {entry: content[entry]}
    notes: tuple[str, ...] = ()
    if set(found) == {"state_dict", "ema_state_dict"} and ("message_hub" in content or "meta" in content):
        # mmengine swaps them when it saves, so that `state_dict` is what was evaluated.
        found.pop("ema_state_dict")
        notes = ("the averaged weights were read (in mmengine's files they stand under `state_dict`)",)
    if len(found) > 1:
        raise UserError(f"{path} holds several sets of weights ({', '.join(found)}): say which by --entry NAME")
    if not found and not _holds_tensors(content):
        held = ", ".join(list(content)[:8]) or "nothing"
        raise UserError(
            f"{path} holds no weights: expected names with tensors, or one of {CONTAINERS[0]}, "
            f"{CONTAINERS[1]} ... with them, found {held}"
        )
    name = next(iter(found), None)
    state = _unwrap(found[name] if name else content)
    tensors = {str(key): value for key, value in state.items() if isinstance(value, Tensor)}
    others = [str(key) for key, value in state.items() if not isinstance(value, Tensor)]
    if others:
        raise UserError(
            f"{path}: {', '.join(others[:8])} among the weights {'is' if len(others) == 1 else 'are'} no "
            "tensor: expected a plain state dict"
        )
    special = [key for key, tensor in tensors.items() if not _is_plain(tensor)]
    if special:
        raise UserError(
            f"{path} has no plain numbers in {', '.join(special[:8])} (quantised, sparse, complex, repeated or left "
            "out): expected weights as a detector computes with them, saved by torch.save(model.state_dict(), ...)"
        )
    return name, tensors, notes


def _is_plain(tensor: Tensor) -> bool:
    """Whether a tensor is dense, real, on the CPU, and has a stored number for each of its elements.

    Strides of 0 let a file of a few bytes hold a tensor of any size.
    """
    if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_complex() or tensor.device.type != "cpu":
        return False
    return tensor.untyped_storage().nbytes() >= tensor.numel() * tensor.element_size()


def _unwrap(value: object) -> Mapping[object, object]:
    """A state dict, which may lie one level deeper (`ema: {module: {...}}`); empty for what is no mapping."""
    if not isinstance(value, Mapping):
        return {}
    if not _holds_tensors(value):
        deeper = [inner for key in CONTAINERS if _holds_tensors(inner := value.get(key))]
        if len(deeper) == 1:
            return deeper[0]
    return value


def _strip_prefix(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Removes the prefix that every key has (`module.`, `model.` ...) and the counters of an average of weights."""
    counters = [key for key in tensors if key in AVERAGE_COUNTERS]
    kept = {key: value for key, value in tensors.items() if key not in counters}
    taken = ""
    while kept:
        first = {key.partition(".")[0] if "." in key else None for key in kept}
        (common,) = first if len(first) == 1 else (None,)
        if common is None:
            break
        kept = {key.removeprefix(f"{common}."): value for key, value in kept.items()}
        taken += f"{common}."
    if not kept or not taken:
        return (kept or tensors), ()
    return kept, (f"every name began with `{taken}`, which was taken off",)
