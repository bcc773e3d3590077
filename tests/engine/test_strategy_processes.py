import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from headstart.engine import strategy
from headstart.engine.strategy import choose_device, place_among_processes
from headstart.errors import UserError
from headstart.recipe import dump_run

SCRIPT = Path(__file__).parent / "two_processes.py"


def run_script(*args) -> None:
    ended = subprocess.run([sys.executable, SCRIPT, *map(str, args)], capture_output=True, text=True, timeout=240)
    assert ended.returncode == 0, ended.stdout[-3000:] + ended.stderr[-3000:]


def test_two_processes_equal_one_on_the_joined_batch(tmp_path):
    for processes in (1, 2):
        run_script("toy", processes, tmp_path / f"{processes}.pt")
    one, two = (torch.load(tmp_path / f"{n}.pt") for n in (1, 2))
    assert one.keys() == two.keys()
    for name, value in one.items():
        torch.testing.assert_close(two[name], value, rtol=1e-5, atol=1e-6, msg=lambda m, name=name: f"{name}: {m}")


@pytest.mark.parametrize(
    ("student", "method"),
    [
        ("retinanet_mnv2_050", None),
        ("fcos_mnv2_050", None),
        ("retinanet_mnv2_050", "crosskd+pkd"),
        ("retinanet_mnv2_050", "allstage"),
        ("fcos_mnv2_050", "frs+defeat"),
    ],
)
def test_two_processes_distil(student, method, tiny_run, tmp_path):
    run = tiny_run(student=student, method=method, steps=4, devices=2, eval_every=1, ema=0.9, batch=4)
    path = tmp_path / "run.yaml"
    path.write_text(dump_run(run))
    run_script(path, 2, tmp_path / "done.pt")
    done = torch.load(tmp_path / "done.pt")
    assert done["processes"] == 2
    results = json.loads((Path(done["folder"]) / "results.json").read_text())
    assert results["lanes"][method or "head"]["metrics"]["images"] == 4  # each validation image once
    assert len(list((tmp_path / "runs").iterdir())) == 1  # the second process writes nothing


def test_place_among_processes(monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "SLURM_NTASKS", "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)
    assert place_among_processes(1) == (0, 1)
    assert place_among_processes(2) == (0, 2)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert place_among_processes(2) == (1, 2)
    assert place_among_processes(1) == (0, 1)  # left behind by an earlier run in this process
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert place_among_processes(1) == (3, 4)


@pytest.mark.parametrize(
    ("variables", "place"),
    [
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "2", "SLURM_JOB_NAME": "train"}, (0, 2)),
        ({"SLURM_PROCID": "1", "SLURM_NTASKS": "2", "SLURM_JOB_NAME": "train"}, (1, 2)),
        ({"SLURM_PROCID": "0", "SLURM_NTASKS": "2", "SLURM_JOB_NAME": "bash"}, (0, 4)),  # a shell on a node
        (
            {"SLURM_PROCID": "0", "SLURM_NTASKS": "1", "SLURM_JOB_NAME": "train"},
            (0, 4),
        ),  # one task, which starts copies
        ({"SLURM_PROCID": "1", "SLURM_NTASKS": "2", "RANK": "3", "WORLD_SIZE": "8"}, (3, 8)),  # torchrun under srun
    ],
)
def test_ranks_come_from_slurm(variables, place, monkeypatch):
    for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert place_among_processes(4) == place


def test_devices_that_are_not_there(monkeypatch):
    monkeypatch.setattr(strategy.torch.cuda, "is_available", lambda: False)
    assert choose_device("auto") == torch.device("cpu")
    for name in ("cuda", "0", "cuda:1"):
        with pytest.raises(UserError, match="sees no GPU"):
            choose_device(name)
    with pytest.raises(UserError, match="device must be"):
        choose_device("gpuu")
