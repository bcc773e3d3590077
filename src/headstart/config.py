"""The settings of a run: these models are the schema of its YAML. Importing this must stay cheap (no torch)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Discriminator, Field, Tag, field_validator, model_validator

from headstart.config_data import Data, Positive, Section, Side, Word
from headstart.errors import beginning
from headstart.method_choice import BASELINE, MethodChoice
from headstart.options import Width

LANE_NAME = re.compile(r"[^\W_][\w +-]{0,98}[\w+-]|\w")
"""Letters of any language, digits, and what joins them."""

GIVEN = "(given in Python)"
"""The name of a detector that was handed over as a module: a resumed run needs it handed over again."""

BESIDE_OPTIONS = ("name", "classes", "backbone")
"""Arguments of every builder that are no options."""


class DetectorChoice(Section):
    """A detector to build by name, or a file of weights: headstart's own, torchvision's or mmdetection's."""

    name: Word | None = Field(None, description="what to build, such as retinanet_r18; see `headstart models`")
    file: Word | None = Field(None, description="weights to start from (.safetensors, or a checkpoint of others)")
    read_as: Word | None = Field(None, description="what a foreign file is, where it leaves that open")
    classes: list[Word] | None = Field(
        None, min_length=1, description="names of a foreign file's classes, where it has none"
    )
    entry: Word | None = Field(None, description="which weights of a foreign file, where it has several")
    backbone: Word | None = Field(None, description="another backbone than the name says: short name or any of timm's")
    width: Width | None = Field(None, description="channels of pyramid and heads")
    pretrained: bool | Word = Field(True, description="start from ImageNet weights (imagenet), none, or a file")
    options: dict[str, object] = Field(default_factory=dict, description="further options of the builder")

    @field_validator("pretrained", mode="before")
    @classmethod
    def _words_for_weights(cls, value: object) -> object:
        return {"imagenet": True, "none": False}.get(value, value) if isinstance(value, str) else value

    @model_validator(mode="after")
    def _a_name_or_a_file(self) -> DetectorChoice:
        if (self.name is None) == (self.file is None):
            raise ValueError("give either name (build it) or file (load it)")
        twice = [key for key in self.options if key in BESIDE_OPTIONS or getattr(self, key, None) is not None]
        if twice:
            raise ValueError(f"{twice[0]} stands beside options, not among them; move it there")
        built = [key for key in ("backbone", "width", "options") if getattr(self, key)]
        if self.file is not None and built:
            raise ValueError(f"a detector from a file cannot take {', '.join(built)}; the file says what it is")
        read = [key for key in ("read_as", "classes", "entry") if getattr(self, key)]
        if self.file is None and read:
            raise ValueError(f"{', '.join(read)} is for a detector from a foreign file, not for one that is built")
        return self


class TeacherChoice(DetectorChoice):
    """A detector that teaches, and what its passes over the images are to cost."""

    imgsz: Side | None = Field(
        None, description="side of the square that its images fit into; default: the same images as the students"
    )
    cache: bool | Word | None = Field(
        None, description="folder for what it said, so that a view that comes again costs no pass; true: the user's own"
    )
    cache_limit: float | None = Field(None, gt=0, description="GB that this folder may hold (default 20)")

    @model_validator(mode="after")
    def _a_limit_of_something(self) -> TeacherChoice:
        if self.cache_limit is not None and not self.cache:
            raise ValueError("cache_limit says how large the cache may be, but there is none; give cache, too")
        return self


ONE, SEVERAL = "DetectorChoice", "list[DetectorChoice]"
Teachers = Annotated[
    Annotated[TeacherChoice, Tag(ONE)] | Annotated[list[TeacherChoice], Field(min_length=1), Tag(SEVERAL)],
    Discriminator(lambda value: SEVERAL if isinstance(value, list) else ONE),
]
"""One teacher or a list of them. The discriminator picks one model, so that pydantic reports a mistake only once."""


class Train(Section):
    """How long and how. Numbers left at `auto` are settled when the run starts and written into its run.yaml."""

    epochs: Positive | None = Field(None, description="how long; or steps, or schedule (default: schedule 1x)")
    steps: Positive | None = Field(None, description="how long, in optimiser steps")
    schedule: Literal["1x", "2x", "3x"] | None = Field(None, description="12, 24 or 36 epochs")
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: Annotated[float, Field(gt=0)] | Literal["auto"] = Field(
        "auto", description="auto: 0.01 (adamw: 0.0001) at 16 images per step, in proportion"
    )
    momentum: float = Field(0.9, ge=0, lt=1)
    weight_decay: float = Field(1e-4, ge=0)
    decay_norm_and_bias: bool = Field(True, description="whether weight decay also applies to norms and biases")
    nesterov: bool = Field(False, description="Nesterov's momentum, for sgd")
    decay: Literal["multistep", "cosine", "flat-cosine", "constant"] = Field(
        "multistep", description="shape of the learning rate; flat-cosine: half of the run flat, then down to 5 %"
    )
    milestones: list[Positive] | None = Field(
        None, description="where the rate drops, in epochs (in steps if the length is); default after 2/3 and 11/12"
    )
    gamma: float = Field(0.1, gt=0, le=1, description="factor of each drop")
    warmup: Annotated[int, Field(ge=0)] | Literal["auto"] = Field(
        "auto", description="steps of warm-up; auto: 500, at most a tenth of the run"
    )
    warmup_shape: Literal["linear", "quadratic"] = Field("linear", description="quadratic: as YOLOX, from zero")
    clip: float | None = Field(20.0, gt=0, description="largest L2 norm of a lane's gradient; null: no limit")
    precision: Literal["auto", "fp32", "bf16"] = Field("auto", description="auto: bf16 where the hardware has it")
    channels_last: bool | Literal["auto"] = Field("auto", description="memory layout of convolutions")
    fast_teacher: bool = Field(True, description="fold the teacher's batch norms; bf16 weights where that is used")
    ema: bool | Annotated[float, Field(gt=0, lt=1)] | Literal["exponential"] = Field(
        False, description="average the weights: true, a decay, or exponential (as YOLOX and RTMDet, for long runs)"
    )
    seed: int = Field(0, ge=0, lt=2**31)
    device: Word = Field("auto", description="auto, cpu, cuda, cuda:1 ...")
    devices: int = Field(1, gt=0, le=4096, description="how many processes train together")
    eval_every: int = Field(1, ge=0, description="epochs between evaluations; 0: never")
    patience: Positive | None = Field(
        None, description="end the run when no lane's AP has risen for so many evaluations; null: never"
    )
    checkpoint_every: Positive = Field(500, description="steps between saves of last.ckpt, besides each epoch's end")
    log_every: Positive = Field(20, description="steps between readings of the losses")
    shares_every: int = Field(
        500, ge=0, le=10**9, description="steps between measurements of each term's share of the gradient; 0: never"
    )
    tensorboard: bool = Field(False, description="also write TensorBoard files (needs the tensorboard extra)")

    @model_validator(mode="after")
    def _one_length(self) -> Train:
        given = [key for key in ("epochs", "steps", "schedule") if getattr(self, key) is not None]
        if len(given) > 1:
            raise ValueError(f"give one of epochs, steps and schedule, not {' and '.join(given)}")
        if self.patience is not None and self.eval_every == 0:
            raise ValueError("patience counts evaluations, and eval_every 0 means that there are none")
        if self.nesterov and (self.optimizer != "sgd" or not self.momentum):
            raise ValueError("nesterov is a kind of momentum: it needs optimizer sgd and a momentum above 0")
        return self


class Run(Section):
    """All settings of a training. `lanes` trains several students on the same batches, each by a method of its own."""

    data: Data
    student: DetectorChoice
    teacher: Teachers | None = Field(None, description="whom the student learns from: one, or a list of several")
    method: MethodChoice | None = Field(None, description="how the student learns; default baseline (no teacher)")
    lanes: dict[str, MethodChoice] = Field(default_factory=dict, description="several methods instead of one")
    class_map: dict[str, str | None] | None = Field(
        None, description="class of a teacher or of the student's file: class of the data (null: none); or a YAML file"
    )
    baseline: bool = Field(False, description="also train the same student without distillation, beside it")
    train: Train = Field(default_factory=Train)
    name: Word | None = Field(None, description="folder of the run inside `out`")
    out: Word = Field("runs", description="folder of all runs")

    @model_validator(mode="before")
    @classmethod
    def _short_forms(cls, value: object) -> object:
        """`data: DIR`, `student: retinanet_r18` and `teacher: FILE` in place of a section.

        The same for each of a list of teachers; the short forms of a method are those of `MethodChoice`.
        """
        if not isinstance(value, dict):
            return value
        value = dict(value)
        if isinstance(value.get("data"), str):
            value["data"] = {"path": value["data"]}
        for key in ("student", "teacher"):
            if isinstance(value.get(key), str):
                value[key] = _detector(value[key])
        if isinstance(value.get("teacher"), list):
            value["teacher"] = [_detector(one) if isinstance(one, str) else one for one in value["teacher"]]
        if value.get("lanes") and isinstance(value.get("method"), dict) and "name" not in value["method"]:
            raise ValueError("give either method (and baseline), or lanes; a lane's option is set by lanes.LANE.OPTION")
        return value

    @model_validator(mode="after")
    def _fitting_parts(self) -> Run:
        if self.lanes and (self.method is not None or self.baseline):
            raise ValueError("give either method (and baseline), or lanes")
        unusable = [name for name in self.lanes if not LANE_NAME.fullmatch(name)]
        if unusable:
            raise ValueError(
                f"a lane's name becomes a folder, so it cannot be {beginning(repr(unusable[0]))}; use letters, "
                "digits, _ and -, at most 100"
            )
        if self.teachers and "teacher" in self.choices:
            raise ValueError("a lane cannot be called teacher, because the results have a row of that name")
        needy = [method.name for method in self.choices.values() if method.needs_teacher]
        if needy and not self.teachers:
            raise ValueError(
                f"method {needy[0]} needs a teacher (a file of weights or a name); method head can also do without: "
                "--assistants auto"
            )
        if self.baseline and not self.distils:
            raise ValueError("a baseline is only of use beside a method that distils")
        if self.teachers and not any(method.distils and method.teachers != [] for method in self.choices.values()):
            raise ValueError("a teacher was given, but no method that would use it")
        if self.class_map and not self.teachers and self.student.file is None:
            raise ValueError(
                "class_map says what the classes of a teacher, or of the student's file, are called in the data, but "
                "there is no teacher and no such file"
            )
        never = self.data.never_twice
        if never is not None and any(teacher.cache for teacher in self.teachers):
            raise ValueError(
                f"teacher.cache: with data.{never} hardly a view of an image comes twice, so what the teacher said "
                f"to one could not be used again; leave out teacher.cache, or data.{never}"
            )
        if self.data.unlabelled is not None and not self.teachers:
            raise ValueError(
                "data.unlabelled: images without labels train only through what a teacher says of them; give a teacher "
                "and a method that uses it, such as pseudo or head, or leave them out"
            )
        if self.data.unlabelled is None and any(
            name == "pseudo" and options.get("on") == "unlabelled"
            for choice in self.choices.values()
            for name, options in choice.parts
        ):
            raise ValueError("method pseudo: on unlabelled needs images without labels; give data.unlabelled")
        return self

    @property
    def teachers(self) -> list[TeacherChoice]:
        """The teachers as a list, in order; empty where there is none."""
        if self.teacher is None:
            return []
        return self.teacher if isinstance(self.teacher, list) else [self.teacher]

    @property
    def distils(self) -> bool:
        """Whether any lane learns from more than the ground truth."""
        return any(method.distils for method in self.choices.values())

    @property
    def choices(self) -> dict[str, MethodChoice]:
        """The method of each lane, in order. A training without a teacher has one lane, `student`; in a comparison the
        lane without distillation comes first and is called `baseline`."""
        if self.lanes:
            return self.lanes
        method = self.method or MethodChoice(name=BASELINE)
        if not method.distils:
            return {"student": method}
        if self.baseline:
            return {BASELINE: MethodChoice(name=BASELINE), method.name: method}
        return {method.name: method}

    @property
    def reference(self) -> str | None:
        """The lane that the others are compared with, if there is one."""
        plain = [name for name, method in self.choices.items() if not method.distils]
        return plain[0] if plain and len(self.choices) > 1 else None


def _detector(word: str) -> dict[str, str]:
    return {"file" if is_file(word) else "name": word}


def is_file(text: str) -> bool:
    """Whether a word means a file rather than a model's name."""
    return "/" in text or "\\" in text or Path(text).suffix != "" or Path(text).is_file()
