"""The header of a uint8 `.npy` file of fixed length, so that the number of rows can be corrected later."""

from __future__ import annotations

HEADER_BYTES = 128


def npy_header(shape: tuple[int, ...]) -> bytes:
    """NPY format 1.0 (numpy's enhancement proposal 1): magic, version, length, a padded dictionary."""
    text = repr({"descr": "|u1", "fortran_order": False, "shape": shape})
    body = text.ljust(HEADER_BYTES - 11).encode("ascii") + b"\n"
    return b"\x93NUMPY\x01\x00" + len(body).to_bytes(2, "little") + body
