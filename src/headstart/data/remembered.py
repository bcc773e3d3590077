"""What `inspect_files` found out about the pictures of a folder, remembered until a file changes its size or time."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import PIL
import torchvision

from headstart.atomic import alone, atomically
from headstart.data.inspection import Finding, Findings, inspect_files

PLACE = "HEADSTART_CACHE"
"""The environment variable that names another folder for what is remembered."""

RULE = 1
"""Raised when `decode` or `inspect_files` come to judge a file otherwise."""

VERSION = f"{RULE} pillow {PIL.__version__} torchvision {torchvision.__version__}"

TEXTS = ("errors", "remarks")
"""The texts of `Findings` by the names under which they are written down."""

SAY_EVERY = 10.0
"""Seconds between two lines about how far the check is."""

UNKNOWN = -1
"""Size and time of a file that is not there; such a file is never remembered."""

Report = Callable[[str], None]


def inspect_folder(root: Path, names: Sequence[str], report: Report | None = None) -> Findings:
    """`inspect_files` of files relative to a folder, of which only those are decoded that are new or have changed.

    Remembered are size in bytes and time of change (ns) of each file by its name, in a file of the folder
    `cache_folder()`. A file there that is damaged or cannot be written costs a line of `report`, nothing else. Of
    several processes that want to check one folder at the same time, one does it and the others wait for it.
    """
    stamps = _stamps(root, names)
    file = cache_folder() / "pictures" / f"{_key(root)}.npz"
    say = report or (lambda line: None)
    findings, unknown = _recall(file, names, stamps, lambda line: None)
    if not len(unknown):
        return findings
    with alone(file.with_suffix(".lock")):
        findings, unknown = _recall(file, names, stamps, say)
        if len(unknown):
            _inspect(root, names, unknown, findings, report)
            _remember(file, root, names, stamps, findings, say)
    return findings


def cache_folder() -> Path:
    """Where things are kept that can be computed again: HEADSTART_CACHE, or the user's folder for such things."""
    given = os.environ.get(PLACE)
    if given:
        return Path(given).expanduser()
    if sys.platform == "darwin":
        home = "~/Library/Caches"
    else:
        home = os.environ.get("LOCALAPPDATA" if sys.platform == "win32" else "XDG_CACHE_HOME") or "~/.cache"
    return Path(home).expanduser() / "headstart"


def _key(root: Path) -> str:
    return hashlib.blake2b(os.fsencode(root.resolve()), digest_size=12).hexdigest()


def _stamps(root: Path, names: Sequence[str]) -> np.ndarray:
    """(N, 2) int64: bytes and time of change in ns of each file, `UNKNOWN` twice where there is none."""
    stamps = np.full((len(names), 2), UNKNOWN, np.int64)
    for number, name in enumerate(names):
        with contextlib.suppress(OSError, ValueError):
            about = (root / name).stat()
            stamps[number] = about.st_size, about.st_mtime_ns
    return stamps


def _inspect(root: Path, names: Sequence[str], unknown: np.ndarray, findings: Findings, report: Report | None) -> None:
    """Inspects the files of these numbers, saying from time to time how far it is."""
    said = time.monotonic()

    def progress(done: int, total: int) -> None:
        nonlocal said
        if report is not None and time.monotonic() - said >= SAY_EVERY:
            said = time.monotonic()
            report(f"{root.name}: {done} of {total} pictures checked; this is done once and remembered.")

    found = inspect_files([str(root / names[number]) for number in unknown], progress)
    for place, number in enumerate(unknown.tolist()):
        height, width = found.sizes[place].tolist()
        texts = found.errors.get(place, ""), found.remarks.get(place, "")
        findings.put(
            number, Finding(height, width, int(found.digests[place]), *texts, lasting=place not in found.fleeting)
        )


def _recall(file: Path, names: Sequence[str], stamps: np.ndarray, say: Report) -> tuple[Findings, np.ndarray]:
    """What is known of the files, and the numbers of those of which nothing is."""
    findings, unknown = Findings.blank(len(names)), []
    old = _load(file, say)
    rows = {} if old is None else {name: row for row, name in enumerate(old.names)}
    for number, name in enumerate(names):
        row = rows.get(name)
        if old is None or row is None or stamps[number, 0] == UNKNOWN or (old.stamps[row] != stamps[number]).any():
            unknown.append(number)
            continue
        height, width = old.findings.sizes[row].tolist()
        texts = old.findings.errors.get(row, ""), old.findings.remarks.get(row, "")
        findings.put(number, Finding(height, width, int(old.findings.digests[row]), *texts))
    return findings, np.array(unknown, np.int64)


class _Remembered:
    """The content of a file: names, their stamps, and findings in the same order."""

    def __init__(self, names: list[str], stamps: np.ndarray, findings: Findings) -> None:
        if not len(names) == len(stamps) == len(findings.sizes) == len(findings.digests):
            raise ValueError("parts of different lengths")
        self.names, self.stamps, self.findings = names, stamps, findings


def _load(file: Path, say: Report) -> _Remembered | None:
    try:
        with np.load(file, allow_pickle=False) as stored:
            about = json.loads(stored["about"].tobytes())
            if about["version"] != VERSION:
                return None
            names = os.fsdecode(stored["names"].tobytes()).split("\0")
            errors, remarks = ({int(row): str(text) for row, text in about[key].items()} for key in TEXTS)
            findings = Findings(stored["sizes"].reshape(-1, 2), stored["digests"], errors, remarks)
            return _Remembered(names, stored["stamps"].reshape(-1, 2), findings)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except Exception as error:  # whatever a damaged file makes numpy raise
        say(f"{file} cannot be read ({type(error).__name__}), so all pictures are checked again.")
        return None


def _remember(
    file: Path, root: Path, names: Sequence[str], stamps: np.ndarray, findings: Findings, say: Report
) -> None:
    """Writes down these files, and those written down before that are not among them and still exist."""
    rows = {
        name: number
        for number, name in enumerate(names)
        if stamps[number, 0] != UNKNOWN and number not in findings.fleeting
    }
    parts = [(list(rows), stamps, findings, list(rows.values()))]
    old = _load(file, lambda line: None)
    if old is not None:
        present = set(names)
        others = [row for row, name in enumerate(old.names) if name not in present and (root / name).exists()]
        parts.append(([old.names[row] for row in others], old.stamps, old.findings, others))
    listed: list[str] = []
    written: dict[str, dict[int, str]] = {key: {} for key in TEXTS}
    for part, _, known, chosen in parts:
        for place, row in enumerate(chosen, len(listed)):
            for key, texts in zip(TEXTS, (known.errors, known.remarks)):
                if row in texts:
                    written[key][place] = texts[row]
        listed += part
    if not listed:
        return
    try:
        with atomically(file) as partial, partial.open("wb") as stream:
            np.savez(
                stream,
                about=np.frombuffer(json.dumps({"version": VERSION, **written}).encode(), np.uint8),
                names=np.frombuffer(os.fsencode("\0".join(listed)), np.uint8),
                stamps=np.concatenate([part[1][part[3]] for part in parts]),
                sizes=np.concatenate([part[2].sizes[part[3]] for part in parts]),
                digests=np.concatenate([part[2].digests[part[3]] for part in parts]),
            )
    except OSError as error:
        say(
            f"the check of the pictures cannot be remembered: {error.strerror or error} ({file.parent}); set the "
            f"environment variable {PLACE} to a folder that can be written."
        )
