"""Files of what a teacher said, within a limit."""

import threading
from dataclasses import replace

import pytest
import torch

from headstart.teachers.store import Store, view_keys
from laws.tiny import scene

SMALL = 10**6


@pytest.fixture
def said():
    return []


def make(folder, said, limit=SMALL, teacher="one"):
    store = Store(folder, teacher, limit, said.append)
    store.open()
    return store


def maps(value=1.0):
    return {"0": torch.full((1, 4, 3, 2), value), "1": torch.full((1, 4, 2, 2), value)}


def test_what_is_read_is_what_was_written(tmp_path, said):
    store = make(tmp_path, said)
    values = {
        "plain": torch.rand(1, 4, 3, 2),
        "last": torch.rand(1, 4, 3, 2).to(memory_format=torch.channels_last),
        "half": torch.rand(1, 4, 3, 2).bfloat16(),
        "labels": torch.arange(5),
        "none": torch.zeros(0, 4),
    }
    assert store.get("abc", "neck/P3") is None
    store.put("abc", "neck/P3", values)
    found = make(tmp_path, said).get("abc", "neck/P3")
    assert found.keys() == values.keys()
    for name, value in values.items():
        assert torch.equal(found[name], value) and found[name].dtype == value.dtype
    assert found["last"].is_contiguous(memory_format=torch.channels_last) and not found["last"].is_contiguous()
    assert store.get("abc", "neck") is None and make(tmp_path, said, teacher="two").get("abc", "neck/P3") is None
    assert said == []


def test_it_never_holds_more_than_its_limit(tmp_path, said):
    """Counted over all teachers, and over what an earlier run has left."""
    make(tmp_path, said, teacher="two").put("a", "neck", maps())
    each = sum(file.stat().st_size for file in tmp_path.rglob("*.safetensors"))
    store = make(tmp_path, said, limit=3 * each)
    assert store.open() == each
    for key in ("b", "c", "d", "e"):
        store.put(key, "neck", maps())
    assert sum(file.stat().st_size for file in tmp_path.rglob("*.safetensors")) == 3 * each
    assert [store.get(key, "neck") is not None for key in ("b", "c", "d", "e")] == [True, True, False, False]
    assert len(said) == 1 and "has reached its limit" in said[0] and "teacher.cache_limit" in said[0]
    assert not list(tmp_path.rglob("*.partial"))


def test_two_that_write_at_once_stay_within_it(tmp_path, said):
    stores = [make(tmp_path, said, limit=20_000) for _ in range(2)]

    def write(number):
        for key in range(40):
            stores[number].put(f"{key:02}{number}", "neck", maps())

    threads = [threading.Thread(target=write, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sizes = [file.stat().st_size for file in tmp_path.rglob("*.safetensors")]
    assert len(sizes) > 10 and 20_000 - 2 * max(sizes) < sum(sizes) <= 20_000
    assert int((tmp_path / ".bytes").read_text()) == sum(sizes)


def test_a_damaged_file_is_made_again(tmp_path, said):
    store = make(tmp_path, said)
    store.put("abc", "neck", maps())
    (file,) = tmp_path.rglob("*.safetensors")
    file.write_bytes(file.read_bytes()[:-5])
    assert store.get("abc", "neck") is None
    store.put("abc", "neck", maps(2.0))
    assert store.get("abc", "neck")["0"][0, 0, 0, 0] == 2
    assert int((tmp_path / ".bytes").read_text()) >= file.stat().st_size == store.open()


def test_a_folder_that_cannot_be_written_costs_a_sentence(tmp_path, said):
    (tmp_path / "file").write_text("")
    store = make(tmp_path / "file", said)
    store.put("abc", "neck", maps())
    assert store.get("abc", "neck") is None
    assert len(said) == 1 and "cannot be written" in said[0]


def test_what_a_killed_process_left_is_removed(tmp_path, said):
    make(tmp_path, said).put("abc", "neck", maps())
    (file,) = tmp_path.rglob("*.safetensors")
    left = file.with_name(f".{file.name}.0123456789abcdef.partial")
    left.write_bytes(b"x" * 100)
    assert make(tmp_path, said).open() == file.stat().st_size and not left.exists()


def test_a_key_stands_for_pixels_and_both_sizes():
    images, _ = scene(0, size=64)
    keys = view_keys(images)
    assert len(set(keys)) == 2 and keys == view_keys(replace(images, ids=[8, 9]))
    turned = replace(images, pixels=images.pixels.flip(0), sizes=images.sizes[::-1])
    assert view_keys(turned) == keys[::-1]
    padded = torch.nn.functional.pad(images.pixels, (0, 32))
    for other in (replace(images, pixels=padded), replace(images, pixels=images.pixels.flip(-1))):
        assert not set(view_keys(other)) & set(keys)
    one = replace(images, pixels=images.pixels[:1], sizes=images.sizes[:1])
    assert view_keys(one)[0] != keys[0]
