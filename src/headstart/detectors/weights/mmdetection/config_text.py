"""mmdetection's configurations, which its checkpoints carry as text: read as values, never run."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from typing import Any


class Unknown:
    """Stands for a value that the text does not spell out."""

    def __repr__(self) -> str:
        return "unknown"


UNKNOWN = Unknown()


def read_config(text: str) -> dict[str, Any]:
    """The values assigned in a text of Python: numbers, words, lists, `dict(...)`, and names assigned before.

    What is anything else becomes UNKNOWN; a text that is no Python gives an empty dictionary.
    """
    values: dict[str, Any] = {}
    try:
        for line in ast.parse(text).body:
            if isinstance(line, ast.Assign) and len(line.targets) == 1 and isinstance(line.targets[0], ast.Name):
                values[line.targets[0].id] = _value(line.value, values)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return {}
    return values


def look(config: Any, path: str, default: Any = None) -> Any:
    """The value at `a.b.c`, or the default where it is missing, unknown or None."""
    for part in path.split("."):
        config = config.get(part) if isinstance(config, Mapping) else None
    return default if config is None or config is UNKNOWN else config


def find_type(config: Any, kind: str) -> Iterator[Mapping[str, Any]]:
    """Every dictionary inside whose `type` is this (in whatever package), in order."""
    if isinstance(config, Mapping):
        if str(config.get("type")).rpartition(".")[2] == kind:
            yield config
        for value in config.values():
            yield from find_type(value, kind)
    elif isinstance(config, list | tuple):
        for value in config:
            yield from find_type(value, kind)


def _value(node: ast.expr, names: Mapping[str, Any]) -> Any:
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


def _join(pairs: Iterator[tuple[Any, Any]]) -> dict[Any, Any]:
    """A dictionary; the pairs without a key are dictionaries to take in (`**other`)."""
    joined: dict[Any, Any] = {}
    for key, value in pairs:
        if key is None:
            joined.update(value if isinstance(value, dict) else {})
        elif key is not UNKNOWN:
            joined[key] = value
    return joined
