"""Keys of a run that say the same thing in different ways: an option given in one way replaces the others."""

from __future__ import annotations

from collections.abc import Collection

ALTERNATIVES = {
    "train": (("epochs",), ("steps",), ("schedule",)),
    "data": (("imgsz",), ("short", "long")),
}
"""Section -> groups of its keys of which only one can be given."""


def make_room(tree: dict[str, object], keys: Collection[str]) -> None:
    """Removes from a recipe's tree what the dotted `keys`, which are going to be set, say in another way.

    Where they are of several groups themselves nothing is removed, so that this is found to be a mistake.
    """
    for section, groups in ALTERNATIVES.items():
        inside = tree.get(section)
        given = [group for group in groups if any(f"{section}.{name}" in keys for name in group)]
        if isinstance(inside, dict) and len(given) == 1:
            others = {name for group in groups if group not in given for name in group}
            tree[section] = {name: value for name, value in inside.items() if name not in others}
