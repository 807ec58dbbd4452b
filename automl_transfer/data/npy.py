"""Headers of `.npy` files, written and read: NPY format, numpy's enhancement proposal 1."""

from __future__ import annotations

import math
import zipfile
from dataclasses import dataclass

import numpy as np

HEADER_BYTES = 128


def npy_header(shape: tuple[int, ...]) -> bytes:
    """Of a uint8 array, always as long, so that the number of rows can be corrected later."""
    text = repr({"descr": "|u1", "fortran_order": False, "shape": shape})
    body = text.ljust(HEADER_BYTES - 11).encode("ascii") + b"\n"
    return b"\x93NUMPY\x01\x00" + len(body).to_bytes(2, "little") + body


@dataclass(frozen=True)
class Header:
    """What an array inside a zip says about itself, before any of it is read.

    Attributes:
        size: Bytes that the array takes by its shape and type; `width` of one of its values.
        stored: Bytes that the zip has for it.
        objects: Whether it would have to be unpickled.
    """

    shape: tuple[int, ...]
    dtype: str
    kind: str
    size: int
    width: int
    stored: int
    objects: bool


def read_header(archive: zipfile.ZipFile, member: str) -> Header:
    """Read the header of an array.

    Raises:
        ValueError: It is none. Foreign headers may raise anything else too (`files.reading`).
    """
    with archive.open(member) as stream:
        version = np.lib.format.read_magic(stream)
        readers = {
            (1, 0): np.lib.format.read_array_header_1_0,
            (2, 0): np.lib.format.read_array_header_2_0,
        }
        # Version 3 only has other names of fields, which no array of images has.
        if version not in readers:
            raise ValueError(f"the array {member} is of the NPY version {version[0]}.{version[1]}")
        shape, _, dtype = readers[version](stream)
        begin = stream.tell()
    if not all(isinstance(side, int) and side >= 0 for side in shape):
        raise ValueError(f"the array {member} has the shape {shape}")
    return Header(
        shape=tuple(int(side) for side in shape),
        dtype=str(dtype),
        kind=dtype.kind,
        size=math.prod(shape) * dtype.itemsize,
        width=dtype.itemsize,
        stored=archive.getinfo(member).file_size - begin,
        objects=dtype.hasobject,
    )
