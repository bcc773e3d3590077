"""The table of pairs in docs/methods/head.md is what the code does."""

import copy
from pathlib import Path

import pytest

from headstart.detectors.zoo import FAMILIES
from headstart.methods import Frozen, build_method
from headstart.methods.pairing import CellToCell, CellToRegion, RegionToCell, RegionToRegion
from laws.tiny import detector

PAGE = Path(__file__).parents[2] / "docs" / "methods" / "head.md"
WORDS = {CellToRegion: "cells", RegionToRegion: "regions", CellToCell: "maps", RegionToCell: "looked-up cells"}


@pytest.fixture(scope="module")
def table():
    lines = PAGE.read_text().partition("<!-- pairs -->")[2].partition("<!-- /pairs -->")[0].strip().splitlines()
    (_, *teachers), _, *rows = ([cell.strip() for cell in line.strip("| ").split("|")] for line in lines)
    return {(student, teacher): word for student, *words in rows for teacher, word in zip(teachers, words, strict=True)}


@pytest.fixture(scope="module")
def built():
    return {family: detector(family) for family in FAMILIES}


def test_every_pair_is_in_the_table_with_its_correspondence(table, built):
    found = {}
    for student in FAMILIES:
        for teacher in FAMILIES:
            method = build_method("head", copy.deepcopy(built[student]), Frozen(copy.deepcopy(built[teacher])))
            (word,) = {WORDS[type(g.match)] for g in method if g.name.startswith("ckd/")}
            found[student, teacher] = word
    assert found == table
