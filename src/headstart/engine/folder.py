"""The folder of a run: what its files are called, and that none is ever overwritten."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from headstart.errors import UserError

LAST = "last.ckpt"
STUDENT = "student.safetensors"
BEST = "best.safetensors"


@dataclass(frozen=True)
class RunFolder:
    """Paths inside a run's folder. One lane: its files lie directly in it; several: each has a folder of its own."""

    path: Path
    lanes: tuple[str, ...]

    @property
    def last(self) -> Path:
        return self.path / LAST

    @property
    def run(self) -> Path:
        return self.path / "run.yaml"

    @property
    def results(self) -> Path:
        return self.path / "results.json"

    @property
    def metrics(self) -> Path:
        return self.path / "metrics.csv"

    def of(self, lane: str) -> Path:
        """The folder of a lane's weights."""
        folder = self.path if len(self.lanes) == 1 else self.path / lane
        folder.mkdir(parents=True, exist_ok=True)
        return folder


def new_folder(out: Path, name: str | None, proposal: str) -> Path:
    """Creates the folder of `choose_folder`."""
    path = choose_folder(out, name, proposal)
    path.mkdir(parents=True, exist_ok=True)
    return path


def choose_folder(out: Path, name: str | None, proposal: str) -> Path:
    """OUT/NAME; without a name OUT/PROPOSAL, numbered if that is taken.

    Raises UserError if a folder of the given name exists and is not empty.
    """
    if name is not None:
        demand_free(out / name)
        return out / name
    path, number = out / proposal, 2
    while path.exists():
        path, number = out / f"{proposal}-{number}", number + 1
    return path


def demand_free(path: Path) -> None:
    """Raises UserError if something is there already; an empty folder is nothing."""
    if path.exists() and (not path.is_dir() or any(path.iterdir())):
        raise UserError(
            f"{path} exists already and is not overwritten. Use --resume {path} to continue it, or another --name."
        )


def find_checkpoint(path: Path) -> Path:
    """last.ckpt of a run's folder, or the file itself. Raises UserError if there is none."""
    found = path / LAST if path.is_dir() else path
    if not found.is_file():
        raise UserError(
            f"--resume {path}: expected a run's folder with {LAST} in it, or that file; "
            f"found {'no such path' if not path.exists() else 'a folder without it'}."
        )
    return found
