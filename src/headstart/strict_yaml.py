"""YAML as recipes are written in: a key given twice is an error, and names may look like numbers."""

from __future__ import annotations

import yaml
from yaml.constructor import ConstructorError

from headstart.errors import UserError


class StrictLoader(yaml.SafeLoader):
    """Refuses a mapping with the same key twice, where YAML would silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        """As SafeLoader's. Raises ConstructorError, a YAMLError, for a key given twice."""
        seen = set()
        for key, _ in node.value:
            if key.value in seen:
                raise ConstructorError(None, None, f"key {key.value!r} is given twice", key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


class NameLoader(StrictLoader):
    """Everything but null is text: a class may be called 1, or no."""


NameLoader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag.endswith(":null")]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def parse_yaml(text: str, source: str, loader: type[yaml.SafeLoader] = StrictLoader) -> object:
    """The value that a text of YAML stands for; `source` names it in errors.

    Raises UserError for what is no YAML, and for a mapping that has a key twice.
    """
    try:
        return yaml.load(text, Loader=loader)
    except yaml.YAMLError as error:
        raise UserError(f"{source} is not valid YAML: {' '.join(str(error).split())}.") from None
