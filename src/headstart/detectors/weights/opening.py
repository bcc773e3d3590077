"""Opens other people's checkpoints: never runs code from them, and finds the tensors wherever they lie inside."""

from __future__ import annotations

import pickle
import re
import warnings
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from headstart.errors import UserError

CONTAINERS = ("state_dict", "model", "model_state_dict", "ema_state_dict", "model_ema", "ema", "net", "module")
"""Where training programs keep the weights."""

COUNTERS = ("steps", "n_averaged")
"""What averaging adds to a state dict."""


class Skipped:
    """Stands for an object of the file that is not made: whatever it was to be called or filled with is ignored."""

    def __init__(self, *_: Any, **__: Any) -> None:
        self.state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state


HARMLESS: dict[str, type] = {
    "mmengine.logging.history_buffer.HistoryBuffer": Skipped,
    "mmengine.config.config.ConfigDict": OrderedDict,
    "mmcv.utils.config.ConfigDict": OrderedDict,
    "addict.addict.Dict": OrderedDict,
    "argparse.Namespace": Skipped,
    "builtins.getattr": Skipped,
    "numpy.ndarray": Skipped,
    "numpy.dtype": Skipped,
    **{f"numpy.{core}.multiarray.{name}": Skipped for core in ("core", "_core") for name in ("_reconstruct", "scalar")},
    **{f"numpy.dtypes.{kind}DType": Skipped for kind in ("Float64", "Float32", "Int64", "Int32", "Bool", "UInt8")},
}
"""Objects that training programs leave beside the weights, and what is made in their place: nothing that can act."""


@dataclass(frozen=True)
class Checkpoint:
    """The weights of a file and what lies beside them.

    tensors  by the names of the file, common prefixes taken off;  beside  the rest of the file, without tensors
    notes    what was done to get at the tensors
    """

    path: Path
    tensors: dict[str, Tensor]
    beside: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def open_checkpoint(path: str | Path, entry: str | None = None) -> Checkpoint:
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
    if not path.is_file():
        raise UserError(f"{path} does not exist. Give weights that headstart wrote, or a checkpoint (.pth, .pt)")
    content = _read(path)
    if {"format", "run", "lanes"} <= set(content):
        raise UserError(f"{path} is the state of a run, for --resume: expected student.safetensors beside it")
    name, tensors, notes = _find_tensors(path, content, entry)
    tensors, more = _strip(tensors)
    beside = {key: value for key, value in content.items() if key != name and not _is_state(value)} if name else {}
    return Checkpoint(path, tensors, beside, (*notes, *more))


def _read(path: Path) -> Mapping[str, Any]:
    try:
        with path.open("rb") as file:
            start = file.read(9)
        if start[8:] == b"{":
            with safe_open(path, framework="pt") as file:
                return {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        content = _read_torch(path)
    except UserError:
        raise
    except Exception as error:  # a damaged file may stop its reader with anything
        raise UserError(
            f"{path} is damaged, cut short or no checkpoint ({_reason(error)}). Copy or save it again"
        ) from error
    if not isinstance(content, Mapping) or not all(isinstance(key, str) for key in content):
        kind = "an object that was pickled whole" if isinstance(content, Skipped) else type(content).__name__
        raise UserError(f"{path} holds {kind}: expected a state dict (names with tensors), alone or in a checkpoint")
    return content


def _read_torch(path: Path) -> Any:
    stand_ins = torch.serialization.safe_globals([(stand_in, name) for name, stand_in in HARMLESS.items()])
    with stand_ins, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            found = re.search(r"GLOBAL (\S+)", str(error)) or re.search(r"(?:class|function) (\S+)", str(error))
            if found is None:
                raise
            raise UserError(_needs_code(path, found[1])) from error
        except RuntimeError as error:
            if "TorchScript" in str(error):
                raise UserError(
                    f"{path} is a TorchScript program: expected weights, as by torch.save(model.state_dict(), ...)"
                ) from error
            raise


def _needs_code(path: Path, name: str) -> str:
    return (
        f"{path} can only be read by running code that it names ({name}), which headstart never does. If you trust the "
        "file, keep only its weights, where it was made: python -c \"import torch; c = torch.load('FILE', "
        "weights_only=False); torch.save({'state_dict': c['state_dict'], 'meta': c.get('meta')}, 'weights.pth')\" "
        "(a whole model: torch.save(c.state_dict(), 'weights.pth'))"
    )


def _is_state(value: Any) -> bool:
    return (
        isinstance(value, Mapping) and len(value) > 0 and all(isinstance(v, Tensor | Mapping) for v in value.values())
    )


def _holds_tensors(value: Any) -> bool:
    return isinstance(value, Mapping) and any(isinstance(v, Tensor) for v in value.values())


def _is_set_of_weights(key: str, value: Any) -> bool:
    """Whether an entry of a file may be what the user means: by what it is called, or by what it holds."""
    state = _inner(value)
    return _holds_tensors(state) and (key in CONTAINERS or any(str(name).endswith(".weight") for name in state))


def _find_tensors(
    path: Path, content: Mapping[str, Any], entry: str | None
) -> tuple[str | None, dict[str, Tensor], tuple[str, ...]]:
    """The entry that was read (None: the file itself), its tensors, and what is to be said of it."""
    found = {key: value for key, value in content.items() if _is_set_of_weights(key, value)}
    if entry is not None:
        if not _holds_tensors(_inner(content.get(entry))):
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
    state = _inner(found[name]) if name else content
    others = [key for key, value in state.items() if not isinstance(value, Tensor)]
    if others:
        raise UserError(
            f"{path}: {', '.join(others[:8])} among the weights {'is' if len(others) == 1 else 'are'} no "
            "tensor: expected a plain state dict"
        )
    strange = [key for key, value in state.items() if not _is_plain(value)]
    if strange:
        raise UserError(
            f"{path} has no plain numbers in {', '.join(strange[:8])} (quantised, sparse, complex, repeated or left "
            "out): expected weights as a detector computes with them, saved by torch.save(model.state_dict(), ...)"
        )
    return name, dict(state), notes


def _is_plain(tensor: Tensor) -> bool:
    """Whether every number of a tensor is there by itself; a few bytes may claim to be a tensor of any size."""
    if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_complex() or tensor.device.type != "cpu":
        return False
    return tensor.untyped_storage().nbytes() >= tensor.numel() * tensor.element_size()


def _inner(value: Any) -> Any:
    """Weights one level deeper, such as ema: {module: {...}}."""
    if isinstance(value, Mapping) and not _holds_tensors(value):
        deeper = [value[key] for key in CONTAINERS if _holds_tensors(value.get(key))]
        if len(deeper) == 1:
            return deeper[0]
    return value


def _strip(tensors: dict[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """Takes off what every name begins with (`module.`, `model.` ...), and the counters of an average."""
    counters = [key for key in tensors if key in COUNTERS]
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


def _reason(error: Exception) -> str:
    """The line of an error's text that says what happened; torch wraps it in advice."""
    advice = ("Weights only load failed", "Please file an issue", "Check the documentation")
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = [line for line in lines if not line.startswith(advice)]
    return (said or lines or [type(error).__name__])[0].partition(". ")[0][:120].rstrip(".")
