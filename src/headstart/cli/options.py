"""The options that several commands share, each described once."""

from __future__ import annotations

from typing import Annotated

from typer import Option

TRAINING, DATA, DETECTOR, RUN = "Training", "Data", "Student", "Run"

Data = Annotated[
    str | None, Option("--data", help="Folder of annotated images: COCO, Roboflow, VOC or YOLO.", rich_help_panel=DATA)
]
Split = Annotated[
    float | None,
    Option("--split", help="Share of the images that validate, where no split does (0.2).", rich_help_panel=DATA),
]
SplitSeed = Annotated[
    int | None, Option("--split-seed", help="Another number, another choice of these (0).", rich_help_panel=DATA)
]
ValSplit = Annotated[
    str | None,
    Option("--val-split", metavar="NAME", help="Which split validates (val); test, perhaps.", rich_help_panel=DATA),
]
Imgsz = Annotated[
    int | None, Option("--imgsz", help="Images are fitted into a square of this side (640).", rich_help_panel=DATA)
]
Batch = Annotated[
    str | None,
    Option(
        "--batch",
        metavar="N",
        help="Images per step, over all devices (16); auto: the most that memory holds.",
        rich_help_panel=DATA,
    ),
]
Workers = Annotated[int | None, Option("--workers", help="Processes that read images (0).", rich_help_panel=DATA)]
BadData = Annotated[
    str | None,
    Option("--bad-data", help="stop | skip: what to do with unusable images and boxes.", rich_help_panel=DATA),
]
Unlabelled = Annotated[
    str | None,
    Option(
        "--unlabelled",
        metavar="DIR",
        help="Folder of images without annotations: they train through the teacher.",
        rich_help_panel=DATA,
    ),
]
Student = Annotated[
    str | None,
    Option(
        "--student",
        "--model",
        help="What to train: a name of `headstart models`, or weights.",
        rich_help_panel=DETECTOR,
    ),
]
Backbone = Annotated[
    str | None, Option("--backbone", help="Another backbone: a short name or any of timm's.", rich_help_panel=DETECTOR)
]
Width = Annotated[int | None, Option("--width", help="Channels of pyramid and heads (256).", rich_help_panel=DETECTOR)]
Weights = Annotated[
    str | None, Option("--weights", help="Backbone from: imagenet | none | FILE (imagenet).", rich_help_panel=DETECTOR)
]
ClassMap = Annotated[
    str | None,
    Option(
        "--class-map",
        metavar="FILE",
        help="YAML lines `class of the teacher, or of the student's file: class of the data` (null: none), where names "
        "do not match by themselves.",
    ),
]
Epochs = Annotated[int | None, Option("--epochs", help="How long, in passes over the data.", rich_help_panel=TRAINING)]
Steps = Annotated[int | None, Option("--steps", help="How long, in steps.", rich_help_panel=TRAINING)]
Schedule = Annotated[str | None, Option("--schedule", help="1x, 2x, 3x: 12, 24, 36 epochs.", rich_help_panel=TRAINING)]
Lr = Annotated[
    float | None,
    Option("--lr", "--lr0", help="Learning rate (0.01 at batch 16, in proportion).", rich_help_panel=TRAINING),
]
Optimizer = Annotated[str | None, Option("--optimizer", help="sgd | adamw.", rich_help_panel=TRAINING)]
Decay = Annotated[str | None, Option("--decay", help="multistep | cosine | constant.", rich_help_panel=TRAINING)]
Ema = Annotated[bool | None, Option("--ema/--no-ema", help="Average the student's weights.", rich_help_panel=TRAINING)]
Precision = Annotated[str | None, Option("--precision", help="auto | fp32 | bf16.", rich_help_panel=TRAINING)]
Seed = Annotated[int | None, Option("--seed", help="Start value of all randomness (0).", rich_help_panel=TRAINING)]
Device = Annotated[str | None, Option("--device", help="auto | cpu | cuda | cuda:1 ...", rich_help_panel=TRAINING)]
Devices = Annotated[
    int | None, Option("--devices", help="Processes that train together (1).", rich_help_panel=TRAINING)
]
EvalEvery = Annotated[
    int | None, Option("--eval-every", help="Epochs between evaluations; 0: never (1).", rich_help_panel=TRAINING)
]
Patience = Annotated[
    int | None,
    Option("--patience", help="Stop when no AP has risen for so many evaluations (never).", rich_help_panel=TRAINING),
]
DryRun = Annotated[
    bool, Option("--dry-run", help="Check everything, say what would be trained, and stop.", rich_help_panel=RUN)
]
Name = Annotated[str | None, Option("--name", help="Folder of the run inside --out.", rich_help_panel=RUN)]
Out = Annotated[str | None, Option("--out", "--project", help="Folder of all runs (runs).", rich_help_panel=RUN)]
Resume = Annotated[
    str | None, Option("--resume", metavar="RUN", help="Continue the run in this folder.", rich_help_panel=RUN)
]
Recipe = Annotated[
    str | None, Option("--recipe", "--config", "-c", help="A YAML file of settings to begin with.", rich_help_panel=RUN)
]
Settings = Annotated[
    list[str] | None,
    Option(
        "--set", "--cfg-options", metavar="KEY=VALUE", help="Any setting, such as train.clip=10.", rich_help_panel=RUN
    ),
]
Quiet = Annotated[bool, Option("--quiet", "-q", help="Print nothing but errors.", rich_help_panel=RUN)]
