"""The rules of the house that a machine can check."""

import ast
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

import headstart

ROOT = Path(__file__).parents[1]
SOURCE = ROOT / "src" / "headstart"
MODULES = sorted(SOURCE.rglob("*.py"))

# Written in pieces, so that this file does not name what it looks for.
HOSTS = re.compile(
    "|".join((r"py" + r"pi\.org", r"python" + r"hosted", r"hugging" + r"face\.co", r"download\.py" + r"torch"))
)
MACHINE_PATHS = re.compile(r"(?<![\w.])/(?:work|root|home|Users|opt)/" + r"\w")


def tracked_files() -> list[Path]:
    """What git would hand to others; every file of the project's folders where there is no git."""
    try:
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True).stdout
    except (OSError, subprocess.CalledProcessError):
        folders = ("src", "tests", "docs", "recipes", "benchmarks", ".ci")
        return [p for folder in folders for p in (ROOT / folder).rglob("*") if p.is_file() and p.suffix != ".pyc"]
    return [ROOT / name for name in listed.split("\0") if name and (ROOT / name).is_file()]


def read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""


@pytest.mark.parametrize("forbidden", [HOSTS, MACHINE_PATHS], ids=["registry hosts", "machine paths"])
def test_nothing_ties_the_repository_to_a_machine(forbidden):
    found = [
        f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}"
        for path in tracked_files()
        for number, line in enumerate(read_text(path).splitlines(), start=1)
        if forbidden.search(line)
    ]
    assert found == []


def test_the_patterns_find_what_they_are_for():
    assert HOSTS.search("https://py" + "pi.org/simple") and MACHINE_PATHS.search("cd /ro" + "ot/here")
    assert not MACHINE_PATHS.search("docs/work/in/progress") and len(tracked_files()) > 20


def test_every_module_says_what_it_is_for():
    trees = {p: ast.parse(p.read_text()) for p in MODULES}
    assert [str(p.relative_to(SOURCE)) for p, tree in trees.items() if tree.body and not ast.get_docstring(tree)] == []


def test_files_and_functions_stay_short():
    long = [f"{p.relative_to(SOURCE)}: {n} lines" for p in MODULES if (n := len(p.read_text().splitlines())) > 300]
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef) and (length := node.end_lineno - node.lineno + 1) > 60:
                long.append(f"{path.relative_to(SOURCE)}: {node.name} has {length} lines")
    assert long == []


def test_the_method_layer_stays_shorter_still():
    """A method's file is read beside its paper: on a screen or two."""
    long = []
    for path in (SOURCE / "methods").rglob("*.py"):
        text = path.read_text()
        if len(text.splitlines()) > 250:
            long.append(path.name)
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno + 1 > 50:
                long.append(f"{path.name}: {node.name}")
    assert long == []


def test_types_end_nowhere():
    """`Any` hides from a reader what travels between two functions."""
    found = [
        f"{path.relative_to(SOURCE)}:{node.lineno}"
        for path in MODULES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Name) and node.id == "Any"
    ]
    assert len(found) <= 20, found


def test_tests_mirror_the_tree_by_name():
    """tests/A/test_B.py or test_B_TOPIC.py is about src/headstart/A/B.py, or about the package A/B or A as a whole."""
    strange = []
    for path in (ROOT / "tests").rglob("test_*.py"):
        folder = path.parent.relative_to(ROOT / "tests")
        if folder.parts[:1] in (("laws",), ("parity",), ("docs",)):
            continue  # over everything, against the official numbers, and of the documentation
        home, name = SOURCE / folder, path.stem.removeprefix("test_")
        known = {p.stem for p in home.glob("*.py")} | {p.name for p in home.iterdir() if p.is_dir()}
        known |= {folder.name} if folder.parts else {p.stem for p in ROOT.iterdir()} | {"house"}
        if not any(name == one or name.startswith(f"{one}_") for one in known):
            strange.append(str(path.relative_to(ROOT)))
    assert strange == []


def test_no_catch_all_modules_and_no_unfinished_business():
    assert [p.name for p in MODULES if p.stem in ("utils", "util", "helpers", "misc", "common")] == []
    mark = re.compile(r"\b(?:TODO|FIXME|XXX)\b")
    assert [str(p.relative_to(SOURCE)) for p in MODULES if mark.search(p.read_text())] == []


def test_one_version():
    assert headstart.__version__ == tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]


def test_no_empty_file_lies_about():
    """Such as the rest of a mistyped redirection; packages and the mark for type checkers are empty by design."""
    empty = [path for path in tracked_files() if path.stat().st_size == 0]
    assert [str(p.relative_to(ROOT)) for p in empty if p.name not in ("__init__.py", "py.typed")] == []
    assert (SOURCE / "py.typed").is_file()


def test_ci_is_a_program():
    assert (ROOT / ".ci" / "run").stat().st_mode & 0o111


def test_type_checkers_see_the_public_names():
    """`__init__` imports them when asked for, so it tells type checkers apart from that where they come from."""
    tree = ast.parse((SOURCE / "__init__.py").read_text())
    (block,) = [node for node in tree.body if isinstance(node, ast.If)]
    told = {alias.name: node.module for node in block.body for alias in node.names}
    assert told == headstart._HOMES
