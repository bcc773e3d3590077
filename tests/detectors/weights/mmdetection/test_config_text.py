"""Configurations as text: read as values, never run."""

from hypothesis import given, settings
from hypothesis import strategies as st

from headstart.detectors.weights.mmdetection.config_text import UNKNOWN, find_type, look, read_config

TEXT = """
_base_ = ['x.py']
norm = dict(type='Normalize', mean=[1.5, -2, 3], to_rgb=False)
pipeline = [dict(type='Load'), dict(type='mmdet.Wrap', inner=[dict(**norm), {'type': 'Normalize', 'mean': (0, 0)}])]
root = 'data/' + 'coco/'
lr = 0.01 * 8
danger = __import__('os').system('true')
model = dict(backbone=dict(depth=50, extra=None), file=root)
if True:
    model = 'never read'
"""


def test_values():
    config = read_config(TEXT)
    assert config["_base_"] == ["x.py"]
    assert config["norm"] == {
        "type": "Normalize",
        "mean": [1.5, -2, 3],
        "to_rgb": False,
    }
    assert look(config, "model.backbone.depth") == 50
    assert look(config, "model.backbone.extra", 7) == 7 and look(config, "model.nothing.at.all") is None
    assert [config[name] for name in ("root", "lr", "danger")] == [UNKNOWN] * 3
    assert look(config, "model.file", "?") == "?"


def test_finding_types():
    config = read_config(TEXT)
    assert [found["mean"] for found in find_type(config["pipeline"], "Normalize")] == [[1.5, -2, 3], [0, 0]]
    assert len(list(find_type(config, "Wrap"))) == 1 and not list(find_type(config, "Pad"))


def test_what_is_no_python():
    assert read_config("{{ template }} = (") == {} and read_config("") == {}
    assert read_config("x = " + "[" * 5000 + "]" * 5000) == {}
    assert read_config("x = " + "-" * 5000 + "1") in ({}, {"x": 1})


@settings(max_examples=200, deadline=None)
@given(st.text(alphabet="abdict(){}[]='\"*,.:+-1 \n", max_size=60))
def test_any_text_gives_values(text):
    assert isinstance(read_config(text), dict)
