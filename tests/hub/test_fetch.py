"""Weights of the hub wherever a file is named, and what is said when they cannot be had."""

import pytest
from huggingface_hub import errors
from PIL import Image

from headstart import load_detector
from headstart.config import DetectorChoice
from headstart.detectors.weights.importing import import_file, open_detector
from headstart.engine.detectors import make_detector
from headstart.engine.predict import predict
from headstart.errors import UserError
from headstart.hub import fetch
from headstart.hub.fetch import STUDENT, local_file
from hub.fake_hub import refusal


def test_a_path_stays_a_path_without_asking(hub, weights):
    assert local_file(weights) == weights and local_file("a/b.safetensors").name == "b.safetensors"
    assert hub.asked == []


def test_which_file_is_meant(hub, weights):
    hub.add("a/one", **{"model.safetensors": weights, "README.md": weights})
    hub.add("a/two", **{"model.safetensors": weights, STUDENT: weights})
    hub.add("a/two", "v1", **{"old/best.safetensors": weights})
    hub.add("a/several", **{"x.safetensors": weights, "y.safetensors": weights})
    hub.add("a/none", **{"model.pth": weights})
    assert local_file("hf://a/one").name == "model.safetensors"
    assert local_file("hf://a/two").name == STUDENT
    assert local_file("hf://a/two/model.safetensors").name == "model.safetensors"
    assert local_file("hf://a/two@v1").parts[-3:] == ("v1", "old", "best.safetensors")
    with pytest.raises(UserError, match=r"x\.safetensors, y\.safetensors\): say which, such as hf://a/several/x\.safe"):
        local_file("hf://a/several")
    with pytest.raises(UserError, match=r"there is no \.safetensors file in a/none"):
        local_file("hf://a/none")


def test_wherever_a_file_is_named(hub, weights, tmp_path):
    hub.add("a/one", **{STUDENT: weights})
    assert load_detector("hf://a/one").classes == ("cat", "dog")
    assert open_detector("hf://a/one").size == {"short": 64, "long": 64}
    for who in ("student", "teacher"):
        assert make_detector(DetectorChoice(file="hf://a/one"), [], who).classes == ("cat", "dog")
    Image.new("RGB", (40, 30)).save(tmp_path / "p.png")
    (entry,) = predict("hf://a/one", [tmp_path / "p.png"], tmp_path / "out", device="cpu", draw=False)
    assert entry["width"] == 40


def test_what_comes_is_checked_like_any_file(hub, weights, tmp_path):
    (tmp_path / "bad").write_bytes(b"\x80\x04pickle")
    hub.add("a/bad", **{STUDENT: tmp_path / "bad"})
    with pytest.raises(UserError, match=r"student: .*bad"):
        make_detector(DetectorChoice(file="hf://a/bad"), [], "student")
    with pytest.raises(UserError, match="give --out FILE"):
        import_file("hf://a/bad")


@pytest.mark.parametrize(
    ("place", "says"),
    [
        (
            "hf://a/nothing",
            "hf://a/nothing: the hub has no such repository, or it is private and you are not",
        ),
        ("hf://a/one@v9", "hf://a/one@v9: the repository has no such branch, tag or commit"),
        ("hf://a/one/b.safetensors", "there is no such file in the repository"),
    ],
)
def test_what_is_not_there(hub, weights, place, says):
    hub.add("a/one", **{STUDENT: weights})
    with pytest.raises(UserError, match=says):
        local_file(place)


@pytest.mark.parametrize(
    ("error", "says"),
    [
        (refusal(errors.GatedRepoError, 403), "accept terms first"),
        (refusal(errors.HfHubHTTPError, 403), r"refused it \(status 403\): log in"),
        (refusal(errors.HfHubHTTPError, 500), "the hub's client says: refused"),
        (errors.LocalEntryNotFoundError("no connection"), "the download failed: no connection. Try again"),
        (errors.HfHubHTTPError.__bases__[0]("connection reset"), "the hub's client says: connection reset"),
        (OSError("disk full"), "the hub's client says: disk full"),
    ],
)
def test_every_refusal_is_a_sentence(hub, weights, error, says):
    hub.add("a/one", **{STUDENT: weights})
    hub.refuses = error
    with pytest.raises(UserError, match=says) as caught:
        local_file(f"hf://a/one/{STUDENT}")
    assert "\n" not in str(caught.value)


def test_faults_of_ours_stay_faults(hub, weights):
    hub.add("a/one", **{STUDENT: weights})
    hub.refuses = TypeError("a fault")
    with pytest.raises(TypeError):
        local_file("hf://a/one")


def test_without_network(hub, weights, monkeypatch):
    """What was downloaded before is used, nothing else is tried."""
    monkeypatch.setattr(fetch, "hub_unreachable", lambda: "no route")
    with pytest.raises(UserError, match=r"cannot be reached \(no route\), and student\.safetensors of a/one was not"):
        local_file("hf://a/one")
    cached = {("a/one", STUDENT, "v1"): str(weights)}
    monkeypatch.setattr(
        "huggingface_hub.try_to_load_from_cache", lambda name, file, revision: cached.get((name, file, revision))
    )
    assert local_file("hf://a/one@v1") == weights and hub.asked == []


def test_offline_on_purpose(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="HF_HUB_OFFLINE is set"):
        local_file("hf://nobody-at-all/nothing")


def test_a_hub_that_does_not_answer(monkeypatch):
    monkeypatch.setattr("headstart.hub.reach.hub_address", lambda: "http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    with pytest.raises(UserError, match=r"the hub cannot be reached .*refused"):
        local_file("hf://nobody-at-all/nothing")
