import pytest

from headstart.detectors.weights.native import save_detector
from headstart.detectors.zoo import build_detector
from hub.fake_hub import FakeHub


@pytest.fixture
def hub(tmp_path, monkeypatch):
    return FakeHub(tmp_path / "hub").install(monkeypatch)


@pytest.fixture(scope="session")
def tiny():
    return build_detector("retinanet", ["cat", "dog"], backbone="mnv2_050", pretrained=False, width=16, depth=1)


@pytest.fixture
def weights(tiny, tmp_path):
    return save_detector(tiny, tmp_path / "w.safetensors", size={"short": 64, "long": 64})
