"""constraints.txt names a version of everything we depend on, and one that we allow."""

import tomllib
from itertools import chain
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]


def read_pins() -> dict[str, list[str]]:
    pins: dict[str, list[str]] = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            requirement = Requirement(line)
            (specifier,) = requirement.specifier
            assert specifier.operator == "==", line
            pins.setdefault(canonicalize_name(requirement.name), []).append(specifier.version)
    return pins


def read_dependencies() -> list[str]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = project["project"].get("optional-dependencies", {})
    groups = project["dependency-groups"]
    return [*project["project"]["dependencies"], *chain(*extras.values(), *groups.values())]


@pytest.mark.parametrize("dependency", read_dependencies())
def test_every_dependency_is_pinned_within_its_range(dependency):
    requirement = Requirement(dependency)
    versions = read_pins().get(canonicalize_name(requirement.name))
    assert versions, f"{requirement.name} is missing in constraints.txt"
    assert all(requirement.specifier.contains(version) for version in versions)


def test_it_names_packages_only():
    text = (ROOT / "constraints.txt").read_text()
    assert "://" not in text and "headstart" not in read_pins()
