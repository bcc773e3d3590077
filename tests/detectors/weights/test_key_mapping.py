"""Names of tensors: each is used, left out for a reason, or reported; nothing is guessed, nothing is lost."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.weights.official_names import SECTIONS, make_state
from detectors.weights.torchvision_models import build
from headstart.detectors.weights import importing
from headstart.detectors.weights.hints import Hints
from headstart.detectors.weights.key_mapping import (
    fit_state_dict,
    name_in_file,
    rename_key,
    rename_tensors,
    summarise_keys,
)
from headstart.errors import UserError
from headstart.structures import ImageBatch

RULES = [(r"a\.(\d+)\.w", r"A.\1.weight"), (r"b\.(\w+)", r"B.\1"), (r"old_b\.(\w+)", r"B.\1")]


def test_the_first_rule_that_fits_counts():
    assert rename_key("a.12.w", RULES) == "A.12.weight" and rename_key("xa.12.w", RULES) is None


def test_translation_accounts_for_everything():
    tensors = {name: torch.tensor(float(i)) for i, name in enumerate(["a.0.w", "b.x", "mask.1", "mask.2"])}
    done = rename_tensors(tensors, RULES, [(r"mask\..+", "masks are left out")])
    assert done.tensors == {"A.0.weight": torch.tensor(0.0), "B.x": torch.tensor(1.0)}
    assert done.file_keys == {"A.0.weight": "a.0.w", "B.x": "b.x"}
    assert done.notes() == ["masks are left out: mask.1, mask.2"]


def test_unknown_and_doubled_names_are_listed():
    with pytest.raises(UserError, match=r"parts that are not known: c\.1, d$"):
        rename_tensors({"a.0.w": torch.zeros(1), "c.1": torch.zeros(1), "d": torch.zeros(1)}, RULES)
    with pytest.raises(UserError, match=r"under two names: b\.x and old_b\.x"):
        rename_tensors({"b.x": torch.zeros(1), "old_b.x": torch.zeros(1)}, RULES)


OWN = {"A": torch.zeros(2), "B": torch.zeros(3, dtype=torch.float32), "n.num_batches_tracked": torch.tensor(0)}
NAMED = {"A": "a", "B": "b", "C": "c"}


def test_fitting_tensors_take_the_type_of_ours():
    found = fit_state_dict({"A": torch.ones(2, dtype=torch.float16), "B": torch.ones(3)}, OWN, NAMED)
    assert found["A"].dtype == torch.float32 and set(found) == set(OWN)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"B": None}, r"missing: B \(headstart's name\)"),
        ({"C": torch.ones(1)}, "too much: c"),
        ({"A": torch.ones(3)}, r"of another shape: a \(3,\) instead of \(2,\)"),
        ({"A": torch.tensor([1.0, float("nan")])}, "not finite numbers in a: its training has failed"),
        ({"A": None, "C": torch.ones(1)}, r"does not fit; missing: A .*; too much: c"),
        ({"A": torch.ones(2, dtype=torch.int8)}, r"whole numbers where real ones are expected \(quantised\?\): a int8"),
    ],
)
def test_what_does_not_fit_is_reported_by_the_names_of_the_file(changes, says):
    tensors = {"A": torch.ones(2), "B": torch.ones(3)} | changes
    with pytest.raises(UserError, match=says):
        fit_state_dict({key: value for key, value in tensors.items() if value is not None}, OWN, NAMED)


def test_a_missing_tensor_is_called_as_those_beside_it():
    named = {"head.cls.weight": "head.cls_logits.weight", "head.scales.0": "head.scales.0.scale"}
    assert name_in_file("head.cls.bias", named) == "head.cls_logits.bias"
    assert name_in_file("head.scales.1", named) == "head.scales.1 (headstart's name)"


def test_long_lists_are_summed_up():
    names = [f"neck.{kind}.{i}.weight" for kind in ("in", "out") for i in range(30)] + ["head.bias"]
    assert summarise_keys(names[:3]) == "neck.in.0.weight, neck.in.1.weight, neck.in.2.weight"
    assert summarise_keys(names) == "neck.in.* (30), neck.out.* (30), head.bias"


# -- whole files, changed at random ------------------------------------------------------------------------------------


def torchvisions(name):
    model = build(name)
    return {key: value.flatten()[0].expand(value.shape) for key, value in model.state_dict().items()}


WHOLE = {
    "mmdetection gfl": (lambda: make_state("gfl_r18_fpn_student"), Hints("gfl_r18_fpn_coco")),
    "mmdetection faster": (lambda: make_state("faster-rcnn_r50_fpn_1x_coco"), Hints("faster_rcnn_r50_fpn_1x_coco")),
    "torchvision fcos": (lambda: torchvisions("fcos_resnet50_fpn"), Hints("x", classes=("a", "b", "c"))),
    "torchvision faster": (
        lambda: torchvisions("fasterrcnn_mobilenet_v3_large_fpn"),
        Hints("fasterrcnn_mobilenet_v3_large_fpn", classes=("a", "b", "c")),
    ),
}


class Whole:
    """A state dict, what was read of it, and the state of the detector that it builds."""

    def __init__(self, make, hints):
        self.state, self.hints = make(), hints
        self.parsed = importing._read(self.state, hints)
        self.own = importing._build(self.parsed).state_dict()

    def read(self, state):
        """As an import does it, without building the same detector again and again."""
        again = importing._read(state, self.hints)
        if again.recipe != self.parsed.recipe:
            raise UserError(f"another detector: {again.recipe}")
        return fit_state_dict(again.tensors, self.own, again.file_keys)


@pytest.fixture(scope="module", params=WHOLE)
def whole(request):
    return Whole(*WHOLE[request.param])


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_change_is_never_overlooked(whole, data):
    """A tensor that is dropped, renamed, reshaped, spoilt or added stops the import with a sentence."""
    state = whole.state
    changed = dict(state)
    key = data.draw(st.sampled_from(sorted(state)))
    kind = data.draw(st.sampled_from(["drop", "rename", "reshape", "spoil", "add", "swap case"]))
    if kind in ("drop", "rename", "swap case"):
        value = changed.pop(key)
        if kind == "rename":
            place = data.draw(st.integers(0, len(key)))
            name = key[:place] + data.draw(st.sampled_from(["x", ".", "0", ".0", "_"])) + key[place:]
            changed[name] = value
        elif kind == "swap case":
            changed[key.swapcase()] = value
    elif kind == "reshape":
        shape = data.draw(st.lists(st.integers(0, 3), max_size=5).filter(lambda s: tuple(s) != state[key].shape))
        changed[key] = torch.zeros(shape)
    elif kind == "spoil":
        changed[key] = torch.tensor(float("nan")).expand(state[key].shape)
    else:
        changed[data.draw(st.text(min_size=1, max_size=12))] = torch.zeros(1)
    try:
        found = whole.read(changed)
    except UserError as error:
        assert len(str(error)) > 10
        return
    # Only what no detector needs may go: counters, and constants that are known.
    unused = set(state) - set(whole.parsed.file_keys.values())
    assert key.endswith("num_batches_tracked") or key in unused
    assert set(found) == set(whole.own)


@settings(max_examples=60, deadline=None)
@given(
    meta=st.dictionaries(
        st.sampled_from(["CLASSES", "config", "cfg", "dataset_meta", "mmdet_version"]),
        st.recursive(
            st.none() | st.integers() | st.text(max_size=30) | st.floats(),
            lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
            max_leaves=6,
        ),
    ),
    name=st.text(max_size=20),
)
def test_whatever_lies_beside_the_weights(meta, name):
    """Nothing in it can do more than be refused."""
    state = make_state("gfl_r18_fpn_student")
    try:
        parsed = importing._read(state, Hints(name, meta=meta))
    except UserError:
        return
    assert len(parsed.recipe["classes"]) == 80


VALUES = st.sampled_from(
    ["'x'", "None", "-1", "0", "1.5", "[]", "[1]", "dict()", "dict(type='Normalize')", "(1, 2)", "f(x)"]
)
PLACES = [
    "model",
    "model.backbone",
    "model.backbone.style",
    "model.backbone.norm_cfg.eps",
    "model.neck.add_extra_convs",
    "model.neck.relu_before_extra_convs",
    "model.bbox_head.anchor_generator.octave_base_scale",
    "model.bbox_head.anchor_generator.ratios",
    "model.test_cfg",
    "model.test_cfg.nms",
    "model.test_cfg.nms_pre",
    "model.data_preprocessor",
    "model.data_preprocessor.mean",
    "test_pipeline",
    "img_norm_cfg",
    "data",
]


@settings(max_examples=15, deadline=None)
@given(st.dictionaries(st.sampled_from(PLACES), VALUES, min_size=1, max_size=4))
def test_whatever_the_configuration_says(settings_):
    """Values of any kind at the places that are read: followed or refused, never an accident."""
    text = "\n".join(f"{path} = {value}" for path, value in nest(settings_).items())
    try:
        parsed = importing._read(make_state("gfl_r18_fpn_student"), Hints("x_coco", meta={"config": text}))
    except UserError:
        return
    built = importing._build(parsed)
    pixels = torch.randint(0, 256, (1, 3, 64, 64), dtype=torch.uint8)
    assert len(built.detect(ImageBatch(pixels, [(64, 64)], [0], [(64, 64)]))) == 1


def nest(flat):
    """{"a.b": x} -> {"a": "dict(b=x)"}, as the text of a configuration has it."""
    tree = {}
    for path, value in sorted(flat.items()):
        *parents, last = path.split(".")
        inner = tree
        for part in parents:
            inner = inner.setdefault(part, {})
            if not isinstance(inner, dict):
                break
        else:
            inner[last] = value

    def write(value):
        return value if isinstance(value, str) else f"dict({', '.join(f'{k}={write(v)}' for k, v in value.items())})"

    return {name: write(value) for name, value in tree.items()}


def test_all_official_names_are_there():
    assert len(SECTIONS) == 16 and len(SECTIONS["gfl_r50_fpn_1x_coco"][0]) == 368
