"""What all-stage guidance is to do: the defaults, the presets, and what does not go together."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Literal

from headstart.errors import UserError, demand_known
from headstart.methods.allstage.macro import Macro
from headstart.methods.allstage.measures import Measure, RowMeasure
from headstart.methods.allstage.micro import Location
from headstart.methods.allstage.options import AllStageOptions
from headstart.methods.allstage.regions import Boxes
from headstart.methods.levels import Levels, Resize

GROUPS = ("backbone", "neck", "dense_cls", "dense_reg", "region", "logit")
"""From the picture to the predictions."""

SHARES = {"backbone": 0.05, "neck": 0.20, "dense_cls": 0.05, "dense_reg": 0.05, "region": 0.05, "logit": 0.10}
"""Which part of the detection losses each group is to be."""


@dataclass(frozen=True)
class Plan:
    """Every option with its value: see `AllStageOptions` for what each is, and here for the defaults."""

    stages: tuple[str, ...] | None = None
    levels: Levels = "auto"
    finest: int | None = 4
    resize: Resize = "coarser"
    valid: bool = True
    measure: Measure = "pearson"
    sample: bool = False
    temperature: float = 1.0
    row_measure: RowMeasure = "cosine"
    relation: float = 0.0
    location: Location = "score"
    eta: float = 0.1
    power: float = 1.0
    gap: float = 1.0
    foreground: float = 0.2
    channel: bool = True
    channel_temperature: float = 1.0
    row: bool = True
    worse: float = 0.25
    boxes: Boxes = "teacher"
    regions: int = 128
    through: Literal["student", "soft", "assistant"] = "student"
    adapter: Literal["always", "needed"] = "always"
    per_level: bool = False
    kernel: Literal[1, 3] = 1
    macro: Macro = "calibrated"
    shares: Mapping[str, float] | float | None = None
    reduce: Literal["mean", "sum"] = "mean"
    calibration: int | None = None
    band: float = 0.05
    warmup: int | None = None
    fade: float = 0.5
    final: float = 0.1
    stop: int | None = None

    def share_of(self, group: str) -> float:
        """The constant of a group."""
        if isinstance(self.shares, Mapping):
            return self.shares.get(group, SHARES[group])
        if self.shares is not None:
            return self.shares
        return 1.0 if self.macro in ("fixed", "uncertainty") else SHARES[group]


PLAIN: dict[str, object] = {
    "stages": ("neck",),
    "valid": False,
    "location": "uniform",
    "channel": False,
    "row": False,
    "macro": "fixed",
    "shares": 1.0,
    "reduce": "sum",
    "warmup": 0,
    "fade": 1.0,
}
"""A method of old: nothing is weighted, and the constant is given."""

PRESETS: dict[str, dict[str, object]] = {
    "fitnet": {**PLAIN, "measure": "mse", "valid": True, "finest": None, "per_level": True},
    "pkd": {**PLAIN, "sample": True, "shares": 6.0, "resize": "teacher", "adapter": "needed"},
    "score_l2": {
        **PLAIN,
        "measure": "mse",
        "valid": True,
        "location": "score",
        "eta": 0.0,
        "gap": 0.0,
        "finest": None,
        "per_level": True,
        "kernel": 3,
    },
    "cwd": {**PLAIN, "measure": "channel_kl", "shares": 5.0, "adapter": "needed", "finest": None, "levels": "stride"},
    "defeat_neck": {
        **PLAIN,
        "measure": "mse",
        "valid": True,
        "location": "split",
        "shares": 7.5,
        "reduce": "mean",
        "finest": None,
        "per_level": True,
        "kernel": 3,
    },
    "head_row": {
        **PLAIN,
        "stages": ("region",),
        "row_measure": "mse",
        "shares": 2.0,
        "boxes": "student",
        "through": "assistant",
    },
}
"""What each preset sets; options that are given go before it."""

READ_WITH: dict[str, tuple[str, tuple[object, ...]]] = {
    "sample": ("measure", ("pearson",)),
    "temperature": ("measure", ("channel_kl",)),
    "eta": ("location", ("score",)),
    "power": ("location", ("score",)),
    "gap": ("location", ("score",)),
    "foreground": ("location", ("split",)),
    "channel_temperature": ("channel", (True,)),
    "worse": ("row", (True,)),
    "calibration": ("macro", ("calibrated", "controlled")),
    "band": ("macro", ("controlled",)),
    "kernel": ("per_level", (True,)),
}
"""Option -> the option that it belongs to, and the values of that with which it means something."""


def make_plan(options: AllStageOptions) -> Plan:
    """The defaults, changed by the preset and then by what is given.

    Raises UserError for a group that is not known, and for options that do nothing together.
    """
    given = {field.name: getattr(options, field.name) for field in fields(AllStageOptions) if field.name != "preset"}
    given = {name: value for name, value in given.items() if value is not None}
    if "stages" in given:
        given["stages"] = check_stages(given["stages"])
    if given.get("finest") == "all":
        given["finest"] = None
    plan = replace(Plan(), **PRESETS.get(options.preset or "", {}) | given)
    if isinstance(plan.shares, Mapping):
        for group in plan.shares:
            demand_known(group, GROUPS, "method allstage: shares: no group of links is called")
    for name, (other, values) in READ_WITH.items():
        found = getattr(plan, other)
        if name in given and found not in values:
            meant = " or ".join(str(value).lower() for value in values)
            raise UserError(
                f"method allstage: {name} is for {other}={meant}, and {other} is {str(found).lower()}; leave it out"
            )
    if plan.through != "student" and plan.boxes != "student":
        raise UserError(
            f"method allstage: through={plan.through} reads the student's regions: boxes must be student, "
            f"not {plan.boxes}"
        )
    return plan


def check_stages(given: object) -> tuple[str, ...]:
    """The groups in order. Raises UserError for one that is not known, and for none."""
    names = given.split(",") if isinstance(given, str) else list(given) if isinstance(given, Sequence) else []
    names = [str(name).strip() for name in names]
    for name in names:
        demand_known(name, GROUPS, "method allstage: no group of links is called")
    if not names:
        raise UserError(f"method allstage: stages must name one of {', '.join(GROUPS)}")
    return tuple(group for group in GROUPS if group in names)
