"""Every kind of picture becomes the same uint8 RGB, exactly; what is damaged is refused with its reason."""

import io
import struct
import zlib

import numpy as np
import pytest
import torch
from PIL import Image, ImageCms
from torchvision.io import ImageReadMode, decode_image

from headstart.data import decode as module
from headstart.data.decode import decode
from headstart.data.unreadable import UnreadableError

RAMP = np.add.outer(4 * np.arange(30), 2 * np.arange(40))[..., None] + np.array([0, 30, 53])
RAMP = RAMP.astype(np.uint8)
GREY = RAMP[..., 0]


def encoded(picture, kind: str, **options) -> bytearray:
    stream = io.BytesIO()
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(stream, kind, **options)
    return bytearray(stream.getvalue())


pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # of Pillow; whoever calls `decode` silences them


def pixels(data) -> np.ndarray:
    """(H, W, 3)"""
    tensor = decode(bytearray(data)).pixels
    assert tensor.dtype == torch.uint8 and tensor.ndim == 3 and len(tensor) == 3
    return tensor.permute(1, 2, 0).numpy()


def refusal(data) -> str:
    with pytest.raises(UnreadableError) as caught:
        decode(bytearray(data))
    return str(caught.value)


def grey(values) -> np.ndarray:
    return np.repeat(np.asarray(values)[..., None], 3, 2)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("PNG", {}),
        ("BMP", {}),
        ("PPM", {}),
        ("WEBP", {"lossless": True}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("TIFF", {"compression": "tiff_adobe_deflate"}),
    ],
)
def test_eight_bits_are_kept(kind, options):
    assert np.array_equal(pixels(encoded(RAMP, kind, **options)), RAMP)
    alpha = np.dstack([RAMP, GREY])
    if kind not in ("PPM", "BMP", "WEBP"):
        assert np.array_equal(pixels(encoded(alpha, kind, **options)), RAMP), "transparency is dropped"
    if kind != "WEBP":
        assert np.array_equal(pixels(encoded(GREY, kind, **options)), grey(GREY))


def test_one_bit_palette_and_grey_with_alpha():
    bits = GREY > 99
    for kind in ("PNG", "TIFF", "BMP", "PPM"):
        assert np.array_equal(pixels(encoded(Image.fromarray(bits), kind)), grey(bits * 255))
    palette = Image.fromarray(np.arange(6, dtype=np.uint8).reshape(2, 3), "P")
    palette.putpalette([value for k in range(6) for value in (k, 10 * k, 255 - k)])
    wanted = [[[k, 10 * k, 255 - k] for k in row] for row in ([0, 1, 2], [3, 4, 5])]
    for options in ({}, {"transparency": 2}, {"transparency": bytes([0, 128, 255])}):
        assert pixels(encoded(palette, "PNG", **options)).tolist() == wanted
    assert pixels(encoded(palette, "GIF")).tolist() == wanted
    both = Image.merge("LA", [Image.fromarray(GREY), Image.fromarray(255 - GREY)])
    assert np.array_equal(pixels(encoded(both, "PNG")), grey(GREY))


def test_sixteen_bits_keep_the_upper_eight():
    values = (np.arange(1200, dtype=np.uint16) * 54).reshape(30, 40)
    for kind in ("PNG", "TIFF", "PPM"):
        found = decode(encoded(values, kind))
        assert np.array_equal(found.pixels[2].numpy(), values >> 8) and found.remark == ""
    dark = decode(encoded(np.full((4, 4), 4095, np.uint16), "TIFF"))
    assert dark.pixels.unique().tolist() == [15] and dark.remark == "16 bits but no value above 4095, so dark"
    colours = np.dstack([values, values // 2, values // 3])
    assert np.array_equal(pixels(png(2, 16, colours.astype(">u2"))), colours >> 8)


@pytest.mark.parametrize(
    ("values", "wanted"),
    [
        ([[0.0, 0.25, 0.5, 1.0]], [0, 64, 128, 255]),
        ([[0.0, 1.4, 1.6, 255.0]], [0, 1, 2, 255]),
        ([[0.0, 255.0, 256.0, 65535.0]], [0, 0, 1, 255]),
        ([[0.0, 0.0]], [0, 0]),
    ],
)
def test_floats_by_their_largest_value(values, wanted):
    assert pixels(encoded(np.array(values, np.float32), "TIFF"))[0, :, 0].tolist() == wanted


def test_wide_integers_by_their_largest_value():
    for values, wanted in (([[0, 1, 255]], [0, 1, 255]), ([[0, 256, 65535]], [0, 1, 255])):
        assert pixels(encoded(np.array(values, np.int32), "TIFF"))[0, :, 1].tolist() == wanted
    for values in (np.array([[0, 65536]], np.int32), np.float32([[-0.5, 1]]), np.float32([[np.nan, 1]])):
        assert refusal(encoded(values, "TIFF")).startswith("values that cannot be shown (")


def test_cmyk():
    """In a TIFF as they stand, in a JPEG inverted; Pillow writes them so as well."""
    inks = np.full((16, 16, 4), (10, 100, 200, 50), np.uint8)
    wanted = [round((255 - ink) * 205 / 255) for ink in (10, 100, 200)]
    picture = Image.fromarray(inks, "CMYK")
    for kind, options in (("TIFF", {}), ("JPEG", {"quality": 100})):
        assert np.abs(pixels(encoded(picture, kind, **options)).astype(int) - wanted).max() <= 1


def test_lab_and_ycbcr():
    patches = np.repeat(np.uint8([[[255, 255, 255], [200, 30, 40], [20, 120, 60], [90, 90, 90]]]), 4, 0)
    lab = ImageCms.profileToProfile(
        Image.fromarray(patches), ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
    )
    assert np.abs(pixels(encoded(lab, "TIFF")).astype(int) - patches).max() <= 7, "8 bits of LAB are coarse"
    found = pixels(encoded(Image.fromarray(patches).convert("YCbCr"), "TIFF"))
    assert np.abs(found.astype(int) - patches).max() <= 2


JPEGS = [{}, {"progressive": True}, {"subsampling": 0}, {"quality": 30, "optimize": True}]


@pytest.mark.parametrize("options", JPEGS)
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_jpeg_is_that_of_torchvision(options, mode, tmp_path):
    """And that of Pillow, so that it does not matter who decodes it."""
    data = encoded(Image.fromarray(RAMP).convert(mode), "JPEG", **options)
    (tmp_path / "a.jpg").write_bytes(data)
    found = decode(data).pixels
    assert found.equal(decode_image(str(tmp_path / "a.jpg"), mode=ImageReadMode.RGB))
    assert np.array_equal(found.permute(1, 2, 0), np.asarray(Image.open(io.BytesIO(data)).convert("RGB")))


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L", "LA", "P", "1"])
def test_a_sound_png_is_that_of_torchvision(mode, tmp_path):
    data = encoded(Image.fromarray(RAMP).convert(mode), "PNG")
    (tmp_path / "a.png").write_bytes(data)
    wanted = decode_image(str(tmp_path / "a.png"), mode=ImageReadMode.RGB)
    found = decode(data).pixels
    assert found.equal(wanted) and found.stride() == wanted.stride(), "resizing depends on the layout in memory"


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_exif_orientation(kind, turn):
    exif = Image.Exif()
    exif[module.ORIENTATION] = turn
    options = {"JPEG": {"quality": 100, "subsampling": 0}, "WEBP": {"lossless": True}}.get(kind, {})
    plain = pixels(encoded(RAMP, kind, **options))
    wanted = {
        1: plain,
        2: np.fliplr(plain),
        3: np.rot90(plain, 2),
        4: np.flipud(plain),
        5: plain.transpose(1, 0, 2),
        6: np.rot90(plain, -1),
        7: np.rot90(plain, 2).transpose(1, 0, 2),
        8: np.rot90(plain),
    }[turn]
    assert np.array_equal(pixels(encoded(RAMP, kind, exif=exif, **options)), wanted)


XMP = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about="" xmlns:tiff="http://ns.adobe.com/tiff/1.0/" tiff:Orientation="6"/></rdf:RDF></x:xmpmeta>'  # noqa: E501


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_the_orientation_of_xmp_is_not_looked_at(kind):
    options = {"tiffinfo": {700: XMP}} if kind == "TIFF" else {"xmp": XMP}
    if kind == "PNG":
        text = b"XML:com.adobe.xmp\0\0\0\0\0" + XMP
        data = encoded(RAMP, kind)
        data[33:33] = struct.pack(">I", len(text)) + b"iTXt" + text + struct.pack(">I", zlib.crc32(b"iTXt" + text))
        assert Image.open(io.BytesIO(data)).getexif()[module.ORIENTATION] == 6
    else:
        data = encoded(RAMP, kind, **options)
    assert pixels(data).shape == (30, 40, 3)


@pytest.mark.parametrize("block", [b"", b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0nonsense"])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_an_exif_block_that_is_damaged_turns_nothing(kind, block):
    assert pixels(encoded(RAMP, kind, exif=block)).shape == (30, 40, 3)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG", "TIFF"])
def test_first_picture_of_an_animation(kind):
    frames = [Image.new("RGB", (8, 6), colour) for colour in ("red", "blue")]
    options = {"lossless": True} if kind == "WEBP" else {}
    found = pixels(encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options))
    assert found.shape == (6, 8, 3) and found.reshape(-1, 3).tolist() == [[255, 0, 0]] * 48


def test_the_largest_picture(monkeypatch):
    """Pillow's own limit lies lower, and counts only where its readers cannot do without it."""
    tiff = encoded(RAMP, "TIFF")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)
    monkeypatch.setattr(module, "LARGEST", 1200)
    assert refusal(tiff).startswith("too large (of TIFF and WebP at most 20 pixels are read: ")
    for kind in ("JPEG", "PNG", "BMP", "GIF", "PPM"):
        assert pixels(encoded(RAMP, kind)).shape == (30, 40, 3)
    monkeypatch.setattr(module, "LARGEST", 1199)
    for kind in ("JPEG", "PNG", "BMP", "TIFF"):
        message = "too large (40 x 30 px; at most 1199 pixels, such as 16384 x 16384, are read: cut it into tiles"
        assert refusal(encoded(RAMP, kind)).startswith(message)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"just text\nof two lines", "no picture (text)"),
        (b"<!DOCTYPE html><html>", "no picture (a web page or other text)"),
        (b"version https://git-lfs.github.com/spec/v1\n", "no picture (a pointer of Git LFS, fetch the files with "),
        (b"\0\5\x16\7\0\2Mac OS X", "no picture (a shadow file of macOS, not a picture)"),
        (b"\0" * 900, "no picture (it begins with zeros)"),
        (b"\1\2\3\4\5\6\7\x80", "no picture (it begins with the bytes 01 02 03 04 05 06)"),
        (b"\0\0\0\x20ftypheic", "no picture of a kind that is read (HEIC, AVIF or a film: convert it"),
        (b"%!PS-Adobe-3.0 EPSF-3.0", "no picture (text)"),
        (b"\xff\xd8\xff\xe0broken", "damaged (a JPEG without a readable header)"),
    ],
)
def test_what_is_no_picture(data, reason):
    assert refusal(data).startswith(reason)


def noise(width=160, height=120) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 255, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("cut", [1, 2, 3, 60])
def test_a_jpeg_without_its_last_bytes_is_used(cut):
    whole = encoded(noise(), "JPEG", quality=90)
    found = decode(whole[:-cut])
    assert found.remark == "the last bytes of the file are missing"
    same = (found.pixels == decode(whole).pixels).all(0)
    assert same[:96].all() and same.float().mean() > 0.95
    if cut <= 2:
        assert same.all()
    padded = decode(whole[:-cut] + bytes(5000))
    assert padded.pixels.equal(found.pixels), "zeros that a broken download leaves are none of its bytes"


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("kept", [0.3, 0.6, 0.9])
@pytest.mark.parametrize("fill", [b"", bytes(9000)])
def test_a_jpeg_cut_short_is_refused(kept, progressive, fill):
    whole = encoded(noise(), "JPEG", quality=90, progressive=progressive)
    reason = refusal(whole[: int(kept * len(whole))] + fill)
    assert reason.startswith("damaged (a JPEG cut short, ") and reason.endswith("% of it is missing)")


def png(colour: int, depth: int, rows: np.ndarray, *, data: bytes | None = None) -> bytes:
    """A PNG of unfiltered rows, or with other compressed data, all checksums right."""
    height, width = rows.shape[:2]
    raw = b"".join(b"\0" + row.tobytes() for row in rows)
    chunks = {
        b"IHDR": struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0),
        b"IDAT": zlib.compress(raw) if data is None else data,
        b"IEND": b"",
    }
    parts = [
        struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))
        for name, body in chunks.items()
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def test_a_png_whose_bytes_are_damaged():
    whole = encoded(noise(), "PNG")
    for place in (whole.index(b"IDAT") + 200, len(whole) - 200):
        data = bytearray(whole)
        data[place] ^= 1
        assert refusal(data) == "damaged (the checksum of the PNG's chunk IDAT is wrong)"
    data = bytearray(whole)
    data[data.index(b"IHDR") + 7] ^= 1
    assert refusal(data) == "damaged (the checksum of the PNG's chunk IHDR is wrong)"
    assert refusal(whole[: len(whole) // 2]) == "damaged (a PNG cut short)"


def test_a_png_whose_pixels_are_damaged_or_too_few_though_its_checksums_are_right():
    rows = noise()
    for data in (zlib.compress(bytes(500)), zlib.compress(rows.tobytes())[:-900], b"nonsense", b""):
        assert refusal(png(2, 8, rows, data=data)).startswith("damaged (")
    assert np.array_equal(pixels(png(2, 8, rows)), rows)


def test_a_png_without_its_end_is_used():
    whole = encoded(RAMP, "PNG")
    for cut in (1, 12, 16):
        data = whole[:-cut]
        if cut == 16:
            assert refusal(data) == "damaged (a PNG cut short)"
        else:
            found = decode(data)
            assert np.array_equal(found.pixels.permute(1, 2, 0), RAMP)
            assert found.remark == ("" if cut == 1 and data[-8:-4] == b"IEND" else found.remark)


def test_what_else_stands_in_a_png_does_no_harm():
    """A damaged or very long text is not looked at."""
    whole = encoded(RAMP, "PNG")
    for text, checksum in ((b"Comment\0damaged", 1), (b"Comment\0\0" + zlib.compress(bytes(10**8)), 0)):
        name = b"tEXt" if checksum else b"zTXt"
        chunk = struct.pack(">I", len(text)) + name + text + struct.pack(">I", zlib.crc32(name + text) ^ checksum)
        assert np.array_equal(pixels(whole[:33] + chunk + whole[33:]), RAMP)


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "TIFF", "BMP", "PPM"])
def test_other_files_cut_short_are_refused(kind):
    whole = encoded(noise(), kind)
    assert refusal(whole[: len(whole) // 2]).startswith("damaged (")


def test_the_name_does_not_count_but_the_content(tmp_path):
    from headstart.data.images import read_image

    (tmp_path / "a.png").write_bytes(encoded(RAMP, "JPEG"))
    (tmp_path / "a.jpg").write_bytes(encoded(RAMP, "WEBP", lossless=True))
    assert read_image(tmp_path / "a.png").equal(decode(encoded(RAMP, "JPEG")).pixels)
    assert np.array_equal(read_image(tmp_path / "a.jpg").permute(1, 2, 0), RAMP)
