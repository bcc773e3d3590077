"""The file `results.json` of a run; its schema is described in docs/results.md."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import headstart
from headstart.errors import UserError
from headstart.report.files import replace_file

SCHEMA = 2


def run_results(
    run: str,
    data: dict,
    lanes: dict[str, dict],
    *,
    teachers: dict[str, dict] | None = None,
    baseline: str | None = None,
) -> dict:
    """The dictionary of `results.json`.

    lanes: name to {"method", "metrics", "best", "steps", "seconds", "terms"}; teachers: name to metrics.
    baseline names the lane that the gains of the others are counted from. Raises ValueError if there is no such lane.
    """
    if baseline is not None and baseline not in lanes:
        raise ValueError(f"baseline {baseline!r} is not one of the lanes {', '.join(lanes)}")
    others = {name: lane for name, lane in lanes.items() if baseline is not None and name != baseline}
    gains = {name: gain(lane["metrics"], lanes[baseline or ""]["metrics"]) for name, lane in others.items()}
    return {
        "schema": SCHEMA,
        "headstart": headstart.__version__,
        "run": run,
        "data": data,
        "teachers": teachers or {},
        "lanes": lanes,
        "gain": {"against": baseline, "lanes": gains},
    }


def gain(metrics: dict, baseline: dict) -> dict[str, float | None]:
    """How much higher each number is than the baseline's; None where either is undefined, counts are left out."""
    names = [name for name in metrics if name in baseline and _is_score(metrics[name]) and _is_score(baseline[name])]
    return {
        name: None if metrics[name] is None or baseline[name] is None else metrics[name] - baseline[name]
        for name in names
    }


def _is_score(value: Any) -> bool:
    return value is None or isinstance(value, float)


def write_json(path: Path | str, value: Any) -> None:
    """Write JSON so that a reader sees the old file or the whole new one, never a part.

    Numbers of numpy and torch become plain ones, paths become text, and numbers that are not finite become null.
    Raises TypeError, naming the place, for a value that JSON has no word for.
    """
    text = json.dumps(plain(value), indent=2, allow_nan=False, ensure_ascii=False) + "\n"
    replace_file(path, text.encode())


def read_results(path: Path | str) -> dict:
    """A `results.json` of this schema. Raises UserError if it is missing, damaged or of another schema."""
    path = Path(path)
    try:
        results = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path} does not exist; a run writes it when it ends.") from None
    except (ValueError, OSError) as error:
        raise UserError(f"{path} cannot be read as JSON: {error}.") from None
    found = results.get("schema") if isinstance(results, dict) else None
    if found != SCHEMA:
        raise UserError(
            f"{path} has schema {found}, this version of headstart reads schema {SCHEMA}; "
            "read it with the version that wrote it."
        )
    return results


def plain(value: Any, place: str = "value") -> Any:
    """The same value in JSON's own types; see `write_json`."""
    if value is None or isinstance(value, bool | int | str):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, dict):
        return {str(key): plain(item, f"{place}.{key}") for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item, f"{place}[{number}]") for number, item in enumerate(value)]
    if hasattr(value, "tolist"):
        return plain(value.tolist(), place)
    raise TypeError(f"{place} is a {type(value).__name__}, which JSON cannot hold")
