"""The five FPN variants and HEAD's MobileNetV2 against mmdetection's numbers."""

import zlib

import numpy as np
import pytest
import torch

from headstart.backbones import build_backbone
from headstart.necks import FPN

VARIANTS = {
    "maxpool": {"start": 0, "extra": "maxpool"},
    "on_input": {"extra": "on_input"},
    "on_lateral": {"extra": "on_lateral"},
    "on_output": {"extra": "on_output"},
    "on_output_relu": {"extra": "on_output", "relu_extra": True},
}


def assert_close(mine: torch.Tensor, theirs: np.ndarray, relative: float = 2e-5):
    assert tuple(mine.shape) == theirs.shape
    error = float((mine.detach() - torch.from_numpy(theirs)).abs().max())
    assert error <= relative * float(np.abs(theirs).max())


def fpn_weights(arrays: dict, variant: str, stages: int) -> dict[str, torch.Tensor]:
    prefix = f"{variant}/w/"
    weights = {}
    for key in arrays:
        if key.startswith(prefix):
            kind, index, _, what = key.removeprefix(prefix).split(".")
            name, index = ("lateral" if kind == "lateral_convs" else "output"), int(index)
            if name == "output" and index >= stages:
                name, index = "extra", index - stages
            weights[f"{name}.{index}.{what}"] = torch.from_numpy(arrays[key])
    return weights


@pytest.mark.parametrize("variant", VARIANTS)
def test_fpn(reference, variant):
    arrays = reference("fpn_mnv2")
    neck = FPN([8, 16, 32, 64], [4, 8, 16, 32], width=16, levels=5, **VARIANTS[variant])
    neck.load_state_dict(fpn_weights(arrays, variant, len(neck.lateral)))
    stages = [torch.from_numpy(arrays[f"in/c{i}"]) for i in range(4)]
    before = [s.clone() for s in stages]
    pyramid = neck(stages)
    assert len(pyramid) == 5
    for level, mine in enumerate(pyramid):
        assert_close(mine, arrays[f"{variant}/out{level}"])
    assert all(torch.equal(a, b) for a, b in zip(stages, before, strict=True))


def recipe(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """The reference's value of a MobileNetV2 tensor, a function of its name and shape."""
    x = np.random.RandomState(zlib.crc32(f"mnv2|{name}".encode())).standard_normal(shape)
    fan_in = np.prod(shape[1:])
    if name.endswith(("running_mean", "bias")):
        value = 0.1 * x
    elif name.endswith("running_var"):
        value = 1 + 0.2 * abs(x)
    elif len(shape) >= 2:
        value = x * np.sqrt((1 if "conv.conv" in name else 2) / fan_in)
    else:
        value = 1 + 0.1 * x
    return value.astype(np.float32)


def test_mobilenet_v2(reference):
    arrays = reference("fpn_mnv2")
    backbone = build_backbone("mnv2", pretrained=False).eval()
    own = [key for key in backbone.body.state_dict() if not key.endswith("num_batches_tracked")]
    names = [str(n) for n in arrays["mobilenet_v2/names"]]
    assert len(own) == len(names) == 260
    state = {}
    for key, name, shape, total in zip(
        own, names, arrays["mobilenet_v2/shapes"], arrays["mobilenet_v2/sums"], strict=True
    ):
        value = recipe(name, tuple(int(n) for n in str(shape).strip("()[] ,").replace("x", ",").split(",")))
        assert value.astype(np.float64).sum() == total
        state[key] = torch.from_numpy(value)
    missing, unknown = backbone.body.load_state_dict(state, strict=False)
    assert not unknown and all(key.endswith("num_batches_tracked") for key in missing)
    with torch.no_grad():
        maps = backbone(torch.from_numpy(arrays["mobilenet_v2/img"]))
    assert backbone.channels == [24, 32, 96, 1280] and backbone.strides == [4, 8, 16, 32]
    for level, every in enumerate([1, 1, 1, 4]):
        assert_close(maps[level][:, ::every], arrays[f"mobilenet_v2/out{level}_every{every}"])
