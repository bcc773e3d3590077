"""The commands of README and docs run, page by page and in order, in a folder with a tiny data set.

Detectors that a run names are built small and trained for two steps; nothing else is different. A block after
`<!-- no-run: reason -->` is not run.
"""

import shlex
import shutil
from itertools import pairwise

import pytest
from typer.testing import CliRunner

from docs.pages import EVERYTHING, NO_RUN, PAGES, ROOT, read_blocks, short
from docs.test_commands import SHELL, START
from docs.tiny_runs import TEACHER, small_fit
from headstart import demo
from headstart.cli import app
from headstart.demo import Budget
from hub.fake_hub import FakeHub

DONE = ("pip install uv", "uv sync")
"""Lines that need no test: `.ci/run` begins with them."""


def lines_of(block):
    return [line.strip() for line in block.text.replace("\\\n", " ").splitlines() if line.strip()]


def commands_of(page):
    """(line of the page, arguments) of every command that is to run."""
    blocks = [block for block in read_blocks(page, *SHELL) if block.runs]
    lines = [(block.line, line) for block in blocks for line in lines_of(block) if line not in DONE]
    return [(number, shlex.split(START.sub("", line), comments=True)) for number, line in lines]


WITH_COMMANDS = [page for page in PAGES if any(block.runs for block in read_blocks(page, *SHELL))]


@pytest.mark.parametrize("page", EVERYTHING, ids=short)
def test_every_command_runs_or_says_why_not(page):
    """A block that a reader would paste holds commands of headstart alone, or is marked with a reason."""
    strangers = [
        f"{block.name}: {line}"
        for block in read_blocks(page, *SHELL)
        if block.runs
        for line in lines_of(block)
        if not START.match(line) and line not in DONE
    ]
    hidden = [block.name for block in read_blocks(page, "text", "python", "yaml", "json") if START.match(block.text)]
    assert strangers == [] and hidden == []


@pytest.mark.parametrize("page", EVERYTHING, ids=short)
def test_marks_give_a_reason(page):
    blocks = read_blocks(page, *SHELL, "text", "python", "yaml", "json")
    marks = [(block.name, NO_RUN.fullmatch(mark)) for block in blocks for mark in block.marks]
    assert [name for name, mark in marks if mark and not mark["reason"]] == []


@pytest.mark.parametrize("page", WITH_COMMANDS, ids=short)
def test_shell_blocks_run(page, material, tmp_path, monkeypatch):
    commands = commands_of(page)
    shutil.copytree(material, tmp_path, dirs_exist_ok=True)
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    if any(("--name", "teacher") in pairwise(arguments) for _, arguments in commands):
        shutil.rmtree(tmp_path / "runs")
    monkeypatch.chdir(tmp_path)
    FakeHub(tmp_path / "hub").install(monkeypatch).add("anna/cells", **{"student.safetensors": material / TEACHER})
    for module in ("headstart.engine.fit", "headstart.demo"):
        monkeypatch.setattr(f"{module}.fit", small_fit)
    for name in ("FULL", "QUICK"):
        monkeypatch.setattr(demo, name, Budget(train=8, val=3, teacher=1, student=1, size=64))
    for line, arguments in commands:
        ended = CliRunner().invoke(app, arguments)
        assert ended.exit_code == 0, f"{short(page)}:{line}: {' '.join(arguments)}\n{ended.output}\n{ended.exception!r}"


def test_there_are_commands_that_run():
    running = {arguments[0] for page in WITH_COMMANDS for _, arguments in commands_of(page)}
    assert {"demo", "train", "distill", "val", "predict", "push"} <= running
