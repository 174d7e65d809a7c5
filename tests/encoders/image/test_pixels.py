import io
import struct
import sys
import zlib

import numpy as np
import pytest

from embedkit.encoders.image import to_rgb
from embedkit.errors import InputError, MissingExtraError

Image = pytest.importorskip("PIL.Image", reason="the extra image is not installed")

RED, GREEN, BLUE, WHITE = [255, 0, 0], [0, 255, 0], [0, 0, 255], [255, 255, 255]


def saved(picture, path, **options):
    picture.save(path, **options)
    return path


def noise(*shape, seed=0):
    return np.random.default_rng(seed).integers(0, 256, size=shape, dtype=np.uint8)


@pytest.fixture
def photo():
    return Image.fromarray(noise(6, 4, 3))


def test_a_path_a_picture_and_an_array_are_the_same(photo, tmp_path):
    array = np.asarray(photo)
    path = saved(photo, tmp_path / "a.png")
    for image in (path, str(path), photo, array):
        np.testing.assert_array_equal(to_rgb(image), array)
        assert to_rgb(image).dtype == np.uint8


def test_transparency_lets_white_through_by_hand():
    colours = np.array([[[255, 0, 0, 255], [255, 0, 0, 0], [0, 0, 0, 51], [100, 200, 0, 128]]], dtype=np.uint8)
    wanted = [[RED, WHITE, [204, 204, 204], [177, 227, 127]]]
    assert to_rgb(colours).tolist() == wanted
    assert to_rgb(Image.fromarray(colours, "RGBA")).tolist() == wanted


def test_pillow_mixes_with_white_as_we_do():
    colours = Image.fromarray(noise(64, 64, 4), "RGBA")
    theirs = Image.alpha_composite(Image.new("RGBA", colours.size, (255, 255, 255)), colours).convert("RGB")
    difference = np.abs(to_rgb(colours).astype(int) - np.asarray(theirs).astype(int))
    assert difference.max() <= 1


@pytest.mark.parametrize("mode", ["LA", "PA", "P", "L", "1", "CMYK", "YCbCr", "HSV", "RGBX"])
def test_every_mode_of_pillow_becomes_colours(mode):
    picture = Image.fromarray(noise(5, 3, 3)).convert(mode if mode != "PA" else "P").convert(mode)
    found = to_rgb(picture)
    assert found.shape == (5, 3, 3)
    expected = picture.convert("RGB")  # nothing in it is transparent
    np.testing.assert_array_equal(found, np.asarray(expected))


def test_a_palette_with_a_transparent_colour(tmp_path):
    picture = Image.new("P", (2, 1))
    picture.putpalette([255, 0, 0, 0, 0, 255])
    picture.putpixel((1, 0), 1)
    path = saved(picture, tmp_path / "a.png", transparency=0)
    assert to_rgb(path).tolist() == [[WHITE, BLUE]]


def test_sixteen_bits_become_eight(tmp_path):
    levels = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)
    path = saved(Image.fromarray(levels), tmp_path / "a.png")
    for image in (levels, path):
        assert to_rgb(image)[0, :, 0].tolist() == [0, 1, 128, 255]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_photographs_are_turned_as_exif_says(orientation, tmp_path):
    upright = np.zeros((8, 16, 3), dtype=np.uint8)
    upright[:4, :8], upright[:4, 8:], upright[4:, :8], upright[4:, 8:] = RED, GREEN, BLUE, WHITE
    lying = {
        1: upright,
        2: upright[:, ::-1],
        3: upright[::-1, ::-1],
        4: upright[::-1],
        5: upright.transpose(1, 0, 2),
        6: np.rot90(upright, 1),
        7: upright[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(upright, -1),
    }[orientation]
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = saved(Image.fromarray(np.ascontiguousarray(lying)), tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(to_rgb(path), upright)


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_broken_exif_is_no_reason_to_fail(photo, tmp_path):
    path = saved(photo, tmp_path / "a.png", exif=b"Exif\x00\x00II*\x00\xff\xff\xff\xff")
    np.testing.assert_array_equal(to_rgb(path), np.asarray(photo))


def test_of_a_moving_picture_the_first_frame(tmp_path):
    frames = [Image.new("RGB", (2, 2), colour) for colour in ((255, 0, 0), (0, 255, 0))]
    path = saved(frames[0], tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    assert to_rgb(path)[0, 0].tolist() == RED


def test_arrays_of_every_kind():
    grey = np.array([[0, 255]], dtype=np.uint8)
    wanted = [[[0, 0, 0], WHITE]]
    for array in (grey, grey[..., None], grey > 0, grey / 255, (grey / 255).astype(np.float16), grey.astype(np.int64)):
        assert to_rgb(array).tolist() == wanted
    assert to_rgb(np.full((1, 1, 3), 0.5)).tolist() == [[[128, 128, 128]]]
    assert to_rgb(np.zeros((1, 1, 3), dtype=np.uint8)).shape == (1, 1, 3)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (None, "received NoneType"),
        (3, "received int"),
        ([[0]], "received list"),
        (b"\x89PNG", "received bytes"),
        (np.zeros(4), r"received an array \(4,\)"),
        (np.zeros((3, 224, 224)), r"received an array \(3, 224, 224\).*put the channels last"),
        (np.zeros((2, 2, 2)), r"received an array \(2, 2, 2\)"),
        (np.zeros((0, 4, 3)), r"received an array \(0, 4, 3\)"),
        (np.full((2, 2), 255.0), r"must hold 0 … 1; received 255 … 255: divide by 255"),
        (np.full((2, 2), -0.5), r"must hold 0 … 1; received -0.5"),
        (np.full((2, 2), np.nan), "must hold 0 … 1; received nan"),
        (np.full((2, 2), np.inf), "must hold 0 … 1; received inf"),
        (np.full((2, 2), 256), r"must hold 0 … 255; received 256 … 256"),
        (np.full((2, 2), -1, dtype=np.int8), r"must hold 0 … 255; received -1"),
        (np.full((2, 2), "a"), "received dtype <U1"),
        (np.full((2, 2), 1j), "received dtype complex128"),
        ("no/such/file.png", "'no/such/file.png' must be a file; there is none"),
    ],
)
def test_what_is_no_picture_says_so(image, message):
    with pytest.raises(InputError, match=message):
        to_rgb(image)


@pytest.mark.parametrize("content", [b"", b"these are words, not pixels"])
def test_a_file_of_another_kind_says_so(content, tmp_path):
    (path := tmp_path / "a.png").write_bytes(content)
    with pytest.raises(
        InputError, match=rf"a\.png' must be a picture that Pillow reads; received {len(content)} bytes"
    ):
        to_rgb(path)


@pytest.mark.parametrize("kind", ["png", "jpeg", "gif", "bmp"])
@pytest.mark.parametrize("kept", [0.5, 0.95])
def test_a_file_that_was_cut_short_says_so(kind, kept, tmp_path):
    buffer = io.BytesIO()
    Image.fromarray(noise(64, 64, 3)).save(buffer, kind)
    content = buffer.getvalue()
    (path := tmp_path / f"a.{kind}").write_bytes(content[: int(kept * len(content))])
    with pytest.raises(InputError, match="must be whole; it cannot be read to its end"):
        to_rgb(path)


def test_a_folder_is_no_file(tmp_path):
    with pytest.raises(InputError, match="must be a file; there is none"):
        to_rgb(tmp_path)


@pytest.mark.filterwarnings("ignore:Image size")
@pytest.mark.parametrize("side", [30_000, 12_000])
def test_a_picture_of_too_many_pixels_is_refused_before_it_is_read(side, tmp_path):
    """A PNG whose head promises 900 or 144 million pixels, and nothing behind it."""
    head = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    chunk = b"IHDR" + head
    content = b"\x89PNG\r\n\x1a\n" + struct.pack(">I", len(head)) + chunk + struct.pack(">I", zlib.crc32(chunk))
    content += struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    (path := tmp_path / "a.png").write_bytes(content)
    with pytest.raises(InputError, match=r"no more pixels than PIL\.Image\.MAX_IMAGE_PIXELS"):
        to_rgb(path)


def test_one_pixel_is_a_picture():
    assert to_rgb(np.array([[[1, 2, 3]]], dtype=np.uint8)).tolist() == [[[1, 2, 3]]]


def test_without_pillow_arrays_work_and_files_name_the_extra(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "PIL", None)
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    assert to_rgb(np.zeros((2, 2, 3), dtype=np.uint8)).shape == (2, 2, 3)
    with pytest.raises(MissingExtraError, match=r"embedkit\[image\]"):
        to_rgb(tmp_path / "a.png")
