"""Every command and recipe shown in README and docs would be understood: verbs, options, keys and values."""

import re
import shlex
from dataclasses import fields

import pytest
import typer

from docs.pages import EVERYTHING, PAGES, ROOT, read_blocks, short, without_blocks
from headstart.api import read_settings
from headstart.classmap import match_classes
from headstart.cli import app
from headstart.methods import METHODS, method_options, options_class
from headstart.recipe import check_run, load_run, parse_yaml

SHELL = ("bash", "console", "sh", "")
START = re.compile(r"^(?:\$ )?(?:pip install uv && )?(?:uv run )?(?:python -m )?headstart ")
BESIDE = ("recipe", "resume", "settings", "quiet", "dry_run")
ROOT_COMMAND = typer.main.get_command(app)


def shown_commands(page):
    """(line, arguments) of every headstart command in the page's blocks."""
    found = []
    for block in read_blocks(page, *SHELL):
        joined = block.text.replace("\\\n", " ")
        for offset, line in enumerate(joined.splitlines()):
            if START.match(line):
                found.append((block.line + offset, shlex.split(START.sub("", line), comments=True)))
    return found


def understand(arguments):
    """The verb and its parameters; raises what the command line itself would."""
    command, name = ROOT_COMMAND, "headstart"
    while hasattr(command, "commands") and arguments and not arguments[0].startswith("-"):
        name, *arguments = arguments
        assert name in command.commands, f"no verb {name}"
        command = command.commands[name]
    if not arguments and hasattr(command, "commands"):
        return name, {}
    return name, command.make_context(name, list(arguments), resilient_parsing="--help" in arguments).params


@pytest.mark.parametrize("page", EVERYTHING, ids=short)
def test_commands_are_understood(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    (tmp_path / "names.yaml").write_text("truck: vehicle", encoding="utf-8")
    for line, arguments in shown_commands(page):
        try:
            verb, given = understand(arguments)
            if verb in ("train", "distill") and not given.get("resume") and "--help" not in arguments:
                options = {key: value for key, value in given.items() if key not in BESIDE}
                run = read_settings(options, given.get("recipe"), given.get("settings") or ())
                check_methods(run)
        except Exception as error:
            pytest.fail(f"{short(page)}:{line}: headstart {' '.join(arguments)}: {error}")


def check_methods(run):
    for choice in run.choices.values():
        for name, options in choice.parts:
            assert set(options) <= set(method_options(name)), choice


def test_there_are_commands_to_understand():
    found = [arguments[0] for page in PAGES for _, arguments in shown_commands(page)]
    assert {"demo", "train", "distill", "val", "predict"} <= set(found)


@pytest.mark.parametrize(
    "wrong", ["distil --data x", "train --dta x", "val", "predict w.safetensors photos --conf high"]
)
def test_wrong_commands_are_not_understood(wrong):
    with pytest.raises(Exception, match=r"\w"):
        understand(shlex.split(wrong))


@pytest.mark.parametrize("page", EVERYTHING, ids=short)
def test_options_named_in_the_text_exist(page):
    known = {option for command in every_command() for p in command.params for option in (*p.opts, *p.secondary_opts)}
    known |= {"--help", "-h"}
    named = re.findall(r"`(--[a-z][a-z-]*)[ `=]", without_blocks(page))
    named += re.findall(r"`headstart [^`]*?(--[a-z][a-z-]*)[ `=]", without_blocks(page))
    assert sorted(set(named) - known) == []


@pytest.mark.parametrize("page", EVERYTHING, ids=short)
def test_verbs_named_in_the_text_exist(page):
    named = re.findall(r"`(?:python -m )?headstart ([a-z]+)", without_blocks(page))
    assert sorted(set(named) - set(ROOT_COMMAND.commands)) == []


def every_command(command=ROOT_COMMAND):
    yield command
    for inner in getattr(command, "commands", {}).values():
        yield from every_command(inner)


@pytest.mark.parametrize("page", PAGES, ids=short)
def test_yaml_blocks_are_runs(page):
    """Parts of a run are completed with a data set, a student and a teacher before they are read."""
    for block in read_blocks(page, "yaml"):
        if not block.runs:
            continue
        tree = {"data": "my-data", "student": "retinanet_r18", **parse_yaml(block.text, block.name)}
        if "method" in tree or "lanes" in tree:
            tree.setdefault("teacher", "runs/teacher/student.safetensors")
        check_methods(check_run(tree, block.name))


@pytest.mark.parametrize("recipe", sorted((ROOT / "recipes").glob("*.yaml")), ids=lambda path: path.name)
def test_recipes_are_runs(recipe):
    check_methods(load_run(recipe))


@pytest.mark.parametrize("file", sorted((ROOT / "recipes" / "classes").glob("*.yaml")), ids=lambda path: path.name)
def test_class_maps_are_class_maps(file):
    tree = {"data": "x", "student": "retinanet_r18", "teacher": "t/x", "method": "head", "class_map": str(file)}
    given = check_run(tree).class_map
    match = match_classes(list(given), sorted({name for name in given.values() if name}), given)
    assert match.merges and not match.unmatched_student


@pytest.mark.parametrize("name", METHODS)
def test_every_method_has_a_page_with_its_options(name):
    """Every option has a row `| option | default |` with the default of the code."""
    page = ROOT / "docs" / "methods" / f"{name}.md"
    rows = dict(re.findall(r"^\| `(\w+)` \| `([^`]+)` \|", page.read_text(encoding="utf-8"), flags=re.MULTILINE))
    assert rows == {field.name: repr(field.default) for field in fields(options_class(name))}
    assert f"({name}.md)" in (page.parent / "index.md").read_text(encoding="utf-8")
