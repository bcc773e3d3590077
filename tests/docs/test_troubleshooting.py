"""The messages that the troubleshooting page explains are those of the code."""

import ast
import re

from docs.pages import ROOT

PAGE = ROOT / "docs" / "troubleshooting.md"
GAP = "\N{HORIZONTAL ELLIPSIS}"


def spoken_sentences():
    """Every string of the code as it is seen, with a gap for each value that is filled in."""
    found = []
    for path in sorted((ROOT / "src" / "headstart").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else GAP for part in node.values]
                found.append("".join(str(part) for part in parts))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return [" ".join(sentence.split()) for sentence in found]


def explained_messages():
    """The quoted lines of the page (`> text`); an ellipsis stands for what differs from case to case."""
    return [" ".join(line[2:].split()) for line in PAGE.read_text(encoding="utf-8").splitlines() if line[:2] == "> "]


def test_every_message_is_one_of_ours():
    sentences = spoken_sentences()
    strangers = []
    for message in explained_messages():
        pieces = [re.escape(piece.strip()) for piece in re.split(rf"{GAP}|\.\.\.", message) if piece.strip()]
        pattern = re.compile(".*".join(pieces))
        if not any(pattern.search(sentence) for sentence in sentences):
            strangers.append(message)
    assert strangers == []


def test_there_are_messages():
    assert len(explained_messages()) > 15
