"""Inputs that cannot be right, over every command: one sentence with culprit and remedy, and nothing is written."""

import functools
import json
import os
import pickle
import re
import shutil
import struct
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from typer.testing import CliRunner

from headstart.cli import app
from headstart.data.discover import open_dataset
from headstart.data.shapes import make_shapes
from headstart.detectors.weights.native import save_detector
from headstart.detectors.zoo import build_detector

REMEDY = re.compile(
    r"did you mean|expected|must|should|[Uu]se |[Gg]ive |[Ss]tart |[Cc]heck |[Cc]orrect|[Pp]ass |[Ll]eave |[Mm]ove |"
    r"[Cc]opy |[Rr]epair|[Aa]dd |[Ss]ay |[Rr]emove |[Tt]rain it|[Bb]uild |[Kk]eep one|[Cc]hoose|there is no such key|"
    r"is not a valid|No such (?:option|command)|Missing|needs|at most|go together|only of use|there is one of each|"
    r"beside a|it has |between 0 and 1|no image in it|is not an image|Looked for|found in none of these"
)
"""What a message has that says what to do, or what would be right."""

MANY = "\n".join(f"key{number}: 1" for number in range(60_000))
BOMB = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "\n".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)
)
ESCAPE = "\x1b]0;owned\x07\x1b[31m"

TRAIN = [
    "train",
    "--data",
    "shapes",
    "--student",
    "retinanet_r10",
    "--width",
    "16",
    "--weights",
    "none",
    "--batch",
    "2",
]
TRAIN += ["--imgsz", "64", "--steps", "1", "--device", "cpu"]
DISTILL = ["distill", *TRAIN[1:], "--teacher", "teacher.safetensors"]


def header_of(path: Path) -> dict[str, str]:
    with safe_open(path, framework="pt") as file:
        return file.metadata()


def make_world(root: Path) -> None:
    """Everything that the cases name: good data and weights, and what was made of them."""
    make_shapes(root / "shapes", train=6, val=3, size=64)
    torch.manual_seed(0)
    names = open_dataset(root / "shapes", "train").classes
    detector = build_detector("retinanet_r10", names, width=16, pretrained=False, depth=1)
    save_detector(detector, root / "teacher.safetensors", size={"short": 64, "long": 64})
    make_weights(root)
    make_pickles(root)
    make_recipes(root)
    make_data(root)
    make_runs(root)


def make_weights(root: Path) -> None:
    """teacher.safetensors with one entry of its header changed or left out."""
    header = header_of(root / "teacher.safetensors")
    with safe_open(root / "teacher.safetensors", framework="pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    recipe, classes = (json.loads(header[key]) for key in ("recipe", "classes"))
    good = json.loads(header["preprocessing"])
    changes = {
        **{f"no_{key}": {key: None} for key in header if key != "format"},
        "recipe_list": {"recipe": [1]},
        "recipe_empty": {"recipe": {}},
        "recipe_no_name": {"recipe": {"classes": classes}},
        "recipe_deep": {"recipe": {**recipe, "depth": 10**6}},
        "recipe_wide": {"recipe": {**recipe, "width": 10**6}},
        "recipe_wider": {"recipe": {**recipe, "width": 4096}},
        "recipe_rpn": {"recipe": {**recipe, "name": "fasterrcnn", "rpn_depth": 10**6}},
        "recipe_text": {"recipe": {**recipe, "width": "many"}},
        "recipe_switch": {"recipe": {**recipe, "depth": True}},
        "recipe_other": {"recipe": {**recipe, "name": "nothing"}},
        "recipe_unknown": {"recipe": {**recipe, "colour": 3}},
        "recipe_backbone": {"recipe": {**recipe, "backbone": "r999"}},
        "recipe_frozen": {"recipe": {**recipe, "frozen_stages": 9}},
        "classes_number": {"classes": 3},
        "classes_none": {"classes": []},
        "classes_mixed": {"classes": [1, None]},
        "classes_fewer": {"classes": classes[:1]},
        "mean_text": {"preprocessing": {**good, "mean": "x"}},
        "mean_short": {"preprocessing": {**good, "mean": [1.0]}},
        "std_zero": {"preprocessing": {**good, "std": [0, 1, 1]}},
        "std_missing": {"preprocessing": {"mean": good["mean"]}},
        "order_odd": {"preprocessing": {**good, "order": "GRB"}},
        "preprocessing_list": {"preprocessing": []},
        "version_text": {"format_version": "two"},
        "version_newer": {"format_version": 99},
        "version_older": {"format_version": 1},
        "training_list": {"training": [1]},
    }
    for name, change in changes.items():
        new = {key: json.dumps(change[key]) if key in change else value for key, value in header.items()}
        if name.startswith("no_"):
            new = {key: value for key, value in header.items() if key not in change}
        save_file(tensors, root / f"{name}.safetensors", metadata=new)
    save_file(tensors, root / "bad_json.safetensors", metadata={**header, "recipe": "{"})
    save_file(tensors, root / "deep_json.safetensors", metadata={**header, "recipe": "[" * 5000 + "]" * 5000})
    fewer = dict(list(tensors.items())[1:])
    save_file(fewer, root / "fewer.safetensors", metadata=header)
    save_file({"a": torch.zeros(1)}, root / "tensors.safetensors")
    whole = (root / "teacher.safetensors").read_bytes()
    (root / "cut.safetensors").write_bytes(whole[:2000])
    (root / "zeros.safetensors").write_bytes(bytes(2000))
    (root / "empty.safetensors").write_bytes(b"")
    (root / "text.safetensors").write_text("hello")
    (root / "long.safetensors").write_bytes(struct.pack("<Q", 2**62) + b"{" + bytes(100))
    os.mkfifo(root / "pipe.safetensors")
    (root / "folder.safetensors").mkdir()


class Attack:
    def __reduce__(self):
        return os.system, ("touch was_run",)


def legacy(content: bytes) -> bytes:
    """A file of torch's old format whose object is this pickle."""
    info = {"protocol_version": 1001, "little_endian": True, "type_sizes": {"short": 2, "int": 4, "long": 4}}
    parts = [pickle.dumps(part, 2) for part in (0x1950A86A20F9469CFC6C, 1001, info)]
    return b"".join([*parts, content, pickle.dumps([], 2)])


def make_pickles(root: Path) -> None:
    torch.save({"state_dict": {"a": torch.zeros(1)}, "meta": Attack()}, root / "attack.pth")
    (root / "attack_old.pth").write_bytes(legacy(pickle.dumps(Attack(), 2)))
    (root / "deep_key.pth").write_bytes(legacy(b"\x80\x02}()" + b"\x85" * 300_000 + b"K\x01u."))
    (root / "deep_tuple.pth").write_bytes(legacy(b"\x80\x02)" + b"\x85" * 20_000 + b"."))
    (root / "no_stop.pth").write_bytes(legacy(b"\x80\x02}")[:-8])
    (root / "bad_opcode.pth").write_bytes(b"\x80\x02\xff\xff.")
    (root / "bad_get.pth").write_bytes(b"\x80\x02h\x07.")
    (root / "underflow.pth").write_bytes(b"\x80\x02\x85\x85.")
    (root / "bare.pth").write_bytes(pickle.dumps([1, 2], 2))
    (root / "empty.pth").write_bytes(b"")
    (root / "text.pth").write_text("root:x:0:0")
    (root / "zip.pth").write_bytes(b"PK\x03\x04broken")
    torch.save([1, 2], root / "list.pth")
    torch.save({"a": 1}, root / "numbers.pth")
    torch.save({"model": {"a": torch.zeros(1)}, "ema": {"a": torch.zeros(1)}}, root / "two.pth")
    torch.save({"conv.weight": torch.zeros(1)}, root / "strange.pth")
    torch.save({("a", "b"): torch.zeros(1)}, root / "keys.pth")


def make_recipes(root: Path) -> None:
    texts = {
        "list_key": "? [a, b]\n: 1\n",
        "mapping_key": "? {a: b}\n: 1\n",
        "deep": "[" * 3000 + "]" * 3000,
        "deep_keys": "\n".join(" " * n + f"k{n}:" for n in range(300)),
        "bomb": BOMB,
        "bomb_data": BOMB + "\ndata: *a8\nstudent: retinanet_r10\n",
        "loop": "data: &a [*a]\nstudent: r\n",
        "many": MANY,
        "long_key": f"{'k' * 100_000}: 1\n",
        "long_value": f"data: x\nstudent: retinanet_r10\ntrain: {{lr: {'9' * 100_000}}}\n",
        "twice": "data: x\ndata: y\n",
        "tabs": "data:\n\t- x\n",
        "open": "data: [1, 2\n",
        "date": "data: x\nstudent: r\nname: 2021-99-99\n",
        "tag": "data: !!python/object/apply:os.system [touch was_run]\n",
        "binary_tag": "data: !!binary '###'\n",
        "list": "- a\n- b\n",
        "text": "hello\n",
        "nothing": "",
        "control": f"data: '{ESCAPE}'\n",
        "number_keys": "1: 2\n3: 4\n",
        "no_student": "data: shapes\n",
        "data_number": "data: 3\nstudent: retinanet_r10\n",
        "student_list": "data: shapes\nstudent: [a, b]\n",
        "null_train": "data: shapes\nstudent: retinanet_r10\ntrain: 3\n",
        "lane_path": "data: x\nstudent: retinanet_r10\nlanes: {../x: baseline}\n",
        "lane_escape": 'data: x\nstudent: retinanet_r10\nlanes: {"\\e[31m": baseline}\n',
        "lane_number": "data: x\nstudent: retinanet_r10\nlanes: {a: 3}\n",
        "lane_teacher": "data: x\nstudent: r\nteacher: a/b\nlanes: {teacher: head, a: baseline}\n",
        "two_lengths": "data: x\nstudent: retinanet_r10\ntrain: {epochs: 1, steps: 2}\n",
    }
    for name, text in texts.items():
        (root / f"{name}.yaml").write_text(text)
    (root / "latin.yaml").write_bytes("data: caf\xe9\n".encode("latin-1"))
    (root / "bytes.yaml").write_bytes(bytes(range(256)))
    os.mkfifo(root / "pipe.yaml")
    (root / "folder.yaml").mkdir()
    maps = {"map_list": "- a\n", "map_list_key": "[a]: b\n", "map_nested": "a: [b]\n", "map_deep": "a: " + "[" * 3000}
    for name, text in maps.items():
        (root / f"{name}.yaml").write_text(text)


def make_data(root: Path) -> None:
    contents: dict[str, object] = {
        "number": 3,
        "list": [1],
        "no_images": {"annotations": [], "categories": []},
        "images_text": {"images": "x", "annotations": [], "categories": []},
        "empty": {"images": [], "annotations": [], "categories": []},
        "no_class": {"images": [{"id": 1, "file_name": "a.jpg"}], "annotations": [], "categories": []},
        "odd_class": {"images": [], "annotations": [], "categories": [{"id": "x", "name": 3}]},
    }
    for name, content in contents.items():
        place = root / f"coco_{name}" / "annotations" / "instances_train.json"
        place.parent.mkdir(parents=True)
        place.write_text(json.dumps(content))
    for name, content in {
        "cut": b'{"images": [',
        "deep": b"[" * 100_000,
        "bytes": b"\xff\xfe\x00",
        "none": b"",
    }.items():
        place = root / f"coco_{name}" / "annotations" / "instances_train.json"
        place.parent.mkdir(parents=True)
        place.write_bytes(content)
    place = root / "coco_pipe" / "annotations"
    place.mkdir(parents=True)
    os.mkfifo(place / "instances_train.json")
    (root / "nothing").mkdir()
    (root / "one.txt").write_text("x")


def make_runs(root: Path) -> None:
    """A run of one step, and what becomes of its folder."""
    result = CliRunner().invoke(
        app,
        [
            *TRAIN[:2],
            str(root / "shapes"),
            *TRAIN[3:],
            "--eval-every",
            "0",
            "--steps",
            "2",
            "--name",
            "run",
            "--out",
            str(root),
        ],
    )
    assert result.exit_code == 0, result.output
    content = torch.load(root / "run" / "last.ckpt")
    content["history"]["finished"] = False
    settings = content["run"]
    changes = {
        "no_run": {"run": None},
        "run_list": {"run": [1]},
        "run_empty": {"run": {}},
        "run_key": {"run": {**settings, "colour": 1}},
        "step_text": {"step": "three"},
        "step_late": {"step": 99},
        "step_negative": {"step": -1},
        "step_switch": {"step": True},
        "no_lanes": {"lanes": None},
        "other_lanes": {"lanes": {"other": {}}},
        "lane_empty": {"lanes": {"student": {}}},
        "lane_list": {"lanes": {"student": [1]}},
        "history_none": {"history": None},
        "history_empty": {"history": {}},
        "history_more": {"history": {**content["history"], "colour": 1}},
        "identity_odd": {"history": {**content["history"], "identity": {"data": {"train": {"names": 3}}}}},
        "format_old": {"format": 2},
        "format_text": {"format": "x"},
        "wider": {"run": {**settings, "student": {**settings["student"], "width": 32}}},
    }
    for name, change in changes.items():
        folder = root / f"run_{name}"
        folder.mkdir()
        torch.save({**content, **change}, folder / "last.ckpt")
    for name in ("edited", "broken_yaml", "metrics_text", "metrics_cells", "metrics_bytes", "bit"):
        shutil.copytree(root / "run", root / f"run_{name}")
        torch.save(content, root / f"run_{name}" / "last.ckpt")
    text = (root / "run" / "run.yaml").read_text()
    (root / "run_edited" / "run.yaml").write_text(text.replace("momentum: 0.9", "momentum: 0.8"))
    (root / "run_broken_yaml" / "run.yaml").write_text("data: [")
    (root / "run_metrics_text" / "metrics.csv").write_text("hello\nyou\n")
    (root / "run_metrics_cells" / "metrics.csv").write_text("step,lane\n1,student,3,4\n")
    (root / "run_metrics_bytes" / "metrics.csv").write_bytes(b"step\n\xff\xfe\n")
    (root / "run_nothing").mkdir()
    (root / "run_weights").mkdir()
    shutil.copy(root / "run" / "run.yaml", root / "run_weights")
    shutil.copy(root / "teacher.safetensors", root / "run_weights" / "student.safetensors")


def sets(key: str, *values: str) -> list[tuple[list[str], str]]:
    return [([*TRAIN, "--set", f"{key}={value}"], re.escape(key.rpartition(".")[2])) for value in values]


SETTINGS = [
    *sets("train.lr", "true", "-1", "0", ".nan", ".inf", "x", "[1]", "null", "{a: 1}"),
    *sets("train.momentum", "1", "-0.1", "true", ".nan"),
    *sets("train.weight_decay", "-1", ".inf", "false"),
    *sets("train.gamma", "0", "2", "x"),
    *sets("train.clip", "0", "-1", ".nan", "true"),
    *sets("train.warmup", "-1", "1.5", "true", "x"),
    *sets("train.milestones", "3", "[0]", "[x]", "[true]"),
    *sets("train.steps", "0", "-1", "1.5", "true", "99999999999999999999"),
    *sets("train.seed", "-1", "99999999999", "true", "x"),
    *sets("train.ema", "1.5", "-1", "x", ".nan"),
    *sets("train.eval_every", "-1", "x", "true"),
    *sets("train.checkpoint_every", "0", "x"),
    *sets("train.log_every", "0", "true"),
    *sets("train.devices", "0", "-2", "99999999"),
    *sets("train.precision", "fp8", "3"),
    *sets("train.decay", "linear"),
    *sets("train.optimizer", "adam", "[sgd]"),
    *sets("train.tensorboard", "3", "x"),
    *sets("data.batch", "0", "-1", "true", "99999999999", "x"),
    *sets("data.imgsz", "0", "-64", "30000", "true", "100000000000000000000", "x"),
    *sets("data.flip", "-0.1", "1.1", "true", ".nan"),
    *sets("data.workers", "-1", "99999999", "true"),
    *sets("data.bad_data", "maybe", "3"),
    *sets("data.classes", "[]", "circle", "['']", "3"),
    ([*TRAIN, "--set", "data.classes=[nothing]"], "nothing"),
    *sets("data.short", "64", "[1]", "[128, 64]"),
    *sets("data.path", "3", "[a]", "''"),
    *sets("student.width", "0", "-1", "1000000", "true", "x"),
    *sets("student.backbone", "''", "3", "r999", "[r18]"),
    *[
        ([*TRAIN, "--set", f"student.pretrained={file}"], file)
        for file in ("nothing.pth", "text.pth", "numbers.pth", "keys.pth", "pipe.safetensors", "attack.pth")
    ],
    *sets("student.options", "3", "[a]", "{name: x}", "{classes: [a]}", "{colour: 1}", "{width: 32}"),
    *sets("student.options.depth", "x", "-1", "0", "true", "1000000", "1.5", "[1]", "null"),
    *sets("student.options.anchor_scale", "0", "-1", "x", "true", ".nan", ".inf"),
    *sets("student.options.ratios", "[]", "[0]", "[x]", "3"),
    *sets("student.options.frozen_stages", "-1", "99", "true"),
    *sets(
        "student.options.selection", "3", "{threshold: 2}", "{threshold: -1}", "{keep: 0}", "{colour: 1}", "{least: -1}"
    ),
    *sets("name", "''", "3"),
    *sets("out", "''", "[a]"),
    *sets("colour", "1"),
    *sets("train.colour", "1"),
    ([*TRAIN, "--set", "method.colour=1"], "method"),
    *sets("method", "nothing", "head", "[head, 3]", "[]", "{name: 3}", "head+head", "head+baseline", "head+"),
    *[
        ([*TRAIN, "--set", f"lanes={value}"], "lane")
        for value in ("{a/b: baseline}", "{'': baseline}", "[a]", "{a.b: baseline}", "{teacher: 3}")
    ],
    ([*TRAIN, "--set", "lanes={a: nothing}"], "nothing"),
]

OPTIONS = [
    *[
        ([*TRAIN, option, value], re.escape(option))
        for option, value in [
            ("--lr", "fast"),
            ("--seed", "1.5"),
            ("--imgsz", "big"),
            ("--epochs", ""),
            ("--workers", "two"),
            ("--width", "1e3"),
            ("--devices", "all"),
        ]
    ],
    ([*TRAIN, "--batch", "x"], r"data\.batch"),
    ([*TRAIN, "--colour", "red"], "--colour"),
    ([*TRAIN, "--imgsz", "1", "--batch", "1"], "batch norm"),
    ([*TRAIN, "--batch", "1000000"], "batch"),
    ([*TRAIN, "--batch", "7"], "batch of 7 images is more than the 6"),
    ([*TRAIN, "--backbone", ""], "backbone"),
    ([*TRAIN, "--name", ""], "name"),
    ([*TRAIN, "--out", "one.txt"], "one.txt"),
    ([*TRAIN, "--recipe", "text.yaml"], "text.yaml"),
    ([*TRAIN, "--set", "train.lr"], "train.lr"),
    ([*TRAIN, "--set", "=3"], "=3"),
    ([*TRAIN, "--set", "train.lr=[1"], "train.lr"),
    ([*TRAIN, "--set", f"{ESCAPE}=3"], r"\\x1b"),
    ([*TRAIN, "--set", f"train.lr={ESCAPE}"], r"\\x1b|not valid YAML"),
    ([*TRAIN, "--data", ""], "data"),
    ([*TRAIN, "--data", "n" * 5000], "nnn"),
    ([*TRAIN, "--data", f"{ESCAPE}"], r"\\x1b"),
    ([*TRAIN, "--student", ""], "student"),
    ([*TRAIN, "--student", "\udcff"], r"xff|udcff"),
    (["train"], "data is missing"),
    (["train", "--data", "shapes"], "student is missing"),
    (["nothing"], "nothing"),
    *[
        ([*TRAIN, "--device", device], "device")
        for device in (
            "mps",
            "meta",
            "xpu",
            "cuda",
            "cuda:99",
            "gpu",
            "",
            "-1",
            "99999999999999999999",
            "cuda:-1",
            "hpu",
            "xla",
        )
    ],
]

RECIPES = [
    *[
        ([*verb, "--recipe", f"{name}.yaml"], name)
        for name in (
            "list_key",
            "mapping_key",
            "deep",
            "deep_keys",
            "bomb",
            "loop",
            "many",
            "twice",
            "tabs",
            "open",
            "date",
            "tag",
            "list",
            "text",
            "nothing",
            "control",
            "number_keys",
            "student_list",
            "null_train",
            "lane_path",
            "lane_number",
            "latin",
            "bytes",
            "pipe",
            "folder",
            "missing",
            "long_key",
            "long_value",
            "binary_tag",
            "two_lengths",
            "lane_teacher",
            "lane_escape",
            "bomb_data",
            "data_number",
            "no_student",
        )
        for verb in (["config", "show"],)
    ],
    *[(["train", "--recipe", f"{name}.yaml"], name) for name in ("list_key", "deep", "bomb", "many", "pipe", "bytes")],
]

DATA = [
    *[
        (["train", "--data", name, *TRAIN[3:]], name)
        for name in (
            "coco_number",
            "coco_list",
            "coco_no_images",
            "coco_images_text",
            "coco_empty",
            "coco_odd_class",
            "coco_cut",
            "coco_deep",
            "coco_bytes",
            "coco_none",
            "coco_pipe",
            "nothing",
            "one.txt",
            "missing",
        )
    ],
    (["train", "--data", "coco_no_class", *TRAIN[3:]], "no val split"),
]

DAMAGED = [
    "no_format_version",
    "no_recipe",
    "no_classes",
    "no_preprocessing",
    "no_training",
    "no_headstart_version",
    "recipe_list",
    "recipe_empty",
    "recipe_no_name",
    "recipe_deep",
    "recipe_wide",
    "recipe_wider",
    "recipe_rpn",
    "recipe_text",
    "recipe_switch",
    "recipe_other",
    "recipe_unknown",
    "recipe_backbone",
    "recipe_frozen",
    "classes_number",
    "classes_none",
    "classes_mixed",
    "classes_fewer",
    "mean_text",
    "mean_short",
    "std_zero",
    "std_missing",
    "order_odd",
    "preprocessing_list",
    "version_text",
    "version_newer",
    "version_older",
    "training_list",
    "bad_json",
    "deep_json",
    "fewer",
    "tensors",
    "cut",
    "zeros",
    "empty",
    "text",
    "long",
    "pipe",
    "folder",
    "missing",
]
PICKLES = [
    "attack",
    "attack_old",
    "deep_key",
    "deep_tuple",
    "no_stop",
    "bad_opcode",
    "bad_get",
    "underflow",
    "bare",
    "empty",
    "text",
    "zip",
    "list",
    "numbers",
    "two",
    "strange",
    "keys",
    "missing",
]

WEIGHTS = [
    *[(["val", f"{name}.safetensors", "--data", "shapes", "--device", "cpu"], name) for name in DAMAGED],
    *[(["predict", f"{name}.safetensors", "shapes/val", "--device", "cpu"], name) for name in DAMAGED[::5]],
    *[([*DISTILL[:-1], f"{name}.safetensors"], name) for name in DAMAGED[::4]],
    *[([*TRAIN[:4], f"{name}.safetensors", *TRAIN[9:]], name) for name in DAMAGED[::6]],
    *[(["import", f"{name}.pth", "--out", "imported.safetensors"], name) for name in PICKLES],
    *[(["val", f"{name}.pth", "--data", "shapes", "--device", "cpu"], name) for name in PICKLES[::3]],
    *[([*DISTILL[:-1], f"{name}.pth"], name) for name in PICKLES[::4]],
    *[([*TRAIN[:-8], "--weights", f"{name}.pth", *TRAIN[-8:]], name) for name in PICKLES[::2]],
    (["import", ""], "folder"),
    (["import", "."], "folder"),
    (["import", "teacher.safetensors"], "teacher.safetensors"),
    (["import", "pipe.safetensors"], "pipe.safetensors"),
    (["import", "strange.pth", "--out", "one.txt"], "one.txt"),
    (["import", "strange.pth", "--out", "nothing"], "nothing"),
    (["import", "strange.pth", "--classes", "a,a", "--out", "x.safetensors"], "--classes"),
    (["import", "strange.pth", "--classes", "latin.yaml", "--out", "x.safetensors"], "latin.yaml"),
    (["import", "two.pth", "--entry", "net", "--out", "x.safetensors"], "net"),
]

MEASURE = ["val", "teacher.safetensors", "--data", "shapes", "--device", "cpu"]
FIND = ["predict", "teacher.safetensors", "shapes/val", "--device", "cpu"]
OTHERS = [
    *[
        ([*MEASURE, *more], hint)
        for *more, hint in [
            ("--batch", "0", "batch"),
            ("--batch", "-3", "batch"),
            ("--batch", "99999999", "batch"),
            ("--workers", "-1", "workers"),
            ("--imgsz", "0", "imgsz"),
            ("--imgsz", "-5", "imgsz"),
            ("--imgsz", "30000", "imgsz"),
            ("--split", "test", "test"),
            ("--split", "vall", "vall"),
            ("--bad-data", "no", "bad_data"),
            ("--class-map", "missing.yaml", "missing.yaml"),
            ("--class-map", "map_list.yaml", "map_list"),
            ("--class-map", "map_list_key.yaml", "map_list_key"),
            ("--class-map", "map_nested.yaml", "map_nested"),
            ("--class-map", "map_deep.yaml", "map_deep"),
            ("--class-map", "pipe.yaml", "pipe"),
            ("--device", "meta", "device"),
            ("--data", "missing", "missing"),
        ]
    ],
    *[
        ([*FIND, *more], hint)
        for *more, hint in [
            ("--threshold", "2", "threshold"),
            ("--threshold", "-1", "threshold"),
            ("--threshold", "nan", "threshold"),
            ("--imgsz", "0", "imgsz"),
            ("--imgsz", "30000", "imgsz"),
            ("--device", "xpu", "device"),
            ("missing", "missing"),
            ("nothing", "nothing"),
            ("one.txt", "one.txt"),
        ]
    ],
    (["predict", "teacher.safetensors"], "(?i)sources"),
    (["val"], "(?i)weights"),
    (["models", "zzz"], "zzz"),
    (["models", ESCAPE], r"\\x1b"),
    (["methods", "nothing"], "nothing"),
    (["methods", ""], "called"),
    (["config", "nothing"], "nothing"),
    (["demo", "--seed=-1"], "seed"),
    (["demo", "--seed", "99999999999"], "seed"),
    (["demo", "--device", "meta"], "device"),
    (["demo", "--out", "one.txt"], "one.txt"),
]

METHODS = [
    *[
        ([*DISTILL, "--set", f"method.{option}={value}"], option.removesuffix("s"))
        for option, values in {
            "akd_weight": ("-1", "x", "true", ".nan", ".inf"),
            "ckd_weight": ("-0.5", "[1]"),
            "warmup": ("-1", "1.5", "true"),
            "regions": ("-4", "0", "x", "true"),
            "akd": ("3", "maybe"),
            "assistants": ("[nothing]", "3", "{fcos: 3}", "[fcos, fcos]", "{fcos: {depth: -1}}"),
            "weights": ("other", "3"),
            "ckd_stop": ("-1", "soon"),
            "adapter": ("square",),
        }.items()
        for value in values
    ],
    *[([*DISTILL, "--method", "pkd", "--set", f"method.weight={value}"], "weight") for value in ("-1", ".nan", "true")],
    *[
        ([*DISTILL, "--method", "crosskd", "--set", f"method.{one}"], one.partition("=")[0])
        for one in ("tap=-1", "tap=true", "cls_weight=-1", "region=odd", "statistics=7")
    ],
    ([*DISTILL, "--method", "mimic", "--set", "method.box_weight=-1"], "box_weight"),
    ([*DISTILL, "--method", "nothing"], "nothing"),
    ([*DISTILL, "--class-map", "map_nested.yaml"], "map_nested"),
    ([*DISTILL, "--set", "class_map={a: b}"], "a"),
    ([*DISTILL, "--set", "class_map=3"], "class_map"),
    ([*DISTILL[:-2]], "teacher"),
]

RESUME = [
    *[
        (["train", "--resume", f"run_{name}"], hint)
        for name, hint in {
            "no_run": "run",
            "run_list": "run",
            "run_empty": "run_run_empty",
            "run_key": "colour",
            "step_text": "step",
            "step_late": "step",
            "step_negative": "step",
            "step_switch": "step",
            "no_lanes": "lanes",
            "other_lanes": "lanes",
            "lane_empty": "lanes",
            "lane_list": "lanes",
            "history_none": "history",
            "history_empty": "history",
            "history_more": "history",
            "identity_odd": "damaged",
            "format_old": "format",
            "format_text": "format",
            "wider": "lanes",
            "edited": "momentum was 0.9, is now 0.8",
            "broken_yaml": "run.yaml",
            "metrics_text": "metrics.csv",
            "metrics_cells": "metrics.csv",
            "metrics_bytes": "metrics.csv",
            "nothing": "run_nothing",
            "weights": "run_weights",
        }.items()
    ],
    *[
        (["train", "--resume", path], re.escape(path))
        for path in (
            "/etc/passwd",
            "missing",
            "nothing",
            "teacher.safetensors",
            "one.txt",
            "attack.pth",
            "deep_key.pth",
            "pipe.yaml",
            "run/run.yaml",
            "bare.pth",
            "empty.pth",
        )
    ],
    (["train", "--resume", "run", "--lr", "3"], "train.lr was"),
    (["train", "--resume", "run", "--data", "missing"], "missing"),
    (["train", "--resume", "run", "--recipe", "text.yaml"], "--recipe"),
    (["train", "--resume", ""], "--resume"),
]

CASES = [*SETTINGS, *OPTIONS, *RECIPES, *DATA, *WEIGHTS, *OTHERS, *METHODS, *RESUME]


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    root = tmp_path_factory.mktemp("world")
    make_world(root)
    world_before(root)
    return root


@functools.cache
def world_before(root: Path) -> dict[str, int]:
    return listing(root)


def listing(root: Path) -> dict[str, int]:
    return {str(path.relative_to(root)): path.lstat().st_size for path in root.rglob("*")}


def test_there_are_many_kinds():
    assert len(CASES) >= 200


@pytest.mark.parametrize("number", range(len(CASES)))
def test_a_bad_input_is_one_sentence(number, world, monkeypatch):
    arguments, hint = CASES[number]
    monkeypatch.chdir(world)
    result = CliRunner().invoke(app, arguments)
    assert isinstance(result.exception, SystemExit), arguments
    assert result.exit_code == 2, result.output
    words = " ".join(result.stderr.replace("│", " ").split())
    assert len(re.findall(r"(?:^|\s)Error(?::|\s─)", words)) == 1, words
    assert re.search(hint, words), words
    assert REMEDY.search(words) or not arguments, words
    assert len(words) < 5000 and "Traceback" not in result.output
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\udc80-\udcff]", result.output)
    assert listing(world) == world_before(world)
