"""Reading and writing runs: YAML recipes, `a.b=c` overrides, and errors that name every wrong key at once."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TypeVar

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from headstart.alternatives import make_room
from headstart.config import Run, Section, Train, is_file
from headstart.errors import LISTED, UserError, beginning, did_you_mean
from headstart.method_choice import WHOSE_OPTION, MethodChoice, spell_out_method, split_methods
from headstart.strict_yaml import NameLoader, StrictLoader, parse_yaml, read_mapping

AnySection = TypeVar("AnySection", bound=Section)

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
"""Other tools' name of a key -> ours, proposed where a key is unknown."""


DATA_OPTIONS = ("imgsz", "batch", "workers", "bad_data", "classes", "split", "split_seed", "val_split", "unlabelled")

OPTIONS = {
    **{name: f"data.{name}" for name in DATA_OPTIONS},
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
"""The options of `headstart train` and `distill`, in Python too -> their dotted keys in a run."""

SHORT = ("data", "student", "teacher", "method")
"""Sections that may be given as a single word."""


def place_options(options: Mapping[str, object]) -> dict[str, object]:
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


def _one_or_several(teacher: object) -> object:
    """`--teacher FILE` given once is one teacher, not a list; not given, none."""
    if not isinstance(teacher, list | tuple):
        return teacher
    return list(teacher) if len(teacher) > 1 else next(iter(teacher), None)


_KIND = re.compile(r"^(constrained-\w+|literal\[.*|int|float|bool|str|DetectorChoice|list\[DetectorChoice\])$")
"""What pydantic adds to the location of an error for each type of a union."""


def load_run(
    recipe: str | Path | None = None, overrides: Mapping[str, object] | None = None, settings: Iterable[str] = ()
) -> Run:
    """A run from a recipe file, then `overrides` (dotted key to value), then `settings` ("a.b=c", c is YAML).

    Raises UserError listing everything that is wrong, each with its place and the nearest known name.
    """
    tree = read_yaml(Path(recipe)) if recipe is not None else {}
    apply_overrides(tree, overrides or {}, settings)
    return check_run(tree, str(recipe) if recipe is not None else None)


def apply_overrides(tree: dict[str, object], overrides: Mapping[str, object], settings: Iterable[str] = ()) -> None:
    """Changes the tree of a run: `overrides` by dotted key, as from `place_options`, then `settings`, as `--set` has.

    Raises UserError for a setting that is not KEY=VALUE, and as `set_key`.
    """
    settings = list(settings)
    make_room(tree, [*overrides, *(setting.partition("=")[0].strip() for setting in settings)])
    for key, value in overrides.items():
        set_key(tree, _assistants_key(tree) if key == OPTIONS["assistants"] else key, value)
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not equals or not key.strip():
            raise UserError(f"--set {setting}: expected KEY=VALUE, such as --set student.backbone=resnet34.")
        set_key(tree, key.strip(), parse_yaml(value, f"--set {setting}"))


def _assistants_key(tree: Mapping[str, object]) -> str:
    """The dotted key of the option `assistants`; where several methods are combined, it is HEAD's."""
    method = _spell_out("method", tree.get("method"))
    name = method.get("name") if isinstance(method, dict) else None
    several = split_methods(name) if isinstance(name, str) else []
    return "method.head.assistants" if len(several) > 1 and "head" in several else OPTIONS["assistants"]


def check_run(tree: object, source: str | None = None) -> Run:
    """The nested mapping of a recipe as a Run; `source` is its file. Raises UserError listing every error."""
    if isinstance(tree, Mapping):
        file = tree.get("class_map")
        tree = {**tree, "class_map": read_class_map(file)} if isinstance(file, str) else tree
    try:
        return Run.model_validate(tree)
    except ValidationError as error:
        raise UserError(_explain_all(error, source)) from None


def check_section(kind: type[AnySection], values: Mapping[str, object]) -> AnySection:
    """One section alone, for commands that need no whole run. Raises UserError as `check_run`."""
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise UserError(_explain_all(error, None)) from None


def read_class_map(path: str) -> dict[str, str | None]:
    """The file of `--class-map`. It becomes part of the run, so that a resumed one does not depend on it.

    Raises UserError if it cannot be read, or says anything but the name of a class, or null, of a class.
    """
    names: dict[str, str | None] = {}
    for theirs, ours in read_mapping(Path(path), "class map", "`tvmonitor: tv`", NameLoader).items():
        if not isinstance(theirs, str) or not isinstance(ours, str | None):
            raise UserError(
                f"{path}: {theirs}: expected the name of a class, or null to leave it out, found "
                f"{beginning(repr(ours))}."
            )
        names[theirs] = ours
    return names


def read_yaml(path: Path) -> dict[str, object]:
    """The mapping in a YAML file. Raises UserError if the file is none, or has a key twice."""
    return read_mapping(path, "recipe", "`student: retinanet_r18`", StrictLoader)


def dump_run(run: Run) -> str:
    """The run as YAML that `load_run` reads back as an equal run."""
    return yaml.safe_dump(plain_run(run), sort_keys=False, allow_unicode=True)


def plain_run(run: Run) -> dict[str, object]:
    """The run as plain values (numbers, text, lists, mappings, null), without what is not set."""
    return {key: value for key, value in run.model_dump(mode="json").items() if value != {}}


def set_key(tree: dict[str, object], key: str, value: object) -> None:
    """Sets a dotted key; a section in a short form (`student: retinanet_r18`) becomes a mapping first.

    Raises UserError for a key inside a list of teachers, and for a method in none of its forms.
    """
    *sections, last = key.split(".")
    if key == "method":
        tree[key] = _replace_method(tree.get(key), value)
        return
    before = tree.get(key)
    if key in SHORT and isinstance(before, dict) and isinstance(value, str):
        # `--student fcos_r18` beside a recipe's section: another detector, the other keys stay.
        rest = {k: v for k, v in before.items() if k not in ("name", "file", "path")}
        tree[key] = {_short_key(key, value): value, **rest}
        return
    for depth, name in enumerate(sections):
        inner = tree.get(name)
        if sections[: depth + 1] == ["method"] or (depth == 1 and sections[0] == "lanes"):
            inner = _spell_out(".".join(sections[: depth + 1]), inner)
        if isinstance(inner, list):
            raise UserError(
                f"{key}: {name} is a list of {len(inner)} here, so no key of it can be set alone. Give the whole list: "
                f"--set '{name}=[{{file: a.safetensors}}, {{file: b.safetensors}}]'."
            )
        if isinstance(inner, str):
            inner = read_class_map(inner) if name == "class_map" else {_short_key(name, inner): inner}
        section = dict(inner) if isinstance(inner, dict) else {}
        tree[name] = section
        tree = section
    tree[last] = value


def _replace_method(before: object, value: object) -> object:
    """The method that `--method` names, with the options of the recipe's method if that is the same one."""
    old = _spell_out("method", before)
    if not isinstance(old, dict) or not isinstance(value, str):
        return value
    new = _spell_out("method", value)
    return old if isinstance(new, dict) and new.get("name") == old.get("name") else value


def _spell_out(place: str, method: object) -> object:
    """The mapping of a method given as text or a list; `place`: its dotted key. Raises UserError if it is malformed."""
    try:
        return spell_out_method(method) if isinstance(method, str | list) else method
    except ValueError as error:
        raise UserError(f"{place}: {error}.") from None


def hint(word: str, known: Iterable[str]) -> str:
    """The end of a sentence: `; did you mean X?` for the nearest known name, or the full stop."""
    names = list(known)
    alias = ALIASES.get(word)
    return did_you_mean(alias if alias in names else word, names, otherwise="")


def _short_key(section: str, word: str) -> str:
    if section == "data":
        return "path"
    return "file" if section != "method" and is_file(word) else "name"


def _one_per_key(errors: Iterable[ErrorDetails]) -> list[ErrorDetails]:
    """The first error of each key; a key of several types, such as `lr`, has one for each. The types are left out."""
    first: dict[tuple[int | str, ...], ErrorDetails] = {}
    for details in errors:
        place = tuple(part for part in details["loc"] if not _KIND.search(str(part)))
        first.setdefault(place, {**details, "loc": place})
    return list(first.values())


def _explain_all(error: ValidationError, source: str | None) -> str:
    """One sentence, or a line for each of the first keys that are wrong."""
    wrong = _one_per_key(error.errors(include_url=False))
    lines = [_explain(details) for details in wrong[:LISTED]]
    place = f"{source}: " if source else ""
    if len(lines) == 1:
        return f"{place}{lines[0].removesuffix('?')}{'?' if lines[0].endswith('?') else '.'}"
    lines += [f"... and {len(wrong) - LISTED} more"] * (len(wrong) > LISTED)
    return f"{source or 'The settings'} cannot be used:\n" + "\n".join(f"  {line}" for line in lines)


def _explain(details: ErrorDetails) -> str:
    place = ".".join(beginning(part) for part in details["loc"])
    kind = details["type"]
    if kind == "extra_forbidden":
        *sections, last = details["loc"]
        homes = [f"{section}.{last}" for section in Run.model_fields if not sections and last in _keys_at((section,))]
        near = f"; did you mean {homes[0]}?" if homes else hint(str(last), _keys_at(tuple(sections)))
        return f"{place}: there is no such key{near.removesuffix('.')}"
    message = details["msg"].removeprefix("Value error, ")
    if kind == "missing":
        return f"{place}: missing; add it"
    if kind == WHOSE_OPTION:
        context = details.get("ctx", {})
        return f"{place}.{context['option']}: say of which method: {place}.{context['one']}.{context['option']}"
    if kind == "value_error":
        return f"{place}: {message}" if place else message
    found = details["input"]
    near = hint(beginning(found), _choices(details)).removesuffix(".")
    return f"{place}: {message[0].lower()}{message[1:]}, found {beginning(repr(found))}{near}"


def _choices(details: ErrorDetails) -> list[str]:
    expected = str(details.get("ctx", {}).get("expected", ""))
    return [word.strip(" '") for word in expected.replace(" or ", ",").split(",")]


def _keys_at(path: tuple[int | str, ...]) -> list[str]:
    """The known keys of the section that a path of an error leads to."""
    model: type[BaseModel] = Run
    for part in path:
        if isinstance(part, int):  # one of a list of teachers
            continue
        field = model.model_fields.get(part)
        if field is None:
            return []
        model = next(_models_in(field.annotation), MethodChoice)
    return list(model.model_fields)


def _models_in(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in getattr(annotation, "__args__", ()):
        yield from _models_in(part)
