"""Freed memory is kept."""

import subprocess
import sys

import pytest

from headstart.engine.memory import keep_freed_memory

PROGRAM = """
import resource, torch
from headstart.engine.memory import keep_freed_memory
torch.set_num_threads(1)
kept = {keep} and keep_freed_memory()

def step():
    return torch.ones(16_000_000).add_(1)

for _ in range(20):  # the first few find no block that fits
    step()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(5):
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(keep):
    found = subprocess.run(
        [sys.executable, "-c", PROGRAM.format(keep=keep)], capture_output=True, text=True, check=True
    )
    return int(found.stdout)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc")
def test_a_large_block_is_not_mapped_anew():
    if not keep_freed_memory():
        pytest.skip("another C library")
    assert faults(keep=True) < 1000 < 10_000 < faults(keep=False)
