"""The short table of results in the README says what the long ones say."""

import re

from docs.pages import ROOT


def rows(page, name):
    text = (ROOT / page).read_text(encoding="utf-8")
    part = re.search(rf"<!-- results:{name} -->(.*?)<!-- /results:{name} -->", text, flags=re.DOTALL)[1]
    return [[cell.strip() for cell in line.strip("| ").split("|")] for line in part.splitlines() if line[:1] == "|"]


def test_the_short_table_is_made_of_the_long_ones():
    pairs = {
        (student, teacher.partition(" (")[0]): (alone.partition(" ")[0], ours.partition(" ")[0], gain, interval, seeds)
        for student, teacher, _, alone, ours, gain, interval, seeds in (
            row for row in rows("docs/results.md", "demo") if len(row) == 8
        )
    }
    bccd = {row[0]: row for row in rows("docs/results.md", "bccd")}
    default = next(row for name, row in bccd.items() if "(default)" in name)
    known = {("drawn pictures", *pair, *numbers) for pair, numbers in pairs.items()}
    known.add(
        (
            "BCCD",
            "RetinaNet",
            "Faster R-CNN",
            bccd["student alone"][1].split()[0],
            default[1].split()[0],
            *default[4:],
            "3",
        )
    )
    short = rows("README.md", "summary")[2:]
    assert len(short) >= 4
    for data, student, teacher, *numbers in short:
        assert (data.partition(",")[0], student, teacher.partition(" (")[0], *numbers) in known
