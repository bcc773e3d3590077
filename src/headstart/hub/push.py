"""`headstart push`: a student, its numbers and its card into a repository of the hub."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from headstart.atomic import atomically
from headstart.detectors.weights.native import Metadata, read_metadata
from headstart.engine.folder import STUDENT
from headstart.errors import UserError
from headstart.hub.address import check_repository
from headstart.hub.card import Measured, write_card
from headstart.hub.fetch import hub_errors
from headstart.hub.reach import hub_unreachable
from headstart.method_choice import BASELINE
from headstart.report.results import Results, plain, read_results

RESULTS, CARD = "results.json", "README.md"
DRAFT = "hub"
"""The folder beside the weights that a dry run writes to."""


@dataclass(frozen=True)
class Parcel:
    """What is sent: the file of weights as it is, and texts by the names that they will have."""

    weights: Path
    texts: dict[str, str]

    def lines(self) -> list[str]:
        """A line for each file: its name in the repository, and its bytes."""
        sizes = {STUDENT: self.weights.stat().st_size}
        sizes |= {name: len(text.encode()) for name, text in self.texts.items()}
        return [f"  {name:<{len(STUDENT)}}  {size:>12,} bytes" for name, size in sizes.items()]


def push(
    source: str | Path,
    repository: str,
    *,
    private: bool = False,
    license: str | None = None,
    dry_run: bool = False,
    say: Callable[[str], None] = print,
) -> str:
    """Sends the student of a run's folder, or a file of weights, to `repository` (OWNER/NAME), made if it is not there.

    Sent are the weights as student.safetensors, results.json where the run has one (the data's folder is replaced by
    its name), and README.md, the model card. What was there under these names is replaced; the hub keeps its history.
    private  the repository must be private; otherwise a new one is what the owner's new ones are
    license  an identifier of the hub for the card
    dry_run  nothing is sent: card and results are written into `hub/` beside the weights

    Gives the address of the commit, or the folder. Raises UserError for a source that is no student, and for whatever
    the hub refuses. The token is the hub client's own business (`hf auth login`, or HF_TOKEN).
    """
    check_repository(repository)
    weights, results = find_student(Path(source))
    metadata = read_metadata(weights)
    measured = match_results(metadata, results) if results is not None else None
    if results is not None and measured is None:
        say(f"{RESULTS} near {weights} tells of other weights than these: it is not sent, and the card has no gain.")
    parcel = Parcel(weights, {CARD: write_card(repository, metadata, measured, license)})
    if measured is not None:
        parcel.texts[RESULTS] = _without_places(measured.results)
    if license is None:
        say("The card names no licence; --license ID adds one, such as apache-2.0.")
    if dry_run:
        folder = weights.parent / DRAFT
        for name, text in parcel.texts.items():
            with atomically(folder / name) as partial:
                partial.write_text(text, encoding="utf-8", newline="\n")
        kind = " (private)" if private else ""
        say("\n".join([f"Nothing was sent. To {repository}{kind} would go", *parcel.lines()]))
        say(f"To read before: {folder / CARD}")
        return str(folder)
    address = _send(parcel, repository, private)
    say("\n".join([f"Sent to {repository}", *parcel.lines()]))
    say(f"Use it as hf://{repository}")
    return address


def find_student(source: Path) -> tuple[Path, Results | None]:
    """The weights, and the results of the run that they lie in, None where there are none.

    Raises UserError for a folder that is no finished run, or holds several distilled students.
    """
    if not source.is_dir():
        near = (folder / RESULTS for folder in (source.parent, source.parent.parent))
        found = next((file for file in near if file.is_file()), None)
        return source, read_results(found) if found is not None else None
    results = read_results(source / RESULTS)
    lanes = results["lanes"]
    files = {name: (source if len(lanes) == 1 else source / name) / STUDENT for name in lanes}
    wanted = [name for name in lanes if len(lanes) == 1 or lanes[name]["method"]["name"] != BASELINE]
    if len(wanted) != 1:
        example = files[(wanted or list(lanes))[0]]
        raise UserError(f"{source} has {len(wanted)} distilled students: say which, such as {example}.")
    return files[wanted[0]], results


def match_results(metadata: Metadata, results: Results) -> Measured | None:
    """The part of `results` that belongs to a file with this header; None if it is of other weights."""
    training = metadata["training"]
    name = str(training.get("lane"))
    lane = results["lanes"].get(name)
    if lane is None or list(metadata["classes"]) != list(results["data"]["classes"]):
        return None
    metrics = plain(training.get("metrics"))
    if training.get("step") == lane["steps"] and metrics == plain(lane["metrics"]):
        return Measured(results, name, final=True)
    best = lane["best"]
    own = metrics.get("AP") if isinstance(metrics, dict) else None
    if best is not None and training.get("step") == best["step"] and own == best["AP"]:
        return Measured(results, name, final=False)
    return None


def _without_places(results: Results) -> str:
    """results.json without the folder of the data, which is nobody else's business."""
    content = {**results, "data": {**results["data"], "path": results["data"]["name"]}}
    return json.dumps(plain(content), indent=2, allow_nan=False, ensure_ascii=False) + "\n"


def _send(parcel: Parcel, repository: str, private: bool) -> str:
    import huggingface_hub

    problem = hub_unreachable()
    if problem is not None:
        raise UserError(f"push {repository}: the hub cannot be reached ({problem}). --dry-run needs no network.")
    if huggingface_hub.get_token() is None:
        raise UserError(f"push {repository}: you are not logged in. `hf auth login` asks for a token, or set HF_TOKEN.")
    api = huggingface_hub.HfApi()
    with hub_errors(f"push {repository}"):
        api.create_repo(repository, private=private or None, exist_ok=True)
        public = private and not api.model_info(repository).private
    if public:
        raise UserError(
            f"push {repository}: this repository exists already and is public, but --private was given. Nothing was "
            "sent: make it private on its page, or name another."
        )
    with hub_errors(f"push {repository}"):
        files: dict[str, str | bytes] = {STUDENT: str(parcel.weights)}
        files |= {name: text.encode() for name, text in parcel.texts.items()}
        operations = [huggingface_hub.CommitOperationAdd(name, content) for name, content in files.items()]
        return str(api.create_commit(repository, operations, commit_message="Student from headstart").commit_url)
