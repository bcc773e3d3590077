"""The model card of a student: what it is, what was measured, and how it is used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import yaml

from headstart.detectors.weights.native import Metadata
from headstart.evaluation.metrics import Metrics
from headstart.method_choice import BASELINE
from headstart.report.results import LaneResults, Results

COLUMNS = ("AP", "AP50", "AP75")


@dataclass(frozen=True)
class Measured:
    """The run that a file of weights came from, and its lane in it.

    final  whether the file holds the weights at the run's end, which the gain belongs to; otherwise those of its best
           evaluation
    """

    results: Results
    lane: str
    final: bool

    @property
    def own(self) -> LaneResults:
        return self.results["lanes"][self.lane]

    @property
    def alone(self) -> str | None:
        """The lane of the same student without distillation, where one was trained beside this one."""
        against = self.results["gain"]["against"]
        return against if against != self.lane else None


def write_card(repository: str, metadata: Metadata, measured: Measured | None, license: str | None = None) -> str:
    """The text of README.md.

    metadata  the header of the file;  measured  None where nothing but the file is known
    license   its identifier on the hub, None: the field is left out
    """
    head: dict[str, object] = {"library_name": "headstart", "pipeline_tag": "object-detection"}
    if license is not None:
        head["license"] = license
    distilled = measured is not None and measured.own["method"]["name"] != BASELINE
    head["tags"] = ["object-detection", *(["knowledge-distillation"] if distilled else [])]
    parts = [
        f"---\n{yaml.safe_dump(head, sort_keys=False, allow_unicode=True)}---",
        f"# {repository.partition('/')[2]}",
        _what(metadata, measured),
        "## Numbers",
        *(_numbers(measured) if measured is not None else _numbers_of_file(metadata)),
        "## Use",
        _use(repository),
        "## Classes",
        ", ".join(_plain(name) for name in metadata["classes"]),
    ]
    return "\n\n".join(parts) + "\n"


def _what(metadata: Metadata, measured: Measured | None) -> str:
    recipe = metadata["recipe"] or {}
    name, backbone = recipe.get("name", "detector"), recipe.get("backbone")
    kind = f"`{name}`" + (f" on `{backbone}`" if backbone else "")
    data = f" of `{measured.results['data']['name']}`" if measured is not None else ""
    lines = [f"An object detector ({kind}) for {len(metadata['classes'])} classes{data}, made by headstart."]
    if measured is not None and measured.own["method"]["name"] != BASELINE:
        teachers = len(measured.results["data"].get("teacher_weights", {}))
        whom = {0: "assistants, without a teacher", 1: "a teacher"}.get(teachers, f"{teachers} teachers")
        lines.append(
            f"It was distilled from {whom} (method `{measured.own['method']['name']}`). Nothing of that is in the "
            "file: it is a plain detector, as large and as fast as without distillation."
        )
    return " ".join(lines)


def _numbers(measured: Measured) -> list[str]:
    results, own, data = measured.results, measured.own, measured.results["data"]
    size = f"COCO numbers on the {data['val_images']} validation images of `{data['name']}`, in percent."
    blind = data.get("unlabelled")
    images = f"{data['train_images']} training images" + (f" and {blind['images']} without labels" if blind else "")
    training = f"{own['steps']} steps of {data['batch']} images, {images}, seed {data['seed']}"
    if not measured.final:
        best = own["best"] or {"step": 0, "epoch": 0, "AP": None}
        return [
            f"{size} AP {_number(best['AP'])} after step {best['step']} of a training of {training}. These weights "
            "were chosen because they had the highest AP on these very images, so that number flatters them, and no "
            "gain is given."
        ]
    if not own["metrics"]:
        return [f"Nothing was measured. Trained for {training}."]
    rows: dict[str, Mapping[str, float | None]] = {}
    for name, metrics in results["teachers"].items():
        rows[name if name == "teacher" else f"teacher {name}"] = _scores(metrics)
    alone = measured.alone
    if alone is not None:
        rows["the same student alone"] = _scores(results["lanes"][alone]["metrics"])
    rows["**this detector**"] = _scores(own["metrics"])
    table = [f"| | {' | '.join(COLUMNS)} |", "| --- |" + " --- |" * len(COLUMNS)]
    table += [f"| {name} | {' | '.join(_number(row.get(key)) for key in COLUMNS)} |" for name, row in rows.items()]
    gain = results["gain"]["lanes"].get(measured.lane, {}) if alone is not None else {}
    if gain:
        table.append(f"| gain | {' | '.join(_signed(gain.get(key)) for key in COLUMNS)} |")
    return [size, "\n".join(table), _comment(measured, training, bool(gain))]


def _comment(measured: Measured, training: str, gain: bool) -> str:
    if gain:
        return (
            f"The gain is paired: both students began with the same weights and saw the same batches, {training}. "
            "One seed: a few AP are noise."
        )
    end = (
        ""
        if measured.own["method"]["name"] == BASELINE
        else (" No student was trained without distillation beside it, so what the method brought was not measured.")
    )
    return f"Trained for {training}. One seed: a few AP are noise.{end}"


def _numbers_of_file(metadata: Metadata) -> list[str]:
    metrics = metadata["training"].get("metrics")
    value = metrics.get("AP") if isinstance(metrics, Mapping) else None
    if not isinstance(value, float):
        return ["No measurement came with the file."]
    return [f"AP {value:.1f} on the validation images of its training, says the file; more was not at hand."]


def _use(repository: str) -> str:
    return f"""```bash
headstart predict hf://{repository} photos/
headstart val hf://{repository} --data my-data
```

```python
from headstart import load_detector

detector = load_detector("hf://{repository}")
```

It can also teach: `headstart distill --teacher hf://{repository} ...`."""


def _scores(metrics: Metrics) -> dict[str, float | None]:
    return {key: metrics.get(key) for key in COLUMNS}


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _signed(value: float | None) -> str:
    return "-" if value is None else f"{round(value, 1) + 0.0:+.1f}"


def _plain(name: str) -> str:
    """A name of the data inside Markdown, as it is."""
    return "`" + name.replace("`", "'") + "`"
