"""Reading and writing runs: YAML recipes, `a.b=c` overrides, and errors that name every wrong key at once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError
from yaml.constructor import ConstructorError

from headstart.config import MethodChoice, Run, Train, is_file
from headstart.errors import UserError, did_you_mean

ALIASES = {
    "lr0": "lr",
    "image_size": "imgsz",
    "img_size": "imgsz",
    "batch_size": "batch",
    "num_workers": "workers",
    "amp": "precision",
    "work_dir": "out",
    "project": "out",
    "distill_model": "teacher",
    "model": "student",
    "max_epochs": "epochs",
    "optim": "optimizer",
    "grad_clip": "clip",
}
"""What other tools call a key of ours, for the hint beside an unknown one."""


OPTIONS = {
    **{name: f"data.{name}" for name in ("imgsz", "batch", "workers", "bad_data", "classes")},
    **{name: f"student.{name}" for name in ("backbone", "width", "pretrained")},
    **{name: f"train.{name}" for name in Train.model_fields},
    "weights": "student.pretrained",
    "data": "data",
    "student": "student",
    "teacher": "teacher",
    "method": "method",
    "assistants": "method.assistants",
    "lanes": "lanes",
    "compare": "baseline",
    "class_map": "class_map",
    "name": "name",
    "out": "out",
}
"""The options of `headstart train` and `distill`, in Python too, and where each stands in a run."""


SHORT = ("data", "student", "teacher", "method")
"""Sections that a single word may stand for."""


def place_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Overrides for `load_run` from options by name; those that are None are left out.

    Raises UserError for an unknown option, with the nearest known one.
    """
    for name in options:
        if name not in OPTIONS:
            raise UserError(f"There is no option {name!r}{hint(name, OPTIONS)}")
    # Sections before their keys, so that `student` and `backbone` both count.
    chosen = {**options, "teacher": _one_or_several(options.get("teacher"))}
    given = {OPTIONS[name]: value for name, value in chosen.items() if value is not None}
    return dict(sorted(given.items(), key=lambda item: item[0].count(".")))


def _one_or_several(teacher: Any) -> Any:
    """`--teacher FILE` given once is one teacher, not a list; not given, none."""
    if not isinstance(teacher, list | tuple):
        return teacher
    return list(teacher) if len(teacher) > 1 else next(iter(teacher), None)


_KIND = re.compile(r"^(constrained-\w+|literal\[.*|int|float|bool|str|DetectorChoice|list\[DetectorChoice\])$")
"""How pydantic names the kinds of value that a key may have."""


def load_run(
    recipe: str | Path | None = None, overrides: Mapping[str, Any] | None = None, settings: Iterable[str] = ()
) -> Run:
    """A run from a recipe file, then `overrides` (dotted key to value), then `settings` ("a.b=c", c is YAML).

    Raises UserError listing everything that is wrong, each with its place and the nearest known name.
    """
    tree = read_yaml(Path(recipe)) if recipe is not None else {}
    for key, value in (overrides or {}).items():
        put(tree, key, value)
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key.strip():
            raise UserError(f"--set {setting}: expected KEY=VALUE, such as --set student.backbone=resnet34.")
        put(tree, key.strip(), parse_yaml(value, f"--set {setting}"))
    return check_run(tree, str(recipe) if recipe is not None else None)


def check_run(tree: Any, source: str | None = None) -> Run:
    """The tree as a Run. Raises UserError listing every error."""
    if isinstance(tree, dict) and isinstance(tree.get("class_map"), str):
        tree = {**tree, "class_map": read_class_map(tree["class_map"])}
    try:
        return Run.model_validate(tree)
    except ValidationError as error:
        lines = [_explain(details) for details in _one_per_key(error.errors())]
    place = f"{source}: " if source else ""
    if len(lines) == 1:
        raise UserError(f"{place}{lines[0].removesuffix('?')}{'?' if lines[0].endswith('?') else '.'}")
    raise UserError(f"{source or 'The settings'} cannot be used:\n" + "\n".join(f"  {line}" for line in lines))


def read_class_map(path: str) -> dict[str, Any]:
    """The file of `--class-map`. It becomes part of the run, so that a resumed one does not depend on it."""
    return _mapping(Path(path), "class map", "`tvmonitor: tv`", _NameLoader)


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file with a mapping in it; a key given twice is an error too."""
    return _mapping(path, "recipe", "`student: retinanet_r18`", _StrictLoader)


def _mapping(path: Path, what: str, example: str, loader: type[yaml.SafeLoader]) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"The {what} {path} does not exist{hint(path.name, _neighbours(path))}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"The {what} {path} cannot be read: {error}.") from None
    tree = parse_yaml(text, str(path), loader)
    if not isinstance(tree, dict):
        kind = type(tree).__name__
        raise UserError(f"{path}: expected keys and values such as {example}, found a {kind}.")
    return tree


def parse_yaml(text: str, source: str, loader: type[yaml.SafeLoader] | None = None) -> Any:
    try:
        return yaml.load(text, Loader=loader or _StrictLoader)
    except yaml.YAMLError as error:
        raise UserError(f"{source} is not valid YAML: {' '.join(str(error).split())}.") from None


def dump_run(run: Run) -> str:
    """The run as YAML that `load_run` reads back as an equal run."""
    return yaml.safe_dump(plain_run(run), sort_keys=False, allow_unicode=True)


def plain_run(run: Run) -> dict[str, Any]:
    """The run as plain values, without what is not set."""
    tree = run.model_dump(mode="json", exclude_none=True)
    # A limit that was switched off is not the same as one that was not mentioned.
    if run.train.clip is None:
        tree["train"]["clip"] = None
    return {key: value for key, value in tree.items() if value != {}}


def put(tree: dict[str, Any], key: str, value: Any) -> None:
    """Sets a dotted key; a section that was a single word (`student: retinanet_r18`) becomes a mapping first."""
    *sections, last = key.split(".")
    if key in SHORT and isinstance(tree.get(key), dict) and isinstance(value, str):
        # `--student fcos_r18` beside a recipe's section: another detector, the other keys stay.
        short = _short_key(key, value)
        rest = {k: v for k, v in tree[key].items() if k not in ("name", "file", "path")}
        if key == "method" and tree[key].get("name") != value:
            rest = {}  # another method's options mean nothing here
        tree[key] = {short: value, **rest}
        return
    for name in sections:
        inner = tree.get(name)
        if isinstance(inner, list):
            raise UserError(
                f"{key}: {name} is a list of {len(inner)} here, so no key of it can be set alone. Give the whole list: "
                f"--set '{name}=[{{file: a.safetensors}}, {{file: b.safetensors}}]'."
            )
        if isinstance(inner, str):
            inner = read_class_map(inner) if name == "class_map" else {_short_key(name, inner): inner}
        tree[name] = dict(inner) if isinstance(inner, dict) else {}
        tree = tree[name]
    tree[last] = value


def hint(word: str, known: Iterable[str]) -> str:
    """The end of a sentence: `; did you mean X?` for the nearest known name, or the full stop."""
    names = list(known)
    alias = ALIASES.get(word)
    return did_you_mean(alias if alias in names else word, names, otherwise="")


def _short_key(section: str, word: str) -> str:
    if section == "data":
        return "path"
    return "file" if section != "method" and is_file(word) else "name"


def _one_per_key(errors: Iterable[Any]) -> list[dict[str, Any]]:
    """Of a key that may be of several kinds, such as `lr`, only the first complaint, without the name of the kind."""
    first: dict[tuple[Any, ...], dict[str, Any]] = {}
    for details in errors:
        place = tuple(part for part in details["loc"] if not _KIND.search(str(part)))
        first.setdefault(place, {**details, "loc": place})
    return list(first.values())


def _explain(details: Mapping[str, Any]) -> str:
    place = ".".join(str(part) for part in details["loc"])
    kind = details["type"]
    if kind == "extra_forbidden":
        *sections, last = details["loc"]
        homes = [f"{section}.{last}" for section in Run.model_fields if not sections and last in _keys_at((section,))]
        near = f"; did you mean {homes[0]}?" if homes else hint(str(last), _keys_at(tuple(sections)))
        return f"{place}: there is no such key{near.removesuffix('.')}"
    message = details["msg"].removeprefix("Value error, ")
    if kind == "missing":
        return f"{place}: missing"
    if kind == "value_error":
        return f"{place}: {message}" if place else message
    found = details["input"]
    near = hint(str(found), _choices(details)).removesuffix(".")
    return f"{place}: {message[0].lower()}{message[1:]}, found {found!r}{near}"


def _choices(details: Mapping[str, Any]) -> list[str]:
    expected = str(details.get("ctx", {}).get("expected", ""))
    return [word.strip(" '") for word in expected.replace(" or ", ",").split(",")]


def _keys_at(path: tuple[Any, ...]) -> list[str]:
    """The known keys of the section that a path of an error leads to."""
    model: Any = Run
    for part in path:
        if isinstance(part, int):  # one of a list of teachers
            continue
        field = model.model_fields.get(part)
        if field is None:
            return []
        model = next(_models_in(field.annotation), MethodChoice)
    return list(model.model_fields)


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in getattr(annotation, "__args__", ()):
        yield from _models_in(part)


def _neighbours(path: Path) -> list[str]:
    return [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []


class _StrictLoader(yaml.SafeLoader):
    """Refuses a mapping with the same key twice, where YAML would silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise ConstructorError(None, None, f"key {key.value!r} is given twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


class _NameLoader(_StrictLoader):
    """Everything but null is text: a class may be called 1, or no."""


_NameLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.endswith(":null")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
