"""Weights under the names of other programs: read whole with the same maps, or refused with counts and a guess."""

import re

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from headstart.backbones import build_backbone
from headstart.backbones.foreign_names import find_naming, guess_model
from headstart.errors import UserError


def restless(model):
    """Running statistics and scales that differ from channel to channel, so that a mixed-up pair would show."""
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean, -0.1, 0.1)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
            nn.init.uniform_(module.weight, 0.5, 1.5)
    return model.eval()


def save(path, state, prefix="", container=None):
    state = {f"{prefix}{key}": value for key, value in state.items()}
    if path.suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save({container: state, "epoch": 3} if container else state, path)
    return path


@torch.no_grad()
def last_map(backbone):
    return backbone.eval()(torch.linspace(0, 1, 3 * 64 * 64).reshape(1, 3, 64, 64))[-1]


@torch.no_grad()
@pytest.mark.parametrize("prefix", ["", "module.", "backbone.", "module.encoder.", "backbone.body."])
@pytest.mark.parametrize("container", [None, "state_dict", "model", "model_state"])
def test_torchvisions_mobilenet_behind_any_prefix(tmp_path, prefix, container):
    torch.manual_seed(0)
    official = restless(torchvision.models.mobilenet_v2())
    path = save(tmp_path / "w.pth", official.state_dict(), prefix, container)
    backbone = build_backbone("mobilenetv2_100", pretrained=path)
    pixels = torch.linspace(0, 1, 3 * 64 * 64).reshape(1, 3, 64, 64)
    torch.testing.assert_close(last_map(backbone), official.features[:18](pixels))
    (note,) = backbone.notes
    assert note.startswith(f"backbone mobilenetv2_100: 255 of 255 tensors read from {path} under torchvision's names")
    assert "classifier left out (" in note
    whole = build_backbone("mnv2", pretrained=path).body  # with the last convolution, and another activation
    assert torch.equal(whole.conv_head.weight, official.features[18][0].weight)


@torch.no_grad()
def test_torchvisions_resnet(tmp_path):
    torch.manual_seed(0)
    official = restless(torchvision.models.resnet18())
    backbone = build_backbone("r18", pretrained=save(tmp_path / "w.safetensors", official.state_dict(), "model."))
    x = torch.linspace(0, 1, 3 * 64 * 64).reshape(1, 3, 64, 64)
    x = official.maxpool(official.relu(official.bn1(official.conv1(x))))
    x = official.layer4(official.layer3(official.layer2(official.layer1(x))))
    torch.testing.assert_close(last_map(backbone), x)
    assert "100 of 100 tensors" in backbone.notes[0]
    assert "2 of the classifier left out (fc." in backbone.notes[0]


def efficientnet_pytorch(state, depths):
    """timm's names of an EfficientNet as EfficientNet-PyTorch has them."""
    first = [sum(depths[:stage]) for stage in range(len(depths))]
    wide = {"conv_pw": "_expand_conv", "bn1": "_bn0", "conv_dw": "_depthwise_conv", "bn2": "_bn1"}
    wide |= {"conv_pwl": "_project_conv", "bn3": "_bn2", "se": "se"}
    plain = {"conv_dw": "_depthwise_conv", "bn1": "_bn1", "conv_pw": "_project_conv", "bn2": "_bn2", "se": "se"}
    rest = {"conv_stem": "_conv_stem", "bn1": "_bn0", "conv_head": "_conv_head", "bn2": "_bn1", "classifier": "_fc"}
    renamed = {}
    for key, value in state.items():
        block = re.fullmatch(r"blocks\.(\d+)\.(\d+)\.(\w+)\.(.+)", key)
        if block is None:
            start, _, end = key.partition(".")
            renamed[f"{rest[start]}.{end}"] = value
            continue
        stage, number, layer, end = block.groups()
        names = wide if f"blocks.{stage}.{number}.conv_pwl.weight" in state else plain
        name = f"_blocks.{first[int(stage)] + int(number)}.{names[layer]}.{end}"
        renamed[name.replace("se.conv_reduce", "_se_reduce").replace("se.conv_expand", "_se_expand")] = value
    return renamed


@pytest.mark.parametrize("name", ["tf_efficientnet_lite0", "tf_efficientnet_b0"])
def test_efficientnet_pytorch(tmp_path, name):
    torch.manual_seed(0)
    official = restless(timm.create_model(name))
    path = save(tmp_path / "w.pth", efficientnet_pytorch(official.state_dict(), (1, 2, 2, 3, 3, 4, 1)), "module.")
    backbone = build_backbone(name, pretrained=path)
    expected = dict(official.state_dict())
    assert all(torch.equal(value, expected[key]) for key, value in backbone.body.state_dict().items())
    count = len([key for key in backbone.body.state_dict() if not key.endswith("num_batches_tracked")])
    assert (
        f"{count} of {count} tensors read" in backbone.notes[0] and "EfficientNet-PyTorch's names" in backbone.notes[0]
    )
    assert "of the classifier left out (_conv_head.weight, _bn1.weight, _bn1.bias ...)" in backbone.notes[0]


def test_tensorflows_weights_are_for_models_that_pad_like_it(tmp_path):
    state = timm.create_model("tf_efficientnet_b0").state_dict()
    path = save(tmp_path / "w.pth", efficientnet_pytorch(state, (1, 2, 2, 3, 3, 4, 1)))
    with pytest.raises(UserError, match=r"pad as TensorFlow does; backbone effb0 does not.*begins with tf_"):
        build_backbone("effb0", pretrained=path)


def test_the_backbone_of_a_whole_detector(tmp_path):
    state = {f"backbone.body.{key}": value for key, value in torchvision.models.resnet18().state_dict().items()}
    backbone = build_backbone("r18", pretrained=save(tmp_path / "w.pth", state | {"neck.weight": torch.ones(1)}))
    assert "1 that do not begin with backbone.body. left out (neck.weight)" in backbone.notes[0]


def test_a_larger_model_is_no_part_of_it(tmp_path):
    """Every tensor of ResNet-18 is in ResNet-34, with the same shapes."""
    path = save(tmp_path / "w.pth", torchvision.models.resnet34().state_dict())
    with pytest.raises(UserError) as caught:
        build_backbone("r18", pretrained=path)
    message = str(caught.value)
    assert "100 of its 100 tensors were found, 80 of the file's extra (layer1.2.conv1.weight, " in message
    assert "It looks like resnet34: give --backbone resnet34" in message


def test_counts_and_three_examples_of_each(tmp_path):
    state = torchvision.models.resnet18().state_dict()
    lost = [key for key in state if key.startswith("layer4.1.") and not key.endswith("num_batches_tracked")]
    state = {key: value for key, value in state.items() if key not in lost}
    state["conv1.weight"] = torch.zeros(64, 1, 7, 7)
    with pytest.raises(UserError) as caught:
        build_backbone("r18", pretrained=save(tmp_path / "w.pth", state))
    assert (
        f"89 of its 100 tensors were found, {len(lost)} missing ({lost[0]}, {lost[1]}, {lost[2]} ...), 1 of another "
        "shape (conv1.weight (64, 1, 7, 7) instead of (64, 3, 7, 7))."
    ) in str(caught.value)


def test_several_sets_of_weights_in_one_file(tmp_path):
    state = torchvision.models.resnet18().state_dict()
    torch.save({"state_dict": state, "state_dict_ema": state}, tmp_path / "w.pth")
    with pytest.raises(UserError, match=r"several sets of weights \(state_dict, state_dict_ema\): keep one of them"):
        build_backbone("r18", pretrained=tmp_path / "w.pth")


@pytest.mark.parametrize(
    "keys, says",
    [
        (
            ["backbone.body.conv1.weight", "rpn.head.conv.weight"],
            "It looks like a whole detector: give it as --student",
        ),
        (["blocks.0.attn.qkv.weight", "pos_embed"], "It looks like a plain vision transformer"),
        ([f"_blocks.{n}._bn1.weight" for n in range(23)], "It looks like an EfficientNet of 23 blocks"),
        (["net.0.weight"], ""),
    ],
)
def test_guesses(keys, says):
    guess = guess_model({key: torch.ones(1) for key in keys}, "resnet18")
    assert guess.startswith(says) and bool(guess) == bool(says)


def test_an_incomplete_model_of_the_wanted_kind():
    state = torchvision.models.resnet18().state_dict()
    assert guess_model(state, "resnet18.tv_in1k") == "It looks like resnet18, but not like a whole one"


def test_timms_flattened_names():
    naming = find_naming(["m.stages.0.a.weight", "m.head.weight", "other"], ["stages_0.a.weight"])
    assert naming.names == {"m.stages.0.a.weight": "stages_0.a.weight", "m.head.weight": "head.weight"}
    assert naming.prefix == "m."
