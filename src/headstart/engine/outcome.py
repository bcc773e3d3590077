"""What a run leaves behind: results.json, the table, and the students."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from headstart.config import Run
from headstart.detectors.detector import Detector
from headstart.engine.display import Print, duration
from headstart.engine.folder import STUDENT, RunFolder
from headstart.engine.history import History
from headstart.engine.lane import Lane
from headstart.engine.module import Lanes
from headstart.report.results import DataFacts, LaneResults, Results, run_results, write_json
from headstart.report.table import as_text, results_table


@dataclass(frozen=True)
class Outcome:
    """Where a finished run lies, and what it measured: `results` is the content of results.json.

    students  lane -> the trained detector, in evaluation mode, with its averaged weights if there are any
    """

    folder: Path | None
    results: Results
    students: dict[str, Detector] = field(default_factory=dict)

    @property
    def file(self) -> Path:
        """student.safetensors of the lane that was trained; of the last one where a baseline ran beside it."""
        return list(self.weights.values())[-1]

    @property
    def weights(self) -> dict[str, Path]:
        """lane -> its student.safetensors."""
        if self.folder is None:
            return {}
        files = RunFolder(self.folder, tuple(self.students))
        return {name: files.of(name) / STUDENT for name in self.students}


def finish(run: Run, module: Lanes, history: History, data: DataFacts, folder: Path | None, say: Print) -> Outcome:
    """Writes results.json and says the results; folder is None where this process is not the one that writes."""
    results = run_results(
        folder.name if folder is not None else "",
        data,
        {lane.name: _lane_results(run, module, history, lane) for lane in module.lanes},
        teachers=history.teachers,
        baseline=run.reference,
    )
    students = {}
    for lane in module.lanes:
        if lane.ema is not None:
            lane.ema.write()
        students[lane.name] = lane.method.student.eval()
    outcome = Outcome(folder, results, students)
    if folder is not None:
        write_json(folder / "results.json", results)
        _say_results(run, history, outcome, say)
    return outcome


def _lane_results(run: Run, module: Lanes, history: History, lane: Lane) -> LaneResults:
    name = lane.name
    scores = history.scores.get(name, [])
    best = history.best(name)
    return {
        "method": {"name": run.choices[name].name, **run.choices[name].options},
        "metrics": scores[-1]["metrics"] if scores else {},
        "best": {"step": best["step"], "epoch": best["epoch"], "AP": best["metrics"]["AP"]} if best else None,
        "history": [{"step": s["step"], "AP": s["metrics"]["AP"], "AP50": s["metrics"]["AP50"]} for s in scores],
        "steps": module.step,
        "seconds": lane.clock.seconds,
        "terms": history.terms.get(name, {}),
    }


def _say_results(run: Run, history: History, outcome: Outcome, say: Print) -> None:
    lanes = outcome.results["lanes"]
    rows = {**history.teachers, **{name: lane["metrics"] for name, lane in lanes.items() if lane["metrics"]}}
    if rows:
        title = "Results on the validation images"
        say(as_text(results_table(rows, baseline=run.reference, teachers=history.teachers, title=title)))
        note = outcome.results["gain"]["note"]
        if note is not None:
            say(f"Gains: {note}.\n")
    beside = outcome.results["data"].get("unlabelled")
    if beside is not None:
        say(
            f"Training images: {outcome.results['data']['train_images']} with labels, {beside['images']} without. From "
            "these only lanes with a teacher learn."
        )
    times = ", ".join(f"{name} {duration(lane['seconds'])}" for name, lane in lanes.items())
    say(f"Training time: {times}")
    for name, path in outcome.weights.items():
        say(f"Weights of {name}: {path}")
