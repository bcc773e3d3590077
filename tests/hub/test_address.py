from pathlib import Path

import pytest

from headstart.config import Run
from headstart.errors import UserError
from headstart.hub.address import HubAddress, check_repository, is_on_hub, parse_address


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("hf://anna/cells", HubAddress("anna/cells")),
        ("hf://anna/cells@v1.0", HubAddress("anna/cells", None, "v1.0")),
        ("hf://anna/cells/a/b.safetensors", HubAddress("anna/cells", "a/b.safetensors")),
        ("hf://anna/cells/b.safetensors@refs/pr/1", HubAddress("anna/cells", "b.safetensors", "refs/pr/1")),
        (Path("hf://anna/cells"), HubAddress("anna/cells")),
    ],
)
def test_addresses(written, address):
    assert is_on_hub(written) and parse_address(written) == address
    assert parse_address(str(address)) == address


@pytest.mark.parametrize("place", ["hf", "runs/hf/student.safetensors", "hf://", Path("a/hf:b"), "/hf://x/y"])
def test_paths_are_no_addresses(place):
    assert not is_on_hub(place)


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("hf://cells", r"hf://cells: expected hf://OWNER/NAME\[/FILE\]"),
        ("hf://anna/ce lls", "expected hf://OWNER"),
        ("hf://anna/cells/", "expected hf://OWNER"),
        ("hf://anna/cells/../x.safetensors", "expected hf://OWNER"),
        ("hf://anna/cells@", "the revision stands at the end"),
        ("hf://anna/cells@main/b.safetensors", "the revision stands at the end"),
        ("hf://anna/cells/model.pth", r"only \.safetensors files are taken from the hub, because others can hold code"),
    ],
)
def test_wrong_addresses(written, says):
    with pytest.raises(UserError, match=says):
        parse_address(written)


def test_repositories():
    assert check_repository("anna/blood-cells_2.0") == "anna/blood-cells_2.0"
    for wrong in ("cells", "anna/a/b", "hf://anna/cells", "../x", "anna/"):
        with pytest.raises(UserError, match="expected OWNER/NAME"):
            check_repository(wrong)


def test_a_run_takes_them_for_files():
    run = Run.model_validate(
        {"data": "x", "student": "hf://anna/cells", "teacher": ["hf://a/b@v1", "retinanet_r18"], "method": "head"}
    )
    assert run.student.file == "hf://anna/cells" and [one.file for one in run.teachers] == ["hf://a/b@v1", None]
