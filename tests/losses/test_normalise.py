"""Losses of two processes are those of the joined batch."""

import subprocess
import sys
from pathlib import Path

import torch

from headstart.losses.normalise import mean_over_ranks
from losses.joined_batch import DARK, measure

SCRIPT = Path(__file__).parent / "joined_batch.py"


def test_one_process_keeps_its_count():
    count = torch.tensor(7)
    assert mean_over_ranks(count) is count


def test_two_processes_give_the_losses_of_the_joined_batch(tmp_path):
    """One has three objects, the other one: each alone would divide by another number."""
    started = [
        subprocess.Popen(
            [sys.executable, SCRIPT, str(rank), "2", str(tmp_path)], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
        )
        for rank in range(2)
    ]
    for process in started:
        errors = process.communicate(timeout=240)[1]
        assert process.returncode == 0, errors.decode()[-3000:]
    first, second = (torch.load(tmp_path / f"{rank}.pt") for rank in range(2))
    joined = measure(0, 1)
    for case, dark in DARK.items():
        joined |= {f"{case}: {key}": value for key, value in measure(0, 1, dark).items()}
        for found in (first, second, joined):
            found.pop(f"{case}: count"), found.pop(f"{case}: scale")
    assert first.keys() == joined.keys()
    assert first.pop("count") == second.pop("count") == 15 and joined.pop("count") == 10
    assert torch.equal(first["scale"], second["scale"])
    for name in set(joined) - {"scale"}:
        torch.testing.assert_close(
            first[name], joined[name], rtol=1e-4, atol=1e-6, msg=lambda m, name=name: f"{name}: {m}"
        )
        assert torch.equal(first[name], second[name])
    for term in ("fcos/box", "atss/quality", "gfl/distribution", "reppoints/initial_box", "roi/box"):
        assert joined[term] > 0, term
        assert joined[f"one process without labels: {term}"] > 0 and joined[f"no label at all: {term}"] == 0, term
