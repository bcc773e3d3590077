"""README and docs as the tests see them: pages, their code blocks, their links."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
EVERYTHING = [*PAGES, *(p for p in (ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md") if p.exists())]

NO_RUN = re.compile(r"no-run(?:: (?P<reason>.+))?")
MARK = re.compile(r"<!--\s*(.+?)\s*-->")
FENCE = re.compile(r"^(\s*)```(\S*)\s*$")
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)|(?:src|href)=\"([^\"]+)\"")


@dataclass(frozen=True)
class Block:
    """A fenced block: `line` is that of its first line of text, `marks` the HTML comments right before it."""

    page: Path
    line: int
    language: str
    text: str
    marks: tuple[str, ...]

    @property
    def runs(self) -> bool:
        """Whether a test runs it: every block but those after `<!-- no-run: reason -->`."""
        return not any(NO_RUN.fullmatch(mark) for mark in self.marks)

    @property
    def name(self) -> str:
        return f"{short(self.page)}:{self.line}"


def short(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def read_blocks(page: Path, *languages: str) -> list[Block]:
    """The page's blocks of these languages, in order (no language: those without one)."""
    blocks, marks, inside, start, lines = [], [], None, 0, []
    for number, line in enumerate(page.read_text(encoding="utf-8").splitlines(), start=1):
        fence = FENCE.match(line)
        if inside is None and fence:
            inside, start, lines = fence, number + 1, []
        elif inside is not None and fence:
            indent = len(inside[1])
            blocks.append(Block(page, start, inside[2], "\n".join(x[indent:] for x in lines) + "\n", tuple(marks)))
            inside, marks = None, []
        elif inside is not None:
            lines.append(line)
        elif line.strip():
            mark = MARK.fullmatch(line.strip())
            marks = [*marks, mark[1]] if mark else []
    assert inside is None, f"{short(page)}:{start}: a block that is never closed"
    return [block for block in blocks if block.language in (languages or ("",))]


def without_blocks(page: Path) -> str:
    """The prose of a page."""
    return re.sub(r"^\s*```.*?^\s*```\s*$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def read_links(page: Path) -> list[str]:
    return [first or second for first, second in LINK.findall(without_blocks(page))]


def anchors(page: Path) -> set[str]:
    """What `#...` may name on a page: its headings as GitHub spells them."""
    headings = re.findall(r"^#+\s+(.+?)\s*$", without_blocks(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", re.sub(r"`", "", heading).lower()).replace(" ", "-") for heading in headings}
