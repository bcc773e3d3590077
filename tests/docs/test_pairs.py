"""The tables of pairs in docs/methods are what the code does."""

import copy
import itertools
from pathlib import Path

import pytest

from headstart.detectors.zoo import FAMILIES
from headstart.methods import Frozen, build_method
from headstart.methods.pairing import CellToCell, CellToRegion, RegionToCell, RegionToRegion
from laws.tiny import DENSE, detector

PAGES = Path(__file__).parents[2] / "docs" / "methods"
WORDS = {CellToRegion: "cells", RegionToRegion: "regions", CellToCell: "maps", RegionToCell: "looked-up cells"}


def read_table(page):
    text = (PAGES / page).read_text(encoding="utf-8")
    lines = text.partition("<!-- pairs -->")[2].partition("<!-- /pairs -->")[0].strip().splitlines()
    (_, *teachers), _, *rows = ([cell.strip() for cell in line.strip("| ").split("|")] for line in lines)
    return {(student, teacher): word for student, *words in rows for teacher, word in zip(teachers, words, strict=True)}


@pytest.fixture(scope="module")
def built():
    """Dense heads with towers of four blocks, as they are by default."""
    return {family: detector(family, **({"depth": 4} if family in DENSE else {})) for family in FAMILIES}


def method_of(name, built, student, teacher):
    return build_method(name, copy.deepcopy(built[student]), Frozen(copy.deepcopy(built[teacher])))


def test_every_pair_of_head_is_in_the_table_with_its_correspondence(built):
    found = {}
    for student, teacher in itertools.product(FAMILIES, FAMILIES):
        method = method_of("head", built, student, teacher)
        (found[student, teacher],) = {WORDS[type(g.match)] for g in method if g.name.startswith("ckd/")}
    assert found == read_table("head.md")


def test_every_pair_of_crosskd_is_in_the_table_with_where_it_is_cut(built):
    found = {}
    for student, teacher in itertools.product(FAMILIES, FAMILIES):
        (guidance,) = method_of("crosskd", built, student, teacher)
        cut = "towers" if guidance.source.start else "pyramid"
        found[student, teacher] = cut if teacher in DENSE else "regions"
    assert found == read_table("crosskd.md")
