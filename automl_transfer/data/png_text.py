"""PNG files without their texts and colour profiles, which Pillow limits to a megabyte each.

Both are none of our business, and a file with a large one has good pixels all the same.
"""

from __future__ import annotations

import io
from typing import BinaryIO

_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_UNUSED = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")
_TURNING = {
    b"iTXt": b"XML:com.adobe.xmp\0\0",
    b"tEXt": b"Raw profile type exif\0",
    b"zTXt": b"Raw profile type exif\0",
}
"""How texts begin that may say which side is up: XMP, and EXIF as ImageMagick kept it."""

MOST_XMP = 1 << 20


def without_text(stream: BinaryIO) -> BinaryIO:
    """The same stream, at its beginning; or, where there is something to leave out, a shorter copy.

    What is no whole PNG is handed on as it is: whoever decodes it says what is wrong.
    """
    kept: list[tuple[int, int]] = []
    dropped = False
    start = stream.read(len(_SIGNATURE)) == _SIGNATURE and len(_SIGNATURE)
    while start:
        head = stream.read(8)
        if len(head) < 8:
            break
        size = int.from_bytes(head[:4], "big")
        if head[4:] in _UNUSED and not _may_turn(stream, head[4:], size):
            dropped = True
        else:
            kept.append((start, 12 + size))
        start += 12 + size
        stream.seek(start)
    stream.seek(0)
    if not dropped:
        return stream
    parts = [_SIGNATURE]
    for place, size in kept:
        stream.seek(place)
        parts.append(stream.read(size))
    return io.BytesIO(b"".join(parts))


def _may_turn(stream: BinaryIO, kind: bytes, size: int) -> bool:
    begin = _TURNING.get(kind)
    return begin is not None and size <= MOST_XMP and stream.read(len(begin)) == begin
