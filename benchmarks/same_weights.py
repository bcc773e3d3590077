"""Whether two checkouts train to the same weights, to the bit, on one machine: what a change of form must keep.

Each case trains tiny students on drawn pictures and prints the SHA-256 of their weights. Bits depend on the processor
and on torch, so no result is kept in the repository: run it in a checkout of the older commit and in the changed one.

    python benchmarks/same_weights.py --out before.json
    python benchmarks/same_weights.py --compare before.json
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

import torch
from safetensors.torch import load_file

from headstart import distill, train
from headstart.data.shapes import make_shapes
from headstart.engine.interrupt import Interrupted

STEPS = 30
TEACHERS = ("fasterrcnn", "cascadercnn", "gfl", "reppoints", "retinanet")
CASES: dict[str, tuple[str, list[str], dict]] = {
    "fasterrcnn to retinanet": ("retinanet", ["fasterrcnn"], {"compare": True}),
    "fasterrcnn to retinanet, paper": (
        "retinanet",
        ["fasterrcnn"],
        {"settings": ["method.weights=paper", "method.adapter=per_anchor", "method.warmup=5"]},
    ),
    "fasterrcnn to fcos": ("fcos", ["fasterrcnn"], {"compare": True}),
    "cascadercnn to fasterrcnn": ("fasterrcnn", ["cascadercnn"], {"compare": True}),
    "cascadercnn to atss": ("atss", ["cascadercnn"], {}),
    "gfl to retinanet": ("retinanet", ["gfl"], {"compare": True}),
    "gfl to cascadercnn": ("cascadercnn", ["gfl"], {}),
    "reppoints to retinanet": ("retinanet", ["reppoints"], {"compare": True}),
    "retinanet to fasterrcnn, 16 regions": ("fasterrcnn", ["retinanet"], {"settings": ["method.regions=16"]}),
    "no teacher to retinanet": ("retinanet", [], {"assistants": "auto", "compare": True}),
    "no teacher to fasterrcnn": ("fasterrcnn", [], {"assistants": "auto"}),
    "two teachers to gfl": ("gfl", ["fasterrcnn", "reppoints"], {"compare": True}),
    "a teacher and an assistant to reppoints": ("reppoints", ["retinanet"], {"assistants": "fcos"}),
}
"""Name -> student, teachers, further options. Together: every kind of assistant and of correspondence."""


def options(size: int, steps: int, *, hidden: bool) -> dict:
    small = ["student.width=16", "student.pretrained=false", "train.lr=0.01", "train.warmup=3", "train.eval_every=0"]
    if hidden:
        small.append("student.options.hidden=24")
    return {"steps": steps, "batch": 2, "imgsz": size, "device": "cpu", "quiet": True, "settings": small}


def digest(file: Path) -> str:
    """Of the tensors alone: the header of a file may say more in another version."""
    found = hashlib.sha256()
    for name, value in sorted(load_file(file).items()):
        found.update(name.encode() + value.contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return found.hexdigest()[:16]


def run(folder: Path, data: Path, name: str, steps: int) -> dict[str, str]:
    student, teachers, more = CASES[name]
    chosen = options(64, steps, hidden=student in ("fasterrcnn", "cascadercnn"))
    chosen["settings"] = chosen["settings"] + more.get("settings", [])
    files = [folder / teacher / "student.safetensors" for teacher in teachers]
    rest = {key: value for key, value in more.items() if key != "settings"}
    outcome = distill(data, files or None, f"{student}_mnv2_050", "head", out=str(folder), **rest, **chosen)
    return {f"{name}: {lane}": digest(file) for lane, file in outcome.weights.items()}


def resumed(folder: Path, data: Path, steps: int) -> dict[str, str]:
    """The first case again, stopped somewhere on its way by Ctrl-C and continued."""
    student, teachers, more = CASES[next(iter(CASES))]
    file = folder / teachers[0] / "student.safetensors"
    chosen = options(64, steps, hidden=False)

    def stop() -> None:
        while not (folder / "broken" / "metrics.csv").exists():
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    threading.Thread(target=stop, daemon=True).start()
    try:
        outcome = distill(data, file, f"{student}_mnv2_050", "head", out=str(folder), name="broken", **more, **chosen)
    except Interrupted:
        outcome = distill(resume=folder / "broken", quiet=True)
    return {f"resumed: {lane}": digest(file) for lane, file in outcome.weights.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="write the digests here")
    parser.add_argument("--compare", type=Path, help="digests of another checkout; exit status 1 if any differs")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[str, str] = {}
    before = json.loads(arguments.compare.read_text()) if arguments.compare else {}
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        data = make_shapes(folder / "shapes", train=20, val=4, size=64)
        for family in TEACHERS:
            small = options(64, arguments.steps, hidden=family in ("fasterrcnn", "cascadercnn"))
            outcome = train(data, f"{family}_mnv2_050", out=str(folder), name=family, **small)
            found[f"teacher {family}"] = digest(outcome.file)
        for name in arguments.cases:
            found |= run(folder, data, name, arguments.steps)
        found |= resumed(folder, data, arguments.steps)
    for name, value in found.items():
        said = "" if name not in before else "  same" if before[name] == value else "  DIFFERS"
        print(f"{value}  {name}{said}")
    if arguments.out:
        arguments.out.write_text(json.dumps(found, indent=1) + "\n")
    sys.exit(any(before.get(name, value) != value for name, value in found.items()))


if __name__ == "__main__":
    main()
