"""Options, presets, and what does not go together."""

from dataclasses import fields

import pytest

from headstart.errors import UserError
from headstart.methods.allstage import AllStageOptions
from headstart.methods.allstage.plan import GROUPS, PRESETS, SHARES, Plan, make_plan
from headstart.options import check_options


def plan(**given):
    return make_plan(check_options(AllStageOptions, given, "method allstage"))


def test_every_option_has_a_default_and_none_is_set_in_two_ways():
    assert {f.name for f in fields(AllStageOptions)} == {f.name for f in fields(Plan)} | {"preset"}
    assert plan() == Plan() and set(SHARES) == set(GROUPS)
    assert all(set(changes) <= {f.name for f in fields(Plan)} for changes in PRESETS.values())


def test_what_is_given_goes_before_the_preset_and_that_before_the_default():
    assert plan(preset="pkd").share_of("neck") == 6 and plan(preset="pkd").macro == "fixed"
    assert plan(preset="pkd", shares="3").share_of("neck") == 3
    changed = plan(preset="pkd", finest="all", sample="false", stages="neck, region")
    assert (changed.finest, changed.sample, changed.stages) == (None, False, ("neck", "region"))
    assert plan(preset="cwd").levels == "stride" and plan().levels == "auto"


def test_shares():
    assert plan().share_of("neck") == 0.2 and plan(macro="fixed").share_of("neck") == 1
    some = plan(shares={"neck": "0.5"})
    assert some.share_of("neck") == 0.5 and some.share_of("logit") == 0.1
    assert plan(shares=0.3).share_of("region") == 0.3


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"stages": "nek"}, "no group of links is called 'nek'; did you mean neck"),
        ({"stages": []}, "stages must name one of backbone, neck"),
        ({"shares": {"nick": 1}}, "shares: no group of links is called 'nick'; did you mean neck"),
        ({"shares": -1}, "shares must be a mapping or at least 0"),
        ({"measure": "person"}, "measure must be pearson, mse"),
        ({"temperature": 2}, "temperature is for measure=channel_kl, and measure is pearson; leave it out"),
        ({"gap": 2, "location": "split"}, "gap is for location=score, and location is split; leave it out"),
        ({"foreground": 0.3}, "foreground is for location=split"),
        ({"worse": 0.3, "row": False}, "worse is for row=true, and row is false"),
        ({"band": 0.1}, "band is for macro=controlled, and macro is calibrated"),
        ({"calibration": 10, "preset": "cwd"}, "calibration is for macro=calibrated or controlled, and macro is fixed"),
        ({"through": "assistant"}, "through=assistant reads the student's regions: boxes must be student, not teacher"),
        ({"through": "soft", "boxes": "independent"}, "boxes must be student, not independent"),
        ({"weights": "auto"}, "has no option 'weights'"),
    ],
)
def test_what_cannot_be_is_refused(given, sentence):
    with pytest.raises(UserError, match="method allstage") as error:
        plan(**given)
    assert sentence in str(error.value)
