"""Checkpoints of others: found wherever they lie, and never a line of their code run."""

import argparse
import os
import pickle
import sys
import types
from collections import OrderedDict

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn

from headstart.detectors.weights.read_checkpoint import read_checkpoint
from headstart.engine.resume import save_checkpoint
from headstart.errors import UserError

STATE = {"backbone.a": torch.ones(2), "head.b": torch.zeros(3)}
OTHER = {"backbone.a": torch.zeros(2), "head.b": torch.ones(3)}


def under(prefix, state=STATE):
    return {prefix + key: value for key, value in state.items()}


def opened(content, tmp_path, entry=None):
    torch.save(content, tmp_path / "w.pth")
    return read_checkpoint(tmp_path / "w.pth", entry)


@pytest.mark.parametrize(
    "content",
    [
        STATE,
        OrderedDict(STATE),
        {"state_dict": STATE, "epoch": 12},
        {"model": STATE, "optimizer": {"state": {0: {"momentum": torch.ones(1)}}, "param_groups": [{"lr": 0.1}]}},
        {"ema_state_dict": STATE},
        {"ema": {"module": under("module.")}},
        {"state_dict": under("module.")},
        {"model": under("module.model.")},
        {"state_dict": {**under("module."), "steps": torch.tensor(5)}},
        {"net": under("_orig_mod.")},
    ],
)
def test_weights_are_found(content, tmp_path):
    found = opened(content, tmp_path)
    assert list(found.tensors) == list(STATE)
    assert all(torch.equal(found.tensors[key], value) for key, value in STATE.items())


def test_what_was_taken_off_is_said(tmp_path):
    assert opened({"model": under("module.")}, tmp_path).notes == (
        "every name began with `module.`, which was taken off",
    )
    assert opened(STATE, tmp_path).notes == ()


def test_several_sets_of_weights(tmp_path):
    """mmengine swaps the average into `state_dict` when it saves; elsewhere the user says which."""
    both = {"state_dict": STATE, "ema_state_dict": {**under("module.", OTHER), "steps": torch.tensor(1)}}
    found = opened({**both, "message_hub": {}, "meta": {"epoch": 3}}, tmp_path)
    assert found.tensors["backbone.a"].sum() == 2 and "averaged" in found.notes[0]
    assert found.extras["meta"] == {"epoch": 3}
    with pytest.raises(UserError, match=r"several sets .*\(state_dict, ema_state_dict\): say which by --entry"):
        opened(both, tmp_path)
    assert opened(both, tmp_path, "ema_state_dict").tensors["backbone.a"].sum() == 0
    with pytest.raises(UserError, match="no weights under 'model': it has state_dict, ema_state_dict"):
        opened(both, tmp_path, "model")


def test_sets_of_weights_by_any_name(tmp_path):
    """An average that lies beside the weights under a name of its own is not overlooked."""
    weights = under("a.", {"backbone.conv.weight": torch.ones(2)})
    with pytest.raises(UserError, match=r"several sets .*\(state_dict, state_dict_ema\): say which by --entry"):
        opened({"state_dict": weights, "state_dict_ema": weights}, tmp_path)
    assert len(opened({"state_dict": weights, "rng": torch.ones(3), "epoch": 1}, tmp_path).tensors) == 1
    assert len(opened({"student": weights}, tmp_path).tensors) == 1


def test_safetensors_of_others(tmp_path):
    save_file(under("module."), tmp_path / "w.safetensors")
    assert list(read_checkpoint(tmp_path / "w.safetensors").tensors) == list(STATE)


class HistoryBuffer:
    """What mmengine leaves in the files of a run: an object with arrays and functions of its own class."""

    def __init__(self):
        self.log = np.zeros(3)
        self.methods = {"mean": HistoryBuffer.mean, "scale": np.float64(2)}

    def mean(self):
        return 0

    def __setstate__(self, state):
        raise AssertionError("it was made")


@pytest.fixture
def mmengine(monkeypatch):
    """A library that is there when the file is written, and gone when it is read."""
    name = "mmengine.logging.history_buffer"
    module = types.ModuleType(name)
    module.HistoryBuffer = HistoryBuffer
    monkeypatch.setattr(HistoryBuffer, "__module__", name)
    for part in ("mmengine", "mmengine.logging", name):
        monkeypatch.setitem(sys.modules, part, module if part == name else types.ModuleType(part))
    yield
    for part in ("mmengine", "mmengine.logging", name):
        sys.modules.pop(part, None)


def test_files_of_a_run_of_mmengine(mmengine, tmp_path):
    content = {"state_dict": STATE, "message_hub": {"loss": HistoryBuffer()}, "meta": {"seed": np.int64(3)}}
    torch.save(content, tmp_path / "epoch_12.pth")
    for part in [name for name in sys.modules if name.startswith("mmengine")]:
        del sys.modules[part]
    assert list(read_checkpoint(tmp_path / "epoch_12.pth").tensors) == list(STATE)


def test_arguments_of_a_training_program(tmp_path):
    found = opened({"model": STATE, "args": argparse.Namespace(model="x", lr=0.1)}, tmp_path)
    assert found.extras["args"].state == {"model": "x", "lr": 0.1}


# -- hostile files -----------------------------------------------------------------------------------------------------


class Attack:
    """Runs a command when it is unpickled."""

    def __init__(self, file):
        self.file = file

    def __reduce__(self):
        return os.system, (f"touch {self.file}",)


class Roundabout:
    """Asks for a function by its name, through a function that is let in."""

    def __reduce__(self):
        return getattr, (Attack, "mro")


@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("protocol", [2, 4])
def test_code_in_a_file_is_never_run(tmp_path, zipped, protocol):
    mark = tmp_path / "was_run"
    content = {"state_dict": STATE, "meta": Attack(mark)}
    torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped, pickle_protocol=protocol)
    names = r"can only be read by running code that it names \((posix|nt)\.system"
    with pytest.raises(UserError, match=names if protocol == 2 else r"w\.pth cannot be read: Unsupported operand"):
        read_checkpoint(tmp_path / "w.pth")
    assert not mark.exists()
    pickle.loads(pickle.dumps(Attack(mark)))
    assert mark.exists()  # it would have


def test_a_plain_pickle_with_code(tmp_path):
    mark = tmp_path / "was_run"
    (tmp_path / "w.pkl").write_bytes(pickle.dumps({"model": Attack(mark)}, protocol=2))
    with pytest.raises(UserError, match=r"w\.pkl"):
        read_checkpoint(tmp_path / "w.pkl")
    assert not mark.exists()


def test_a_function_that_is_let_in_does_nothing(tmp_path):
    with pytest.raises(UserError, match="Attack"):  # the class itself is not let in
        opened({"state_dict": STATE, "x": Roundabout()}, tmp_path)


@pytest.mark.filterwarnings("ignore")  # that quantised tensors are old
def test_tensors_that_are_no_plain_numbers(tmp_path):
    ones = torch.ones(4, 4)
    for strange in (
        ones.to("meta"),
        ones.to_sparse(),
        ones.to(torch.complex64),
        torch.quantize_per_tensor(ones, 0.1, 0, torch.qint8),
        torch.ones(1).expand(10**12),
    ):
        with pytest.raises(UserError, match=r"w\.pth has no plain numbers in head\.c \(quantised, sparse"):
            opened({**STATE, "head.c": strange}, tmp_path)


@pytest.mark.filterwarnings("ignore")  # that TorchScript is old
def test_whole_models_and_programs(tmp_path):
    with pytest.raises(UserError, match=r"running code that it names \(torch\.nn.*keep only its weights"):
        opened(nn.Conv2d(3, 3, 1), tmp_path)
    torch.jit.save(torch.jit.trace(nn.Conv2d(3, 3, 1), torch.zeros(1, 3, 4, 4)), tmp_path / "t.pt")
    with pytest.raises(UserError, match="TorchScript program"):
        read_checkpoint(tmp_path / "t.pt")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ([torch.ones(1)], "holds list: expected a state dict"),
        (torch.ones(3), "holds Tensor"),
        ({}, "holds no weights: .* found nothing"),
        ({"epoch": 3, "lr": 0.1}, "holds no weights: .* found epoch, lr"),
        ({"state_dict": {}}, "holds no weights"),
        ({1: torch.ones(1)}, "expected a state dict"),
        ({"state_dict": {**STATE, "epoch": 3}}, "epoch among the weights is no tensor"),
        ({"state_dict": {**STATE, "a": 3, "b": [1]}}, "a, b among the weights are no tensor"),
    ],
)
def test_files_without_a_state_dict(content, says, tmp_path):
    with pytest.raises(UserError, match=says):
        opened(content, tmp_path)


def test_other_files(tmp_path):
    (tmp_path / "text.pth").write_text("hello, this is no checkpoint at all")
    (tmp_path / "empty.pth").write_bytes(b"")
    np.savez(tmp_path / "arrays.npz", a=np.zeros(3))
    for name in ("text.pth", "empty.pth", "arrays.npz"):
        with pytest.raises(UserError, match=f"{name} cannot be read: .* damaged, cut short or no checkpoint"):
            read_checkpoint(tmp_path / name)
    with pytest.raises(UserError, match="does not exist"):
        read_checkpoint(tmp_path / "none.pth")
    with pytest.raises(UserError, match="is a folder"):
        read_checkpoint(tmp_path)
    save_checkpoint(tmp_path / "last.ckpt", {"lanes": {}}, {"data": {}}, {})
    with pytest.raises(UserError, match=r"state of a run, for --resume: expected student\.safetensors"):
        read_checkpoint(tmp_path / "last.ckpt")


def test_half_a_copy(tmp_path):
    torch.save({"state_dict": STATE}, tmp_path / "w.pth")
    whole = (tmp_path / "w.pth").read_bytes()
    for length in (1, 40, len(whole) // 2, len(whole) - 30):
        (tmp_path / "half.pth").write_bytes(whole[:length])
        with pytest.raises(UserError, match=r"half\.pth"):
            read_checkpoint(tmp_path / "half.pth")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_bytes_are_answered_in_words(tmp_path, data):
    """Whatever is cut out, put in or changed: weights, or a UserError."""
    zipped = data.draw(st.booleans())
    content = {"state_dict": STATE, "meta": {"CLASSES": ("a", "b"), "config": "x = 1"}}
    torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    raw = bytearray((tmp_path / "w.pth").read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, max(len(raw) - 1, 0)))
        kind = data.draw(st.sampled_from(["change", "cut", "insert", "truncate"]))
        if kind == "change" and raw:
            raw[place] = data.draw(st.integers(0, 255))
        elif kind == "cut":
            del raw[place : place + data.draw(st.integers(1, 50))]
        elif kind == "insert":
            raw[place:place] = data.draw(st.binary(max_size=20))
        else:
            del raw[place:]
    (tmp_path / "w.pth").write_bytes(bytes(raw))
    try:
        found = read_checkpoint(tmp_path / "w.pth")
    except UserError:
        return
    assert all(isinstance(value, torch.Tensor) for value in found.tensors.values())
