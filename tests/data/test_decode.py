"""Every kind of image file becomes the pixels that a person sees."""

from __future__ import annotations

import io
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from image_files import noise
from PIL import Image, ImageFile
from PIL.PngImagePlugin import PngInfo

from automl_transfer.data.decode import decode_image, read_image
from automl_transfer.data.walk import find_images
from automl_transfer.errors import DataError


def decoded(
    image: Image.Image, suffix: str = ".png", *, channels: int = 3, side: int = 8, **save: object
) -> np.ndarray:
    stream = io.BytesIO()
    image.save(stream, format=Image.registered_extensions()[suffix], **save)
    return decode_image(stream.getvalue(), channels=channels, resolution=side)


def test_gray_becomes_equal_channels() -> None:
    pixels = decoded(Image.new("L", (8, 8), 77))
    assert pixels.shape == (8, 8, 3)
    assert (pixels == 77).all()


def test_rgb_to_gray_uses_luma_weights() -> None:
    assert (decoded(Image.new("RGB", (8, 8), (255, 0, 0)), channels=1) == 76).all()


def test_palette_and_one_bit() -> None:
    red = Image.new("RGB", (8, 8), (255, 0, 0)).convert("P", palette=Image.Palette.ADAPTIVE)
    assert (decoded(red) == (255, 0, 0)).all()
    assert (decoded(Image.new("1", (8, 8), 1)) == 255).all()


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparent_is_white(mode: str) -> None:
    empty = Image.new(mode, (8, 8), (0,) * len(mode))
    assert (decoded(empty) == 255).all()


def test_half_transparent_black_is_mid_gray() -> None:
    assert abs(int(decoded(Image.new("RGBA", (8, 8), (0, 0, 0, 128)))[0, 0, 0]) - 127) <= 1


def test_transparent_palette_index_is_white() -> None:
    image = Image.new("P", (8, 8), 0)
    image.putpalette([0, 0, 0, 255, 0, 0])
    assert (decoded(image, transparency=0) == 255).all()


def test_cmyk_jpeg() -> None:
    pixels = decoded(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), ".jpg", quality=95)
    assert pixels[0, 0, 0] > 240
    assert pixels[0, 0, 1:].max() < 15


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_sixteen_bit_scaling_is_fixed(suffix: str) -> None:
    values = np.zeros((8, 8), np.uint16)
    values[0, :4] = [0, 257, 32896, 65535]
    assert decoded(Image.fromarray(values), suffix, channels=1)[0, :4, 0].tolist() == [0, 1, 128, 255]
    # A dark image stays dark: nothing is stretched to the range of the image.
    assert decoded(Image.fromarray(np.full((8, 8), 20560, np.uint16)), suffix, channels=1).max() == 80
    assert decoded(Image.fromarray(np.zeros((8, 8), np.uint16)), suffix, channels=1).max() == 0


@pytest.mark.parametrize("high", [4095, 16383])
def test_d6_fewer_than_sixteen_bits_are_not_too_dark_to_a_model_of_eight(high: int) -> None:
    values = np.linspace(0, high, 64).reshape(8, 8).astype(np.uint16)
    with pytest.raises(DataError, match=rf"reach only {high} may be of 10, 12 or 14 bits .*scale them"):
        decoded(Image.fromarray(values), ".png", channels=1)


def test_float_tiff_in_zero_to_one() -> None:
    assert (decoded(Image.fromarray(np.full((8, 8), 0.5, np.float32)), ".tif", channels=1) == 128).all()


@pytest.mark.parametrize("value", [2.0, -0.5, np.nan])
def test_float_tiff_outside_is_refused(value: float) -> None:
    with pytest.raises(DataError, match=r"must (lie in \[0, 1\]|be finite)"):
        decoded(Image.fromarray(np.full((8, 8), value, np.float32)), ".tif")


def test_all_eight_exif_orientations_show_the_same_picture() -> None:
    upright = np.zeros((32, 32, 3), np.uint8)
    upright[:16, :16] = 255  # one bright corner, top left
    upright[:16, 16:] = (255, 0, 0)
    undo = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}
    for orientation, transpose in undo.items():
        image = Image.fromarray(upright)
        stored = image if transpose is None else image.transpose(Image.Transpose(transpose))
        exif = Image.Exif()
        exif[0x0112] = orientation
        pixels = decoded(stored, ".png", side=32, exif=exif.tobytes())
        np.testing.assert_array_equal(pixels, upright, err_msg=f"orientation {orientation}")


def test_exif_that_an_older_program_kept_as_text_turns_a_png_as_well() -> None:
    wide = Image.fromarray(np.arange(8 * 16, dtype=np.uint8).reshape(8, 16))
    exif = Image.Exif()
    exif[0x0112] = 6
    block = exif.tobytes()
    for compressed in (False, True):
        texts = PngInfo()
        texts.add_text("Raw profile type exif", f"\nexif\n{len(block):8d}\n{block.hex()}\n", zip=compressed)
        texts.add_text("Comment", "x" * 3_000_000)  # more than Pillow reads
        stream = io.BytesIO()
        wide.save(stream, "PNG", pnginfo=texts)
        found = read_image(stream.getvalue(), 1, 8)
        assert (found.height, found.width) == (16, 8)
        np.testing.assert_array_equal(
            found.pixels, decoded(wide.transpose(Image.Transpose(4)), ".png", side=8)[..., :1]
        )


def test_the_whole_image_is_visible() -> None:
    wide = np.zeros((10, 100, 3), np.uint8)
    wide[:, :5] = 255
    wide[:, -5:] = 255
    pixels = decoded(Image.fromarray(wide), side=20)
    assert pixels.shape == (20, 20, 3)
    assert pixels[:, 0].min() > 200
    assert pixels[:, -1].min() > 200
    assert pixels[:, 10].max() < 50


def test_downscaling_is_antialiased() -> None:
    stripes = np.zeros((64, 64), np.uint8)
    stripes[:, ::2] = 255
    pixels = decoded(Image.fromarray(stripes), channels=1, side=8)
    assert abs(pixels.astype(int) - 127).max() < 30


def test_animation_gives_its_first_frame() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    pixels = decoded(frames[0], ".gif", save_all=True, append_images=frames[1:])
    assert (pixels == (255, 0, 0)).all()


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".bmp", ".tif"])
@pytest.mark.parametrize("kept", [0.5, 0.9])
def test_truncated_files_are_refused(suffix: str, kept: float, tmp_path: Path) -> None:
    path = tmp_path / f"cut off{suffix}"
    noise(1, 200).save(path)
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    with pytest.raises(DataError, match=rf"'cut off\{suffix}'"):
        decode_image(path, channels=3, resolution=16)
    assert ImageFile.LOAD_TRUNCATED_IMAGES is False


@pytest.mark.parametrize(
    "content", [b"", b"\x00", b"not an image", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"\x89PNG\r\n\x1a\n"]
)
def test_other_content_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"must be readable, got 'x.png'"):
        decode_image(path, channels=3, resolution=16)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"gone\.png"):
        decode_image(tmp_path / "gone.png", channels=3, resolution=16)


@pytest.mark.parametrize("side", [9_500, 60_000])
def test_decompression_bombs_are_refused(side: int) -> None:
    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    bomb = (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    )
    with pytest.raises(DataError, match="must have at most 89,478,485 pixels"):
        decode_image(bomb, channels=1, resolution=16)


def test_large_jpeg_is_close_to_full_decoding() -> None:
    """JPEG is decoded at a fraction of its size where that is enough; it must not show."""
    ramp = np.linspace(0, 255, 512).astype(np.uint8)
    image = Image.fromarray(
        np.stack([np.tile(ramp, (512, 1)), np.tile(ramp[:, None], (1, 512))] * 2, 2)[:, :, :3]
    )
    difference = decoded(image, ".jpg", quality=95, side=32).astype(int) - decoded(image, side=32)
    assert abs(difference).mean() < 2.0


def test_find_images_ignores_what_is_not_an_image(tmp_path: Path) -> None:
    for name in (
        "b.JPG",
        "ä ö.png",
        "图片.webp",
        "Thumbs.db",
        ".DS_Store",
        ".hidden.png",
        "notes.txt",
        "._a.png",
    ):
        (tmp_path / name).touch()
    for name in (".git/x.png", "__MACOSX/x.png", "sub/deep/y.tiff"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    found = [path.relative_to(tmp_path).as_posix() for path in find_images(tmp_path)]
    assert found == sorted(["b.JPG", "ä ö.png", "图片.webp", "sub/deep/y.tiff"])


def test_symlink_loops_end_and_broken_links_are_listed(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x.png").touch()
    (tmp_path / "a" / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "a" / "self").symlink_to("self")
    os.mkfifo(tmp_path / "a" / "pipe.png")  # reading it would wait for ever
    (tmp_path / "a" / "gone.png").symlink_to(tmp_path / "nowhere.png")
    found = [path.relative_to(tmp_path).as_posix() for path in find_images(tmp_path)]
    assert found == ["a/gone.png", "a/x.png"]


def test_find_images_names_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere"):
        find_images(tmp_path / "nowhere")
