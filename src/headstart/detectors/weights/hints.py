"""What a file says about itself besides its weights: its name, and what its training program wrote down."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from headstart.detectors.weights.opening import Checkpoint, Skipped
from headstart.detectors.weights.torchvision.names import coco_classes
from headstart.errors import UserError


@dataclass(frozen=True)
class Hints:
    """name      what the file is to be read as: the word of the user (`--as`), else what it is called
    said      whether the user said so
    settings  arguments of the training program that were saved beside the weights (argparse)
    meta      what mmdetection saves beside the weights: its configuration as text, the classes
    classes   names that the user gave, or None
    """

    name: str
    said: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)
    meta: Mapping[str, Any] = field(default_factory=dict)
    classes: tuple[str, ...] | None = None

    def says(self, pattern: str) -> bool:
        """Whether the name contains this (a regular expression, upper and lower case alike)."""
        return re.search(pattern, self.name, re.IGNORECASE) is not None


def collect_hints(checkpoint: Checkpoint, said: str | None, classes: tuple[str, ...] | None) -> Hints:
    """The hints of an opened checkpoint."""
    saved = checkpoint.beside.get("args")
    state = saved.state if isinstance(saved, Skipped) else saved
    settings = dict(state) if isinstance(state, Mapping) else {}
    name = said or str(settings.get("model") or checkpoint.path.stem)
    meta = checkpoint.beside.get("meta")
    return Hints(name, said is not None, settings, dict(meta) if isinstance(meta, Mapping) else {}, classes)


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
    try:
        names = file.read_text(encoding="utf-8").splitlines() if file.is_file() else text.split(",")
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"--classes {text} cannot be read: {error}. It must have one name a line") from error
    names = [name.strip() for name in names]
    names = names[:-1] if names and not names[-1] else names
    doubled = [name for name in names if names.count(name) > 1]
    if doubled or not all(names) or not names:
        found = f"{doubled[0]!r} twice" if doubled and doubled[0] else "one that is empty"
        raise UserError(f"--classes {text}: expected different names, found {found}")
    return tuple(names)
