"""The folder of a run: what its files are called, and that none is ever overwritten."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from headstart.atomic import remove_partials
from headstart.errors import UserError

LAST = "last.ckpt"
RUN = "run.yaml"
RESULTS = "results.json"
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
        return self.path / RUN

    @property
    def results(self) -> Path:
        return self.path / RESULTS

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

    Raises UserError if a folder of the given name exists and something was trained in it.
    """
    if name is not None:
        demand_free(out / name)
        return out / name
    path, number = out / proposal, 2
    while path.exists():
        path, number = out / f"{proposal}-{number}", number + 1
    return path


def demand_free(path: Path) -> None:
    """Raises UserError if something is there already; an empty folder is nothing, and neither is `is_unstarted`."""
    if path.exists() and (not path.is_dir() or any(path.iterdir())) and not is_unstarted(path):
        raise UserError(
            f"{path} exists already and is not overwritten. Use --resume {path} to continue it, or another --name."
        )


def find_run(path: Path) -> tuple[Path, Path | None]:
    """A run's folder and its last.ckpt, from either of them.

    A run that ended before it saved anything has its settings only: None in place of last.ckpt. Raises UserError for
    what is no run.
    """
    found = path / LAST if path.is_dir() else path
    if path.is_dir() and not found.exists() and is_unstarted(path):
        return path, None
    if not found.exists():
        raise UserError(
            f"--resume {path}: expected a run's folder with {LAST} in it, or that file; "
            f"found {'no such path' if not path.exists() else 'a folder without it'}. Check the path, or start a new "
            "run."
        )
    return found.parent, found


def is_unstarted(path: Path) -> bool:
    """Whether a folder is that of a run which was stopped before it saved anything: settings, and nothing trained."""
    if not (path / RUN).is_file():
        return False
    names = [file.name for file in path.rglob("*")]
    return not any(name in (LAST, RESULTS) or name.endswith(".safetensors") for name in names)


def remove_unfinished(path: Path) -> None:
    """Removes files that this run was writing when it was killed, in its folder and those of its lanes."""
    for folder in (path, *(entry for entry in path.iterdir() if entry.is_dir() and not entry.is_symlink())):
        remove_partials(folder)
