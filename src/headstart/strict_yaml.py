"""YAML as recipes are written in: a key given twice is an error, and names may look like numbers.

A text may come from anywhere: how deep it goes and how large it becomes when its aliases are followed have limits.
"""

from __future__ import annotations

from pathlib import Path

import yaml
from yaml.constructor import ConstructorError

from headstart.errors import UserError, beginning, did_you_mean
from headstart.reading import read_text, reason

DEEPEST = 50
"""Lists and mappings within each other."""

LARGEST = 500_000
"""Values of a whole text, those behind an alias counted wherever it stands: a few lines of aliases of aliases would
otherwise become a billion."""


class StrictLoader(yaml.SafeLoader):
    """Refuses a mapping with the same key twice, where YAML would silently keep the last, and what has no end."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._depth = 0
        self._sizes: dict[int, int] = {}

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        """As SafeLoader's. Raises ConstructorError for a text that is too deep or too large."""
        mark = self.peek_event().start_mark
        self._depth += 1
        if self._depth > DEEPEST:
            raise ConstructorError(None, None, f"it is nested more than {DEEPEST} deep", mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        if node is not None and id(node) not in self._sizes:
            if node.start_mark.index < mark.index:  # an alias of a node that is not complete
                raise ConstructorError(None, None, "an alias stands inside of what it stands for", mark)
            self._sizes[id(node)] = size = 1 + sum(self._sizes[id(inner)] for inner in _inside(node))
            if size > LARGEST:
                raise ConstructorError(None, None, f"it has more than {LARGEST} values", mark)
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        """As SafeLoader's. Raises ConstructorError, a YAMLError, for a key given twice, or one that is no word."""
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise ConstructorError(None, None, "a key must be a word, not a list or a mapping", key.start_mark)
            if key.value in seen:
                raise ConstructorError(None, None, f"key {beginning(key.value)!r} is given twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def _inside(node: yaml.Node) -> list[yaml.Node]:
    """The nodes right in a list or a mapping."""
    if isinstance(node, yaml.MappingNode):
        return [inner for pair in node.value for inner in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []


class NameLoader(StrictLoader):
    """Everything but null is text: a class may be called 1, or no."""


NameLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.endswith(":null")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def read_mapping(path: Path, what: str, example: str, loader: type[StrictLoader] = StrictLoader) -> dict[str, object]:
    """The keys and values of a YAML file that is the `what`, such as `example`. Raises UserError if it is none."""
    if not path.exists():
        names = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
        raise UserError(f"The {what} {path} does not exist{did_you_mean(path.name, names, otherwise='check the path')}")
    remedy = f"Give a file of UTF-8 text with keys and values such as {example}"
    tree = parse_yaml(read_text(path, f"The {what}", remedy), str(path), loader)
    if not isinstance(tree, dict):
        raise UserError(f"{path}: expected keys and values such as {example}, found a {type(tree).__name__}.")
    return tree


def parse_yaml(text: str, source: str, loader: type[StrictLoader] = StrictLoader) -> object:
    """The value that a text of YAML stands for; `source` names it in errors.

    Raises UserError for what is no YAML or has no value, such as a date that does not exist, for a mapping that has a
    key twice, and for what is too deep or too large.
    """
    try:
        return yaml.load(text, Loader=loader)
    except yaml.MarkedYAMLError as error:
        found = error.problem_mark
        place = f" (line {found.line + 1}, column {found.column + 1})" if found is not None else ""
        told = beginning(error.problem or error.context, 160)
        raise UserError(f"{source} is not valid YAML{place}: {told}. Correct it there.") from None
    except Exception as error:  # values that no Python object can have: dates, numbers of a million digits
        raise UserError(f"{source} is not valid YAML: {reason(error)}. Correct it.") from None
