"""A student from a file of other classes than the data's: everything of it but the rows of its classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

from rich.table import Table
from torch import Tensor, nn

from headstart.classmap import ClassMap, match_classes, shorten
from headstart.detectors.detector import Detector
from headstart.detectors.weights.native import build_from_recipe
from headstart.errors import UserError
from headstart.heads.dense import DenseHead
from headstart.methods.assistants.init_from_teacher import pull_class_layers, pull_class_maps
from headstart.report.table import listing

STUDENTS_FILE = "student's file"


def change_classes(
    given: Detector, classes: Sequence[str], named: Mapping[str, str | None] | None = None
) -> tuple[Detector, ClassMap]:
    """The same detector for other classes, and how they correspond to its own.

    Backbone, pyramid and head are copied. A class that the detector knows, by its name in any spelling or as `named`
    (its class -> one of the new), keeps its rows of the classifier; the others start anew, as untrained ones do.
    Raises UserError for a detector that was built by hand, and as `match_classes`, but not where no class is known.
    """
    if not given.recipe:
        raise UserError(
            f"the student was built by hand for the classes {', '.join(given.classes)}; build it for those of the data"
        )
    matched = match_classes(given.classes, classes, named, who=(STUDENTS_FILE, "data"), needed=False)
    made = build_from_recipe({**given.recipe, "classes": list(classes)})
    own, state = made.state_dict(), dict(given.state_dict())
    for name, rows in _class_rows(given, made, matched).items():
        state[f"head.{name}"] = rows
    odd = [name for name, value in own.items() if name not in state or state[name].shape != value.shape]
    if odd:
        raise UserError(f"the student's file cannot be given other classes: {', '.join(odd[:5])} depend on them")
    made.load_state_dict({name: state[name] for name in own})
    made.order, made.pad = given.order, given.pad
    made.mean.copy_(given.mean)
    made.std.copy_(given.std)
    return made.eval(), matched


def _class_rows(given: Detector, made: Detector, matched: ClassMap) -> dict[str, Tensor]:
    """The classifiers of a head for the new classes, by their names in it."""
    old, new = given.head, made.head
    if isinstance(old, DenseHead) and isinstance(new, DenseHead):
        return pull_class_maps(old, new, matched)
    names = {id(module): name for name, module in cast(nn.Module, new).named_modules()}
    return {
        f"{names[id(fresh)]}.{key}": value
        for before, fresh in zip(old.box_heads, new.box_heads, strict=True)
        for key, value in pull_class_layers(before, fresh, matched).items()
    }


def tell_classes(matched: ClassMap) -> str:
    """A sentence on what was taken over."""
    known, new = [matched.student[number] for number in matched.known], matched.unmatched_student
    kept = f"{len(known)} are known to it ({shorten(known)})" if known else "it knows none of them"
    fresh = f"; {len(new)} start anew ({shorten(new)})" if new else ""
    return (
        f"The student's file finds {len(matched.teacher)} classes, the data has {len(matched.student)}: {kept}{fresh}. "
        "All else of it is kept."
    )


def list_classes(matched: ClassMap) -> Table:
    """The table of the data's classes and whose rows of the student's file they begin with."""
    rows = matched.describe(("data", STUDENTS_FILE), unknown="(starts anew)")
    return listing(rows, title="Classes of the data and of the student's file")
