"""The scores from which a teacher's boxes become labels, chosen on the validation images before training."""

from __future__ import annotations

from headstart.engine.build import validation_batches
from headstart.engine.display import Print
from headstart.engine.prepare import PreparedRun
from headstart.errors import UserError
from headstart.evaluation.evaluate import evaluate
from headstart.evaluation.thresholds import ThresholdScorer
from headstart.methods.pseudo import UNDECIDED, PseudoLabels

SHOWN = 12
"""Classes in a line."""


def choose_thresholds(prepared: PreparedRun, say: Print) -> None:
    """Decides for every lane what `threshold: auto` left open, by one pass of each such teacher in this process alone.

    Nothing is left open in a run that is continued: what was chosen is in its checkpoint. Says the thresholds.
    Raises UserError in a run without validation images.
    """
    chosen: dict[str, dict[str, float]] = {}
    for lane in prepared.module.lanes:
        for guidance in lane.method:
            if isinstance(guidance, PseudoLabels) and guidance.undecided:
                name = guidance.teacher.name
                if name not in chosen:
                    chosen[name] = _measure(prepared, guidance, say)
                guidance.decide(list(chosen[name].values()))


def _measure(prepared: PreparedRun, guidance: PseudoLabels, say: Print) -> dict[str, float]:
    """By class that of a guidance's teacher, a score 0..1."""
    run, data = prepared.run, prepared.val_data
    if data is None:
        raise UserError(
            "method pseudo: threshold auto is chosen on the validation images, and this run has none (eval_every 0): "
            "give a number, such as --set method.threshold=0.5"
        )
    teacher = guidance.teacher
    say(f"choosing thresholds for the labels of {teacher.title}: {len(data)} images")
    scorer = ThresholdScorer(data)
    evaluate(
        teacher.model,
        validation_batches(run.data, data),
        scorer,
        device=prepared.device,
        autocast=prepared.module.precision.dtype,
        translate=guidance.classes.detections,
    )
    teacher.clear()
    found = scorer.choose()
    if not any(one.f1 for one in found.values()):
        say(
            f"Warning: the {teacher.title} finds no object of the validation images (IoU 0.5), so no threshold is "
            f"better than another: its boxes are labels from a score of {UNDECIDED:g} on. Was it trained on such data?"
        )
        return dict.fromkeys(found, UNDECIDED)
    shown = ", ".join(f"{name} {one.threshold:.2f}" for name, one in list(found.items())[:SHOWN])
    say(f"Thresholds (best F1): {shown}{f' and {len(found) - SHOWN} more' if len(found) > SHOWN else ''}")
    return {name: one.threshold for name, one in found.items()}
