"""Backbones: the four strides, frozen beginnings, norms in eval, weights from files, errors that help."""

import copy
import time

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from headstart.backbones import SHORT_NAMES, build_backbone
from headstart.backbones import pretrained as fetching
from headstart.errors import UserError

SMALL = ["r18", "r10", "mnv2", "mobilenetv2_050", "mnv3s", "mnv4s", "effb0", "swin_t", "convnext_a", "hgnetv2_b0"]


class Own(nn.Module):
    def __init__(self):
        super().__init__()
        self.stem = nn.Conv2d(3, 4, 4, stride=4)
        self.rest = nn.ModuleList(nn.Conv2d(4 * 2**i, 8 * 2**i, 2, stride=2) for i in range(3))

    def forward(self, x):
        maps = [self.stem(x)]
        for conv in self.rest:
            maps.append(conv(maps[-1]))
        return maps


@pytest.mark.parametrize("name", SMALL)
def test_stages_and_gradients(name):
    backbone = build_backbone(name, pretrained=False)
    assert backbone.strides == [4, 8, 16, 32]
    maps = backbone(torch.rand(2, 3, 96, 160))
    assert [m.shape[1] for m in maps] == backbone.channels
    assert [tuple(m.shape[2:]) for m in maps] == [(96 // s, 160 // s) for s in backbone.strides]
    sum(m.float().square().mean() for m in maps[1:]).backward()
    assert [n for n, p in backbone.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("size", [(64, 224), (160, 96)])
def test_swin_takes_other_sizes(size):
    maps = build_backbone("swin_t", pretrained=False).eval()(torch.rand(1, 3, *size))
    assert [tuple(m.shape[1:]) for m in maps] == [
        (c, size[0] // s, size[1] // s) for c, s in zip([96, 192, 384, 768], [4, 8, 16, 32], strict=True)
    ]


@pytest.mark.parametrize("name", ["r18", "mnv2", "mnv3s", "convnext_a"])
def test_frozen_stage_stays_out_of_training(name):
    backbone = build_backbone(name, pretrained=False, frozen_stages=1).train()
    frozen = {n for n, p in backbone.named_parameters() if not p.requires_grad}
    before = {k: v.clone() for k, v in backbone.state_dict().items()}
    maps = backbone(torch.rand(2, 3, 64, 64))
    assert maps[0].grad_fn is None and all(m.grad_fn is not None for m in maps[1:])
    sum(m.square().mean() for m in maps).backward()
    with torch.no_grad():
        for parameter in backbone.parameters():
            if parameter.grad is not None:
                parameter.sub_(parameter.grad)
    after = backbone.state_dict()
    changed = {k for k in before if not torch.equal(before[k], after[k])}
    assert frozen and changed and not changed & frozen
    stems = {n.removesuffix(".weight") for n in frozen if n.endswith(".weight")}
    assert not {k for k in changed if k.rpartition(".")[0] in stems}
    assert any(k.endswith("running_mean") for k in changed) or name == "convnext_a"


def test_resnet_freezes_the_stem_and_the_first_stage_only():
    backbone = build_backbone("r18", pretrained=False, frozen_stages=1)
    frozen = {n.split(".")[1] for n, p in backbone.named_parameters() if not p.requires_grad}
    free = {n.split(".")[1] for n, p in backbone.named_parameters() if p.requires_grad}
    assert frozen == {"conv1", "bn1", "layer1"} and free == {"layer2", "layer3", "layer4"}


def test_freezing_survives_train_and_copies():
    backbone = build_backbone("r10", pretrained=False, frozen_stages=2, norm_eval=False)
    for one in (backbone, copy.deepcopy(backbone)):
        one.eval().train()
        training = {n for n, m in one.body.named_modules() if isinstance(m, nn.BatchNorm2d) and m.training}
        assert training and all(n.startswith(("layer3", "layer4")) for n in training)


def test_norm_eval_keeps_statistics_and_trains_scale_and_shift():
    backbone = build_backbone("r10", pretrained=False, norm_eval=True).train()
    norms = [m for m in backbone.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms and not any(m.training for m in norms)
    sum(m.square().mean() for m in backbone(torch.rand(2, 3, 64, 64))).backward()
    assert all(m.weight.grad is not None and m.num_batches_tracked == 0 for m in norms)


def test_building_leaves_statistics_and_gradients_alone():
    backbone = build_backbone("r10", pretrained=False)
    norms = [m for m in backbone.modules() if isinstance(m, nn.BatchNorm2d)]
    assert all(int(m.num_batches_tracked) == 0 and not m.running_mean.any() for m in norms)
    assert all(p.grad is None for p in backbone.parameters())


def test_a_module_of_ones_own():
    backbone = build_backbone(Own(), channels=[4, 8, 16, 32], strides=[4, 8, 16, 32], frozen_stages=1)
    assert backbone.name == "Own" and not backbone.body.stem.weight.requires_grad
    assert build_backbone(Own()).strides == [4, 8, 16, 32]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"name_or_module": "resnet19"}, "resnet18"),
        ({"name_or_module": "mvn2"}, "mnv2"),
        ({"name_or_module": "vit_tiny_patch16_224"}, "offers 16 only"),
        ({"name_or_module": "maxvit_tiny_tf_224"}, "any size"),
        ({"name_or_module": "resnet18.nonsense"}, "nonsense"),
        ({"name_or_module": "r10", "frozen_stages": 5}, "between 0 and 4"),
        ({"name_or_module": "r10", "channels": [1]}, "leave them out"),
        ({"name_or_module": Own(), "channels": [4, 8, 16, 31]}, "31"),
        ({"name_or_module": Own(), "strides": [2, 4, 8, 16]}, "strides"),
        ({"name_or_module": nn.Conv2d(3, 4, 1)}, "list of maps"),
    ],
)
def test_mistakes_are_explained(arguments, says):
    with pytest.raises(UserError, match=says):
        build_backbone(**{"pretrained": False, **arguments})


def test_caffes_blocks_have_their_stride_in_the_first_convolution():
    plain, caffe = (build_backbone("r50", pretrained=False, first_stride=first) for first in (False, True))
    assert caffe.strides == plain.strides
    for backbone, strides in ((plain, [(1, 1), (2, 2)]), (caffe, [(2, 2), (1, 1)])):
        block = backbone.body.layer3[0]
        assert [block.conv1.stride, block.conv2.stride] == strides
    with pytest.raises(UserError, match="first_stride is for ResNets with bottleneck blocks"):
        build_backbone("r18", pretrained=False, first_stride=True)


def test_the_epsilon_of_norms():
    backbone = build_backbone("r10", pretrained=False, norm_eps=0.0)
    assert {m.eps for m in backbone.modules() if isinstance(m, nn.BatchNorm2d)} == {0.0}


def test_maps_may_share_a_stride():
    """torchvision's MobileNetV3 for detection gives two of stride 32."""
    backbone = build_backbone("mnv3l_pair", pretrained=False)
    assert backbone.strides == [32, 32] and backbone.channels == [160, 960]


@pytest.mark.parametrize("name", SHORT_NAMES)
def test_every_short_name_is_known_to_timm_with_weights(name):
    import timm

    settings = timm.get_pretrained_cfg(SHORT_NAMES[name])
    assert settings is not None and settings.has_weights


def test_without_network_it_fails_fast_and_says_what_to_do(monkeypatch, tmp_path):
    monkeypatch.setattr(fetching, "hub_address", lambda: "http://127.0.0.1:9")
    monkeypatch.setattr(fetching, "_cached_file", lambda settings: None)
    start = time.perf_counter()
    with pytest.raises(UserError, match=r"ImageNet weights of r10 .*--weights none .*--weights FILE"):
        build_backbone("r10")
    assert time.perf_counter() - start < 8


@pytest.mark.parametrize("name", ["r10", "mnv2", "convnext_a"])
def test_weights_in_the_local_cache_need_no_network(monkeypatch, tmp_path, name):
    import timm

    full = timm.create_model(SHORT_NAMES[name])
    save_file(full.state_dict(), tmp_path / "model.safetensors")
    monkeypatch.setattr(fetching, "hub_address", lambda: "http://127.0.0.1:9")
    monkeypatch.setattr(fetching, "_cached_file", lambda settings: tmp_path / "model.safetensors")
    assert_same_weights(build_backbone(name), full)


@pytest.mark.parametrize("kind", ["model.safetensors", "model.pth"])
@pytest.mark.parametrize("name", ["r10", "mnv2", "mnv3s", "convnext_a"])
def test_weights_from_a_file(tmp_path, name, kind):
    import timm

    full = timm.create_model(SHORT_NAMES[name])
    path = tmp_path / kind
    if path.suffix == ".pth":
        torch.save({"state_dict": full.state_dict()}, path)
    else:
        save_file(full.state_dict(), path)
    assert_same_weights(build_backbone(name, pretrained=path), full)


def assert_same_weights(backbone, full):
    mine, theirs = list(backbone.body.state_dict().values()), list(full.state_dict().values())
    assert all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=False))


def test_every_tensor_that_does_not_fit_is_named(tmp_path):
    import timm

    state = timm.create_model("resnet10t").state_dict()
    del state["layer1.0.bn1.weight"]
    state["surprise"] = torch.zeros(1)
    state["layer2.0.conv1.weight"] = torch.zeros(2, 2)
    save_file(state, tmp_path / "w.safetensors")
    with pytest.raises(UserError) as error:
        build_backbone("r10", pretrained=tmp_path / "w.safetensors")
    for name in ("layer1.0.bn1.weight", "surprise", "layer2.0.conv1.weight (2, 2) instead of"):
        assert name in str(error.value)


def test_unreadable_weight_files(tmp_path):
    (tmp_path / "broken.safetensors").write_bytes(b"not tensors")
    (tmp_path / "broken.pth").write_bytes(b"not tensors")
    torch.save({"model": nn.Linear(1, 1)}, tmp_path / "code.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    for file in ("broken.safetensors", "broken.pth", "code.pth", "list.pth", "missing.pth"):
        with pytest.raises(UserError, match=file):
            build_backbone("r10", pretrained=tmp_path / file)
