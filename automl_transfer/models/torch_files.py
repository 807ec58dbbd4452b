"""What a file of torch.save says it holds, before any of it is loaded.

`torch.load(weights_only=True)` runs no code, but it reserves what a file asks for: a kilobyte can ask for
gigabytes. A file that torch wrote never does: its records lie uncompressed, and a state dict needs tensors.
"""

from __future__ import annotations

import pickletools
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from automl_transfer.errors import SourceError

MOST_CONTENTS = 32 << 20
"""Bytes of the pickle that names a file's tensors."""
_LEGACY_PICKLES = 5
"""In front of the numbers of a file of the older format."""


def check_declared(path: Path, *, archive: bool) -> None:
    """Refuse a file that asks for more memory than its tensors take.

    Raises:
        SourceError: It does.
    """
    if not archive:
        with path.open("rb") as stream:
            for _ in range(_LEGACY_PICKLES):
                if stream.peek(1):
                    _check_names(pickletools.genops(stream), path)
        return
    with zipfile.ZipFile(path) as records:
        declared = sum(record.file_size for record in records.infolist())
        size = path.stat().st_size
        if declared > size:
            raise SourceError(
                f"a checkpoint's records must lie uncompressed, as torch.save writes them, {path} has "
                f"{size:,} bytes and would unpack to {declared:,}"
            )
        for record in records.infolist():
            if record.filename.endswith("/data.pkl") or record.filename == "data.pkl":
                if record.file_size > MOST_CONTENTS:
                    raise SourceError(
                        f"a checkpoint must name its tensors in at most {MOST_CONTENTS:,} bytes, {path} "
                        f"takes {record.file_size:,}"
                    )
                with records.open(record) as stream:
                    _check_names(pickletools.genops(stream), path)


def _check_names(pickled: Iterable[tuple[pickletools.OpcodeInfo, Any, int | None]], path: Path) -> None:
    """Of what may be called without running code, two things make bytes of any number."""
    texts: list[str] = []
    for opcode, argument, _ in pickled:
        name = opcode.name
        if name == "GLOBAL":
            texts = str(argument).split(" ")
        elif "UNICODE" in name or "STRING" in name:
            texts.append(str(argument))
        if name in ("GLOBAL", "STACK_GLOBAL") and ("bytearray" in texts or "_codecs" in texts):
            raise SourceError(
                f"a checkpoint must hold tensors only, {path} also makes bytes: save the network's "
                "state_dict() alone"
            )
