"""mmdetection's configurations, which its checkpoints carry as text: read as values, never run."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

Config = Mapping[str, object]
"""A configuration, or a part of one: values as `read_config` gives them."""


class Unknown:
    """Stands for a value that is computed in the text, by a call or an expression."""

    def __repr__(self) -> str:
        return "unknown"


UNKNOWN = Unknown()


def read_config(text: str) -> dict[str, object]:
    """The values assigned in a text of Python: numbers, words, lists, `dict(...)`, and names assigned before.

    What is anything else becomes UNKNOWN; a text that is no Python gives an empty dictionary.
    """
    values: dict[str, object] = {}
    try:
        for line in ast.parse(text).body:
            if isinstance(line, ast.Assign) and len(line.targets) == 1 and isinstance(line.targets[0], ast.Name):
                values[line.targets[0].id] = _value(line.value, values)
    except (SyntaxError, TypeError, ValueError, RecursionError, MemoryError):
        return {}
    return values


def look(config: object, path: str, default: object = None) -> object:
    """The value at `a.b.c`, or the default where it is missing, unknown or None."""
    for part in path.split("."):
        config = config.get(part) if isinstance(config, Mapping) else None
    return default if config is None or config is UNKNOWN else config


def find_type(config: object, kind: str) -> Iterator[Config]:
    """Every dictionary in `config`, at any depth, whose `type` is `kind` (with or without its package), in order."""
    if isinstance(config, Mapping):
        if str(config.get("type")).rpartition(".")[2] == kind:
            yield config
        for value in config.values():
            yield from find_type(value, kind)
    elif isinstance(config, list | tuple):
        for value in config:
            yield from find_type(value, kind)


def _value(node: ast.expr, names: Config) -> object:
    if isinstance(node, ast.Constant):
        return node.value
    if isinstance(node, ast.Name):
        return names.get(node.id, UNKNOWN)
    if isinstance(node, ast.List | ast.Tuple):
        return [_value(part, names) for part in node.elts]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = _value(node.operand, names)
        return -value if isinstance(value, int | float) else UNKNOWN
    if isinstance(node, ast.Dict):
        keys = [None if key is None else _value(key, names) for key in node.keys]
        return _join((key, _value(value, names)) for key, value in zip(keys, node.values))
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "dict" and not node.args:
        return _join((word.arg, _value(word.value, names)) for word in node.keywords)
    return UNKNOWN


def _join(pairs: Iterator[tuple[object, object]]) -> dict[object, object]:
    """A dictionary of keys and values; a value without a key is a dictionary whose items are added (`**other`)."""
    joined: dict[object, object] = {}
    for key, value in pairs:
        if key is None:
            joined.update(value if isinstance(value, dict) else {})
        elif key is not UNKNOWN:
            joined[key] = value
    return joined
