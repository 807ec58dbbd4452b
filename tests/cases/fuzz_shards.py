"""WebDataset shards made at random: members with odd names and labels, in tar files with damage."""

from __future__ import annotations

import contextlib
import io
import tarfile
import tempfile
from pathlib import Path
from typing import Any

from fuzz_judging import KINDS, OTHERS, judge, picture
from hypothesis import strategies as st

from automl_transfer.domain.spec import TaskSpec

STEMS = st.sampled_from(
    ["000", "001", "002", "a/000", "../000", "/etc/x", ".", "", "é", "\x1b[1m", "x" * 120, "a b", "./003"]
)
ENDINGS = st.sampled_from(
    ["png", "PNG", "jpg", "cls", "cls.txt", "label", "class", "json", "txt", "seg.png", "", "__key__"]
)
LABELS = st.one_of(
    st.sampled_from(
        [b"0", b"1", b"2", b"cat", b"", b" dog\n", b"9" * 20, b"-1", b"1.0", b"\xff\xfe", b"a\nb", b"\x1b[1m", b"a" * 400,
         b'{"label": 1}', b'{"label": "cat"}', b'{"cls": null}', b'{"label": true}', b'{"label": [0]}', b'{"class": 1e999}',
         b"[]", b"{", b"null", b'{"label": "\\ud800"}', b'{"label": ' + b"9" * 5000 + b"}", b"[" * 3000, b"NaN"]
    ),
    st.binary(max_size=20),
)  # fmt: skip
MEMBERS = st.lists(
    st.tuples(STEMS, ENDINGS, KINDS, LABELS, st.sampled_from([*[tarfile.REGTYPE] * 6, *b"\x31\x32\x33\x35"])),
    max_size=8,
)  # fmt: skip
SHARDS = st.fixed_dictionaries(
    {
        "good": st.lists(st.integers(0, 2), min_size=0, max_size=12),
        "members": MEMBERS,
        "names": st.sampled_from([["s.tar"], ["train-0.tar", "test-0.tar"], ["train.tar", "x.tar"], ["s-000.TAR", "s-001.tar"]]),
        "ending": st.sampled_from(["cls", "json", "label"]),
        "classes": st.sampled_from([None, None, "cat\ndog\nemu\n", "cat\n", "", "cat\ncat\ndog\n", b"\xff\xfe\n", "\x1b\nb\nc\n"]),
        "format": st.sampled_from([tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]),
        "damage": st.tuples(st.integers(-60000, 20000), st.binary(min_size=1, max_size=8)),
        "cut": st.integers(-60000, 20000),
    }
)  # fmt: skip


def some_shards(tame: bool, made: dict[str, Any]) -> None:
    """Each sample is used with the label that lies beside its image, or is counted, or all is refused in words."""
    if tame:
        good = made["good"] if len(set(made["good"][:6])) > 1 else [0, 1] * 6
        made = {**made, "good": good, "members": [], "damage": (-1, b""), "cut": -1, "classes": None}
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / "s"
        root.mkdir()
        for part, name in enumerate(made["names"]):
            with tarfile.open(root / name, "w", format=made["format"]) as stream:
                for number, label in enumerate(made["good"]):
                    if number % len(made["names"]) != part:
                        continue
                    content = {"json": f'{{"label": {label}}}'}.get(made["ending"], str(label)).encode()
                    _add(stream, f"g{number:03d}.png", picture("colour", 3000 + number), tarfile.REGTYPE)
                    _add(stream, f"g{number:03d}.{made['ending']}", content, tarfile.REGTYPE)
                for number, (stem, ending, kind, label, what) in enumerate(made["members"]):
                    image = OTHERS[kind] if kind in OTHERS else picture(kind, number)
                    content = image if ending.lower() in ("png", "jpg", "seg.png") else label
                    _add(stream, f"{stem}.{ending}", content, what)
            raw = (root / name).read_bytes()
            at, more = made["damage"]
            if at >= 0:
                raw = raw[:at] + more + raw[at + len(more) :]
            if made["cut"] >= 0:
                raw = raw[: made["cut"]]
            (root / name).write_bytes(raw)
        if made["classes"] is not None:
            classes = made["classes"]
            (root / "classes.txt").write_bytes(classes if isinstance(classes, bytes) else classes.encode())
        spec = TaskSpec(dataset=str(root), resolution=8, on_bad_image="skip")
        loaded = judge("shards", spec, Path(place) / "c", None)
        if tame and loaded is not None:
            for key, label in zip(loaded.keys, loaded.labels, strict=True):
                number = int(key.rpartition("/")[2][1:])
                assert loaded.task.classes[label] == str(made["good"][number]), key


def _add(stream: tarfile.TarFile, name: str, content: bytes, what: Any) -> None:
    member = tarfile.TarInfo(name)
    member.type = what if isinstance(what, bytes) else bytes([what])
    member.linkname = "nowhere"
    member.size = len(content) if member.type == tarfile.REGTYPE else 0
    with contextlib.suppress(ValueError):  # a name too long for the format: no such member
        stream.addfile(member, io.BytesIO(content[: member.size]))
