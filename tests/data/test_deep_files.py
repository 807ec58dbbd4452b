"""Image files of more than 8 bits: one range for a dataset (D6); and good pixels beside a large text (D7)."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from image_files import load, noise
from PIL import Image

from automl_transfer.data.decode import decode_image, header
from automl_transfer.data.deep_pixels import SIXTEEN_BITS
from automl_transfer.domain.pixel_range import PixelRange
from automl_transfer.errors import DataError

TWELVE = PixelRange(low=0.0, high=4095.0, word="12 bits")
CHANNELS = {"gray": None, "gray alpha": 2, "rgb": 3, "rgba": 4}


def chunk(name: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))


def write_png(path: Path, numbers: np.ndarray, *others: bytes) -> None:
    """A PNG of 16 bits a number; Pillow cannot write colour ones."""
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[1 if numbers.ndim == 2 else numbers.shape[2]]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in numbers)
    head = struct.pack(">IIBBBBB", numbers.shape[1], numbers.shape[0], 16, kind, 0, 0, 0)
    parts = [chunk(b"IHDR", head), *others, chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")]
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))


def tiff(order: str, **options: object) -> Callable[[Path, np.ndarray], None]:
    def write(path: Path, numbers: np.ndarray) -> None:
        colour = {} if numbers.ndim == 2 else {"photometric": "rgb"}
        extra = {"extrasamples": ["unassalpha"]} if numbers.ndim == 3 and numbers.shape[2] == 4 else {}
        tifffile.imwrite(path, numbers, byteorder=order, **colour, **extra, **options)

    return write


WRITERS = {
    "png": ("x.png", write_png),
    "little-endian tiff": ("x.tif", tiff("<")),
    "big-endian tiff": ("x.tif", tiff(">")),
    "packed tiff": ("x.tif", tiff("<", compression="zlib")),
    "packed big-endian tiff": ("x.tif", tiff(">", compression="zlib")),
}


def twelve_bits(seed: int, channels: int | None, high: int = 4095, side: int = 32) -> np.ndarray:
    """Numbers up to `high`, opaque where there is transparency; no other seed gives the same."""
    shape = (side, side) if channels is None else (side, side, channels)
    numbers = np.random.default_rng(seed).integers(0, high + 1, shape).astype(np.uint16)
    numbers.flat[0] = high
    if channels in (2, 4):
        numbers[..., -1] = 4095
    return numbers


@pytest.mark.parametrize("channels", CHANNELS.values(), ids=CHANNELS.keys())
@pytest.mark.parametrize("writer", WRITERS.values(), ids=WRITERS.keys())
def test_twelve_bits_in_sixteen_are_scaled_by_their_range_d6(
    writer: tuple[str, Callable[[Path, np.ndarray], None]], channels: int | None, tmp_path: Path
) -> None:
    name, write = writer
    if channels == 2 and name != "x.png":
        pytest.skip("Pillow does not open gray with transparency in a TIFF of 16 bits")
    numbers = twelve_bits(0, channels)
    write(tmp_path / name, numbers)
    colour = numbers[..., None] if channels is None else numbers[..., : 1 if channels == 2 else 3]
    expected = np.broadcast_to(np.rint(colour / 4095 * 255), (32, 32, 3))
    found = decode_image(tmp_path / name, channels=3, resolution=32, pixel_range=TWELVE)
    assert np.array_equal(found, expected)
    as_sixteen = decode_image(tmp_path / name, channels=3, resolution=32, pixel_range=SIXTEEN_BITS)
    if channels not in (2, 4):
        assert np.array_equal(as_sixteen, np.broadcast_to(np.rint(colour / 65535 * 255), (32, 32, 3)))


def make_deep_folder(root: Path, highs: tuple[int, ...]) -> Path:
    for number in range(12):
        folder = root / "ab"[number % 2]
        folder.mkdir(parents=True, exist_ok=True)
        write_png(folder / f"{number}.png", twelve_bits(number, None, highs[number % len(highs)]))
    return root


def test_a_range_is_judged_once_for_all_images_of_a_dataset_d6(tmp_path: Path) -> None:
    loaded = load(make_deep_folder(tmp_path / "deep", (4095, 100, 900)), tmp_path / "cache", resolution=32)
    assert loaded.task.pixel_range == TWELVE
    for key, image in zip(loaded.keys, loaded.images, strict=True):
        number = int(Path(key).stem)
        expected = np.rint(twelve_bits(number, None, (4095, 100, 900)[number % 3]) / 4095 * 255)
        assert np.array_equal(image[..., 0], expected)
    again = load(tmp_path / "deep", tmp_path / "cache", resolution=32)  # from the cache
    assert again.task == loaded.task


@pytest.mark.parametrize(
    ("high", "word"), [(255, "8 bits"), (1000, "10 bits"), (16383, "14 bits"), (16384, "16 bits")]
)
def test_the_smallest_usual_range_is_taken(tmp_path: Path, high: int, word: str) -> None:
    loaded = load(make_deep_folder(tmp_path / "deep", (high,)), tmp_path / "cache")
    assert loaded.task.pixel_range is not None
    assert loaded.task.pixel_range.word == word


def test_ordinary_files_have_no_range_and_stay_as_they_are_beside_deep_ones(tmp_path: Path) -> None:
    root = make_deep_folder(tmp_path / "mixed", (4095,))
    noise(1, 32, 1).save(root / "a" / "plain.png")
    loaded = load(root, tmp_path / "cache", resolution=32)
    assert loaded.task.pixel_range == TWELVE
    plain = loaded.images[loaded.keys.index("a/plain.png")][..., 0]
    assert np.array_equal(plain, np.asarray(noise(1, 32, 1)))
    for path in root.rglob("*.png"):
        if path.name != "plain.png":
            noise(int(path.stem), 32, 1).save(path)
    assert load(root, tmp_path / "cache", resolution=32).task.pixel_range is None


def test_a_range_can_be_said(tmp_path: Path) -> None:
    root = make_deep_folder(tmp_path / "deep", (4095,))
    loaded = load(f"{root}?range=1000..3000", tmp_path / "cache", resolution=32)
    assert loaded.task.pixel_range == PixelRange(low=1000.0, high=3000.0, word="1000 to 3000")
    image = loaded.images[loaded.keys.index("a/0.png")][..., 0]
    expected = np.rint((np.clip(twelve_bits(0, None).astype(float), 1000, 3000) - 1000) / 2000 * 255)
    assert np.array_equal(image, expected)
    with pytest.raises(DataError, match=r"range must read LOW\.\.HIGH"):
        load(f"{root}?range=12", tmp_path / "cache")


def test_ranges_that_fit_nothing_are_one_refusal(tmp_path: Path) -> None:
    root = make_deep_folder(tmp_path / "deep", (4095,))
    for name in ("a", "b"):
        Image.fromarray(np.random.default_rng(0).random((32, 32), np.float32)).save(root / name / "f.tif")
    with pytest.raises(DataError, match="deep: files of floats must be scaled like the others, 12 bits"):
        load(root, tmp_path / "cache")
    Image.fromarray(np.full((8, 8), 70_000, np.int32)).save(root / "a" / "wide.tif")
    with pytest.raises(DataError, match=r"deep: .* must lie in a usual range .*\?range=LOW\.\.HIGH"):
        load(root, tmp_path / "cache", on_bad_image="skip")


def test_prediction_refuses_numbers_beyond_the_range_of_training(tmp_path: Path) -> None:
    write_png(tmp_path / "bright.png", twelve_bits(0, None, 60_000))
    with pytest.raises(DataError, match=r"must lie in the range of the others, 12 bits .*got .* to 60000"):
        decode_image(tmp_path / "bright.png", channels=1, resolution=32, pixel_range=TWELVE)


def test_colour_of_sixteen_bits_in_planes_is_refused_instead_of_read_wrongly(tmp_path: Path) -> None:
    planes = np.moveaxis(twelve_bits(0, 3), 2, 0)
    tifffile.imwrite(tmp_path / "x.tif", planes, photometric="rgb", planarconfig="separate")
    with pytest.raises(DataError, match="in separate planes is not read: save it interleaved"):
        decode_image(tmp_path / "x.tif", channels=3, resolution=32)
    inks = np.concatenate(
        [twelve_bits(0, 3), twelve_bits(1, 1).reshape(*twelve_bits(0, 3).shape[:2], 1)], axis=2
    )
    tifffile.imwrite(tmp_path / "inks.tif", inks, photometric="separated")
    with pytest.raises(DataError, match=r"16-bit colour stored as CMYK;16\w is not read"):
        decode_image(tmp_path / "inks.tif", channels=3, resolution=32)


LARGE = {
    "2 MB of text": chunk(b"tEXt", b"Comment\0" + b"x" * 2_000_000),
    "packed text of 4 MB": chunk(b"zTXt", b"Comment\0\0" + zlib.compress(b"x" * 4_000_000)),
    "international text": chunk(b"iTXt", b"Comment\0\0\0\0\0" + b"x" * 2_000_000),
    "a colour profile of 3 MB": chunk(b"iCCP", b"icc\0\0" + zlib.compress(bytes(3_000_000))),
    "a damaged colour profile": chunk(b"iCCP", b"icc\0\0no"),
}


@pytest.mark.parametrize("after", [False, True], ids=["before the pixels", "after them"])
@pytest.mark.parametrize("large", LARGE.values(), ids=LARGE.keys())
def test_a_png_with_a_large_text_or_profile_is_used_d7(tmp_path: Path, large: bytes, after: bool) -> None:
    path = tmp_path / "a" / "x.png"
    path.parent.mkdir()
    noise(0).save(path)
    plain = path.read_bytes()
    expected = decode_image(path, channels=3, resolution=24)
    place = plain.index(b"IEND") - 4 if after else plain.index(b"IDAT") - 4
    path.write_bytes(plain[:place] + large + plain[place:])
    assert np.array_equal(decode_image(path, channels=3, resolution=24), expected)
    assert header(path) == (False, 24, 24)


def test_a_text_that_says_which_side_is_up_still_counts_d7(tmp_path: Path) -> None:
    path = tmp_path / "x.png"
    noise(0).save(path)
    plain = path.read_bytes()
    upright = decode_image(path, channels=3, resolution=24)
    xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/"><r tiff:Orientation="3"/></x:xmpmeta>'
    texts = chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp) + LARGE["2 MB of text"]
    place = plain.index(b"IDAT") - 4
    path.write_bytes(plain[:place] + texts + plain[place:])
    assert np.array_equal(decode_image(path, channels=3, resolution=24), upright[::-1, ::-1])


@pytest.mark.parametrize("cut", [0, 4, 8, 12, 20, 40, 60])
def test_a_broken_png_is_one_clear_error(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "x.png"
    write_png(path, twelve_bits(0, 3), LARGE["2 MB of text"])
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(DataError, match="an image must be readable"):
        decode_image(path, channels=3, resolution=24)
