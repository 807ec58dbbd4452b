"""What must hold for any folder, table or array: a task that adds up, or one clear error.

`python tests/cases/fuzz.py --minutes 10` looks for exceptions to that; the suite takes a short look.
"""

from __future__ import annotations

import io
from collections import Counter
from pathlib import Path

import numpy as np
from hypothesis import strategies as st
from PIL import Image

from automl_transfer.data.task import LoadedTask, load_task
from automl_transfer.domain.spec import TaskSpec
from automl_transfer.domain.task import SPLITS
from automl_transfer.errors import ConfigurationError, DataError

WHY: Counter[str] = Counter()
SEEN: Counter[str] = Counter()
"""Examples by kind and end."""


def picture(kind: str, seed: int) -> bytes:
    """An image file of some kind, or what is left of one."""
    rng = np.random.default_rng(seed)
    stream = io.BytesIO()
    eight = rng.integers(0, 256, (6, 5, 4), dtype=np.uint8)
    if kind == "deep":
        Image.fromarray(rng.integers(0, 4096, (6, 5), dtype=np.uint16)).save(stream, "PNG")
    elif kind == "float":
        Image.fromarray(rng.random((6, 5), dtype=np.float32)).save(stream, "TIFF")
    elif kind == "film":
        frames = [Image.fromarray(eight[..., n]) for n in range(3)]
        frames[0].save(stream, "GIF", save_all=True, append_images=frames[1:])
    elif kind == "blank":
        Image.new("RGBA", (4, 4), (seed % 256, 0, 0, 0)).save(stream, "PNG")
    elif kind == "thin":
        Image.new("L", (1, 300), seed % 256).save(stream, "PNG")
    elif kind == "jpeg":
        Image.fromarray(eight[..., :3]).save(stream, "JPEG")
    else:
        Image.fromarray(eight[..., : {"gray": 1, "alpha": 4}.get(kind, 3)].squeeze()).save(stream, "PNG")
    raw = stream.getvalue()
    if kind == "cut":
        return raw[: seed % len(raw)]
    if kind == "flipped":
        at = seed % len(raw)
        return raw[:at] + bytes([raw[at] ^ 255]) + raw[at + 1 :]
    return raw


KINDS = st.sampled_from(
    ["colour"] * 6
    + [
        "gray",
        "alpha",
        "jpeg",
        "deep",
        "float",
        "film",
        "blank",
        "thin",
        "cut",
        "flipped",
        "none",
        "text",
        "heic",
    ]
)
OTHERS = {"none": b"", "text": b"words", "heic": b"\0\0\0\x18ftypheic"}


def judge(kind: str, spec: TaskSpec, cache: Path, seen: int | None) -> LoadedTask | None:
    """Load a task, and check all that is said of it; None where it is refused in words."""
    loaded: LoadedTask | None
    try:
        loaded = load_task(spec, cache_root=cache)
    except (DataError, ConfigurationError) as error:
        refused = str(error)
        SEEN[f"{kind}: refused"] += 1
        loaded = None
    if loaded is None:
        first, *rest = refused.splitlines()
        assert first.strip(), "an error without words"
        assert len(rest) <= 21, refused  # twenty images, and how many more
        assert len(first) < 4000, refused
        WHY[f"{kind}: {first[:60]}"] += 1
        return None
    task, account = loaded.task, loaded.task.account
    assert account is not None
    sizes = task.splits
    assert account.used == sizes.train + sizes.validation + sizes.test
    assert account.seen == account.used + sum(each.files for each in account.left_out)
    assert seen is None or account.seen == seen, (account, seen)
    for each in account.left_out:
        assert sum(each.suffixes.values()) in (0, each.files), each
    rows = [row for split in SPLITS for row in loaded.indices[split]]
    assert len(rows) == len(set(rows)) == account.used
    assert len(loaded.keys) == len(set(loaded.keys)) == len(loaded.labels)
    assert len(task.classes) == len(set(task.classes)) >= 2
    assert sizes.train > 0
    assert sizes.validation > 0
    assert {int(loaded.labels[row]) for row in loaded.indices["train"]} == set(range(len(task.classes)))
    assert np.isfinite([*task.channel_mean, *task.channel_std]).all()
    SEEN[f"{kind}: used"] += 1
    return loaded


TAME = st.sampled_from([True, True, True, False, False])
"""Whether an example keeps to what is usual in all but a few things, so that it is likely to be used."""
