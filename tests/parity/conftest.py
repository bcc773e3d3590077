"""Numbers of the official implementations, from the folder that HEADSTART_PARITY names."""

import os
from pathlib import Path

import numpy as np
import pytest

FOLDER = Path(os.environ.get("HEADSTART_PARITY") or Path(__file__).parent / "fixtures")


@pytest.fixture(scope="session")
def reference():
    """load(name) -> the arrays of `name`.npz; a missing file fails the test, it is never skipped."""

    def load(name: str) -> dict[str, np.ndarray]:
        with np.load(FOLDER / f"{name}.npz") as arrays:
            return dict(arrays)

    return load
