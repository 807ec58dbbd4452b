"""Freed memory stays with a process that runs networks."""

from __future__ import annotations

import ctypes
import functools
import os

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of glibc's malloc.h
_KEPT, _LARGEST_FROM_HEAP = 1 << 30, 32 << 20
_OF_THE_USER = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_TOP_PAD_", "GLIBC_TUNABLES")


@functools.cache
def keep_freed_memory() -> bool:
    """Let glibc keep up to 1 GiB of freed memory for what is allocated next; whether it does.

    A step takes and frees the same memory as the one before. By default glibc gives it back to the system in
    between, or not, depending on what happens to lie behind it; then every step pays for tens of thousands
    of page faults, a quarter of its time (`benchmarks/steps.py --only allocator`). This is a setting of the
    whole process; where the user made one through the environment, that one holds.
    """
    if any(name in os.environ for name in _OF_THE_USER):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):  # another system's C library
        return False
    return bool(mallopt(_M_TRIM_THRESHOLD, _KEPT)) and bool(mallopt(_M_MMAP_THRESHOLD, _LARGEST_FROM_HEAP))
