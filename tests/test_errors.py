import pytest

from headstart.errors import UserError, demand_known, did_you_mean


def test_the_nearest_names_end_the_sentence():
    known = ["retinanet_r18", "retinanet_r34", "FCOS"]
    assert did_you_mean("retinanet_r81", known) == "; did you mean retinanet_r18?"
    assert did_you_mean("retinanet_r3", known, most=2) == "; did you mean retinanet_r34 or retinanet_r18?"
    assert did_you_mean("fcs", known, quoted=True) == "; did you mean 'FCOS'?"


def test_where_none_is_near_the_known_ones_are_listed():
    assert did_you_mean("zebra", ["cat", "dog", "cat"]) == "; expected one of cat, dog."
    assert did_you_mean("zebra", [str(n) for n in range(30)]).endswith("18, 19 and 10 more.")
    assert did_you_mean("zebra", []) == "; expected one of none."
    assert did_you_mean("zebra", ["cat"], otherwise="see the list") == "; see the list."
    assert did_you_mean("zebra", ["cat"], otherwise="") == "."


def test_an_unknown_name_is_refused():
    demand_known("cat", ["cat"], "no class is called")
    with pytest.raises(UserError, match=r"^no class is called 'cta'; did you mean cat\?$"):
        demand_known("cta", ["cat"], "no class is called")
