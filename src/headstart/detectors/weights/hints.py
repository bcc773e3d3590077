"""What is known of a file besides its weights: its name, and what its training program saved with them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from headstart.detectors.weights.read_checkpoint import Checkpoint, Placeholder
from headstart.detectors.weights.torchvision.names import coco_classes
from headstart.errors import UserError
from headstart.reading import read_text


@dataclass(frozen=True)
class Hints:
    """What helps to tell apart detectors with the same weights.

    name      what the file is read as: given by the user (`--as`), else the model in its settings, else its file name
    by_user   whether the user gave the name
    settings  arguments of the training program (argparse), if they were saved with the weights
    meta      what mmdetection saves with the weights: its configuration as text, the classes
    classes   names given by the user, or None
    entries   what else lies in the file beside the weights, by name
    """

    name: str
    by_user: bool = False
    settings: Mapping[str, object] = field(default_factory=dict)
    meta: Mapping[str, object] = field(default_factory=dict)
    classes: tuple[str, ...] | None = None
    entries: tuple[str, ...] = ()

    def name_has(self, pattern: str) -> bool:
        """Whether the name contains this (a regular expression, upper and lower case alike)."""
        return re.search(pattern, self.name, re.IGNORECASE) is not None


def collect_hints(checkpoint: Checkpoint, read_as: str | None, classes: tuple[str, ...] | None) -> Hints:
    """The hints of a checkpoint; `read_as` and `classes` are the user's, None where they said nothing."""
    saved = checkpoint.extras.get("args")
    state = saved.state if isinstance(saved, Placeholder) else saved
    settings = _as_dict(state)
    name = read_as or str(settings.get("model") or checkpoint.path.stem)
    meta = _as_dict(checkpoint.extras.get("meta"))
    return Hints(name, read_as is not None, settings, meta, classes, tuple(checkpoint.extras))


def _as_dict(value: object) -> dict[str, object]:
    """A mapping with text as keys; empty for anything else."""
    return {str(key): inner for key, inner in value.items()} if isinstance(value, Mapping) else {}


def read_classes(text: str | None) -> tuple[str, ...] | None:
    """Names from `--classes`: separated by commas, in a file line by line, or `coco` for its 80.

    Raises UserError for a name that is empty or given twice.
    """
    if text is None:
        return None
    if text.lower() == "coco":
        return coco_classes()
    file = Path(text)
    if "," not in text and not file.is_file() and file.suffix in (".txt", ".names", ".csv", ".yaml", ".json"):
        raise UserError(f"--classes {text}: there is no such file; give names A,B,C or a file with one name a line")
    listed = "," not in text and file.exists()
    names = read_text(file, "--classes", "Give a file with one name a line").splitlines() if listed else text.split(",")
    names = [name.strip() for name in names]
    names = names[:-1] if names and not names[-1] else names
    doubled = [name for name in names if names.count(name) > 1]
    if doubled or not all(names) or not names:
        found = f"{doubled[0]!r} twice" if doubled and doubled[0] else "one that is empty"
        raise UserError(f"--classes {text}: expected different names, found {found}")
    return tuple(names)
