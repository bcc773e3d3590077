"""Every kind of image file becomes uint8 RGB of the size that its header promised."""

import numpy as np
import pytest
import torch
from PIL import Image

from data.data_folders import picture
from headstart.data.images import read_image, read_size
from headstart.errors import UserError


@pytest.mark.parametrize(
    ("name", "mode", "options", "tolerance"),
    [
        ("a.jpg", "RGB", {"quality": 95}, 6),
        ("a.jpg", "RGB", {"progressive": True, "quality": 95}, 6),
        ("a.jpg", "CMYK", {"quality": 95}, 8),
        ("a.png", "RGB", {}, 0),
        ("a.png", "RGBA", {}, 0),
        ("a.png", "P", {}, 40),
        ("a.webp", "RGB", {"lossless": True}, 0),
        ("a.bmp", "RGB", {}, 0),
        ("a.tif", "RGB", {}, 0),
        ("a.gif", "P", {}, 40),
    ],
)
def test_colour_files(tmp_path, name, mode, options, tolerance):
    file = picture(tmp_path / name, mode=mode, **options)
    wanted = np.asarray(Image.open(picture(tmp_path / "exact.png"))).astype(int)
    pixels = read_image(file)
    assert pixels.dtype == torch.uint8 and pixels.shape == (3, 30, 40) and read_size(file) == (30, 40)
    assert np.abs(pixels.permute(1, 2, 0).numpy() - wanted).mean() <= tolerance


@pytest.mark.parametrize(("name", "mode"), [("a.jpg", "L"), ("a.png", "L"), ("a.png", "LA"), ("a.png", "1")])
def test_grey_files(tmp_path, name, mode):
    pixels = read_image(picture(tmp_path / name, mode="L"))
    assert pixels.shape == (3, 30, 40) and pixels[0].equal(pixels[1]) and pixels.float().std() > 10


@pytest.mark.parametrize("suffix", ["png", "tif"])
def test_sixteen_bits_keep_the_upper_eight(tmp_path, suffix):
    values = (np.arange(1200, dtype=np.uint16) * 54).reshape(30, 40)
    Image.fromarray(values).save(tmp_path / f"a.{suffix}")
    pixels = read_image(tmp_path / f"a.{suffix}")
    assert np.array_equal(pixels[1].numpy(), values >> 8)


def test_hidden_colours_below_transparency_are_kept(tmp_path):
    rgba = np.zeros((4, 4, 4), np.uint8)
    rgba[..., 0] = 200
    Image.fromarray(rgba).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png")[0].min() == 200


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
@pytest.mark.parametrize("turn", [1, 3, 6, 8])
def test_exif_turn(tmp_path, suffix, turn):
    exif = Image.Exif()
    exif[0x0112] = turn
    file = picture(tmp_path / f"a.{suffix}", exif=exif)
    pixels = read_image(file)
    plain = read_image(picture(tmp_path / f"b.{suffix}"))
    turned = {1: plain, 3: plain.flip(1, 2), 6: plain.rot90(-1, (1, 2)), 8: plain.rot90(1, (1, 2))}[turn]
    assert pixels.shape == turned.shape and (pixels.int() - turned.int()).abs().max() <= 12
    assert read_size(file) == tuple(turned.shape[1:])


@pytest.mark.parametrize("suffix", ["jpg", "png", "bmp"])
@pytest.mark.parametrize("kept", [0.0, 0.02, 0.6])
def test_files_cut_short_are_named(tmp_path, suffix, kept):
    file = picture(tmp_path / f"a.{suffix}")
    content = file.read_bytes()
    file.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(UserError, match=r"a\.\w+ cannot be decoded .*repair it or remove it"):
        read_image(file)
    if suffix != "bmp" or not kept:
        with pytest.raises(UserError, match="not a readable image"):
            read_size(file)


def test_what_follows_the_end_mark_does_no_harm(tmp_path):
    file = picture(tmp_path / "a.jpg")
    file.write_bytes(file.read_bytes() + b"\0" * 10_000)
    assert read_size(file) == (30, 40)


def test_missing_files_and_order(tmp_path):
    files = [picture(tmp_path / f"{i}.png", width=10 + i) for i in range(70)]
    files.insert(3, tmp_path / "no.png")
    sizes = read_sizes(files)
    assert isinstance(sizes[3], UserError) and sizes[:3] == [(30, 10), (30, 11), (30, 12)] and sizes[-1] == (30, 79)
    with pytest.raises(UserError, match=r"no\.png"):
        read_image(tmp_path / "no.png")


def test_first_picture_of_an_animation(tmp_path):
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert read_image(tmp_path / "a.gif")[:, 0, 0].tolist() == [255, 0, 0]
