"""A corpus of hostile weights and arrays, made by code; each file is tried in a process of its own.

    python tests/models/hostile.py

A file is *executed* where its code ran (it would make a file), a *crash* where its process died, took too long,
or raised anything but one of our errors, and *taken* where it was used. Memory is what the child took at its
peak above a child that tried nothing.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import pickle
import resource
import signal
import struct
import sys
import tempfile
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save

from automl_transfer.data.task import load_task
from automl_transfer.domain.spec import TaskSpec
from automl_transfer.errors import UserError
from automl_transfer.models.architectures import create_network
from automl_transfer.models.registry import get_source

ARCHITECTURE = "timm/test_efficientnet"
SECONDS = 60
"""A child that takes longer has crashed; none takes more than about one."""
MARKER = "ran"
Maker = Callable[[Path], None]


class Touch:
    """Makes a file when it is unpickled."""

    def __init__(self, marker: Path, how: int = 0) -> None:
        self.marker, self.how = marker, how

    def __reduce__(self) -> tuple[Any, ...]:
        name = str(self.marker)
        ways: tuple[tuple[Any, ...], ...] = (
            (os.system, (f"touch {name}",)),
            (open, (name, "w")),
            (exec, (f"open({name!r}, 'w')",)),
            (eval, (f"__import__('os').mkdir({name!r})",)),
        )
        return ways[self.how]


class Calls:
    """Calls something harmless in itself with arguments that are not."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


def weights() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return dict(create_network(ARCHITECTURE).state_dict())


STATE = weights()


def saved(content: Any, **options: Any) -> bytes:
    stream = io.BytesIO()
    torch.save(content, stream, **options)
    return stream.getvalue()


def zipped(source: bytes, change: Callable[[zipfile.ZipFile, str, bytes], None]) -> bytes:
    """A torch archive, written again record by record."""
    stream = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(source)) as old, zipfile.ZipFile(stream, "w") as new:
        for name in old.namelist():
            change(new, name, old.read(name))
    return stream.getvalue()


def header(fields: dict[str, Any], body: bytes = b"", length: int | None = None) -> bytes:
    """A safetensors file with this header."""
    text = json.dumps(fields).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + body


def tensor(shape: list[int], begin: int, end: int, dtype: str = "F32") -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def npy(shape: str, body: bytes = b"", descr: str = "'|u1'", length: int | None = None) -> bytes:
    """An .npy file with this header."""
    text = f"{{'descr': {descr}, 'fortran_order': False, 'shape': {shape}, }}".encode()
    text += b" " * (-(10 + len(text) + 1) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(text) if length is None else length) + text + body


def archive(members: dict[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", method) as found:
        for name, content in members.items():
            found.writestr(name, content)
    return stream.getvalue()


def lying(content: bytes, sizes: int) -> bytes:
    """A zip whose central directory states other sizes than its records have."""
    at = content.rindex(b"PK\x01\x02")
    return content[: at + 20] + struct.pack("<II", sizes, sizes) + content[at + 28 :]


def array(values: Any) -> bytes:
    stream = io.BytesIO()
    np.save(stream, values, allow_pickle=True)
    return stream.getvalue()


def hostile_weights(marker: Path) -> Iterator[tuple[str, bytes]]:
    """(name, content) of files that pretend to be weights."""
    for how in range(4):
        evil = {"state_dict": STATE, "args": Touch(marker, how)}
        yield f"code-{how}.pth", saved(evil)
        yield f"code-{how}-old.pth", saved(evil, _use_new_zipfile_serialization=False)
        yield f"code-{how}-raw.pt", pickle.dumps(evil)
        yield f"code-{how}-4.bin", saved(evil, pickle_protocol=4)
    yield "code-in-a-key.pth", saved({Calls(open, str(marker), "w"): 1})
    yield "whole-model.pth", saved(torch.nn.Linear(2, 2))
    yield "code-as-safetensors.safetensors", pickle.dumps(Touch(marker))
    second = pickle.dumps(Touch(marker))
    yield "two-pickles.pth", zipped(saved(STATE), lambda new, name, old: new.writestr(
        name, second if name.endswith("data.pkl") else old))  # fmt: skip
    yield "script.pt", zipped(saved(STATE), lambda new, name, old: new.writestr(
        name.replace("data.pkl", "constants.pkl"), old))  # fmt: skip
    yield "bytes-bomb.pth", saved({"a": STATE["conv_stem.weight"], "b": Calls(bytearray, 1 << 34)})
    yield "range-bomb.pth", saved({"a": Calls(list, range(1 << 20)), "b": Calls(bytes, 1 << 34)})
    yield "storage-bomb.pth", saved({"a": Calls(torch.FloatStorage, 1 << 34)})
    yield "empty-bomb.pth", saved({"a": Calls(torch.empty, 1 << 34)})
    yield "zeros-bomb.pth", saved({"a": Calls(torch.zeros, (1 << 17, 1 << 17))})
    broad = torch.zeros(1).expand(1 << 20, 1 << 20)
    yield "expanded.pth", saved({"conv_stem.weight": broad})
    yield "expanded-into-place.pth", saved({**STATE, "conv_head.weight": broad})
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as found:
        found.writestr("a/data.pkl", saved(STATE)[:64])
        found.writestr("a/data/0", b"\0" * (1 << 26))
    yield "zip-bomb.pth", packed.getvalue()
    yield "zip-lies.pth", lying(packed.getvalue(), 10)
    yield "zip-path.pth", zipped(saved(STATE), lambda new, name, old: new.writestr(f"../../../{name}", old))
    yield "zip-absolute.pth", zipped(saved(STATE), lambda new, name, old: new.writestr(f"/tmp/{name}", old))
    yield "zip-twice.pth", zipped(saved(STATE), lambda new, name, old: (
        new.writestr(name, old), new.writestr(name, second if name.endswith("data.pkl") else old))[0])  # fmt: skip
    plain = saved(STATE)
    old = saved(STATE, _use_new_zipfile_serialization=False)
    stem = struct.pack("<BH", 0x4D, STATE["conv_stem.weight"].numel())  # how many numbers its storage has
    for name, many in (
        ("big", struct.pack("<Bi", 0x4A, 2**31 - 1)),
        ("bigger", b"\x8a\x06" + b"\xff" * 5 + b"\x7f"),
    ):
        yield f"old-{name}-storage.pth", old.replace(stem, many, 1)
        yield f"{name}-storage.pth", zipped(plain, lambda new, name, old, many=many: new.writestr(
            name, old.replace(stem, many, 1) if name.endswith("data.pkl") else old))  # fmt: skip
    for part, keep in (("1", 1), ("4", 4), ("100", 100), ("half", len(old) // 2), ("most", len(old) - 40)):
        yield f"cut-{part}.pth", plain[:keep]
        yield f"cut-{part}-old.pth", old[:keep]
    deep = b"\x80\x02" + b"]" * 20_000 + b"a" * 19_999 + b"."
    yield "deep.pth", zipped(plain, lambda new, name, old: new.writestr(
        name, deep if name.endswith("data.pkl") else old))  # fmt: skip
    yield "deep-raw.pth", deep
    for kind, value in (("nan", float("nan")), ("inf", float("inf")), ("minus-inf", float("-inf"))):
        odd = {name: t.clone() for name, t in STATE.items()}
        odd["conv_head.weight"].view(-1)[-1] = value
        yield f"{kind}.pth", saved(odd)
        yield f"{kind}.safetensors", save(odd)
    odd = {name: t.clone() for name, t in STATE.items()}
    odd["bn1.running_var"][0] = float("nan")
    yield "nan-statistics.safetensors", save(odd)
    whole = save(STATE)
    for keep in (0, 4, 8, 50, 5000, len(whole) - 1):
        yield f"cut-{keep}.safetensors", whole[:keep]
    yield "tail.safetensors", whole + b"\0" * 64
    name = "conv_stem.weight"
    for length in (0, 1, 2**31, 2**40, 2**63, 2**64 - 1):
        yield f"header-{length}.safetensors", header({name: tensor([2], 0, 8)}, b"\0" * 8, length)
    yield "overlap.safetensors", header({"a": tensor([2], 0, 8), "b": tensor([2], 4, 12)}, b"\0" * 12)
    yield "same.safetensors", header({"a": tensor([2], 0, 8), "b": tensor([2], 0, 8)}, b"\0" * 8)
    yield "hole.safetensors", header({"a": tensor([2], 0, 8), "b": tensor([2], 16, 24)}, b"\0" * 24)
    yield "backwards.safetensors", header({name: tensor([2], 8, 0)}, b"\0" * 8)
    yield "beyond.safetensors", header({name: tensor([2], 0, 1 << 40)}, b"\0" * 8)
    yield "huge.safetensors", header({name: tensor([1 << 20, 1 << 20], 0, 8)}, b"\0" * 8)
    yield "overflow.safetensors", header({name: tensor([2**63, 2**63, 2], 0, 8)}, b"\0" * 8)
    yield "wraps.safetensors", header({name: tensor([2**62, 4], 0, 0)}, b"")
    yield "negative.safetensors", header({name: tensor([-1, -2], 0, 8)}, b"\0" * 8)
    yield "no-type.safetensors", header({name: tensor([2], 0, 8, "X99")}, b"\0" * 8)
    yield "names.safetensors", header({f"t{n}": tensor([0], 0, 0) for n in range(200_000)})
    yield (
        "metadata.safetensors",
        header({"__metadata__": {"a": {"b": 1}}, name: tensor([2], 0, 8)}, b"\0" * 8),
    )
    yield "nested.safetensors", struct.pack("<Q", 200_000) + b"[" * 200_000
    text = b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"a":{"dtype":"F32","shape":[9],"data_offsets":[0,36]}}'
    yield "twice.safetensors", struct.pack("<Q", len(text)) + text + b"\0" * 36
    yield "zeros.safetensors", header({name: tensor([0, 1 << 60], 0, 0)})
    yield "page.pth", b"<!DOCTYPE html><title>Not found</title>"
    yield "sparse.safetensors", b""  # made large without its blocks, see `write`


def hostile_arrays(marker: Path) -> Iterator[tuple[str, bytes]]:
    """(name, content) of files that pretend to be datasets."""
    images, labels = np.zeros((40, 8, 8), np.uint8), np.arange(40) % 2
    images[:, 0, :] = np.arange(40)[:, None]
    good = {"images.npy": array(images), "labels.npy": array(labels)}

    def with_(**changes: bytes) -> bytes:
        return archive({**good, **{f"{name}.npy": content for name, content in changes.items()}})

    code = np.array([Touch(marker)] * 40, dtype=object)
    yield "code.npz", with_(labels=array(code))
    yield "code-images.npz", with_(images=array(code))
    yield "code-beside.npz", with_(groups=array(code))
    yield "raw-pickle.npz", with_(labels=pickle.dumps(Touch(marker)))
    yield "pickle.npz", pickle.dumps(Touch(marker))
    yield "huge.npz", with_(images=npy("(40, 1000000, 1000000)"))
    yield "huge-labels.npz", with_(labels=npy("(1099511627776,)", descr="'<i8'"))
    yield "overflow.npz", with_(images=npy("(40, 18446744073709551615, 9)"))
    yield "negative.npz", with_(images=npy("(40, -8, -8)"))
    yield "many.npz", with_(images=npy("(99999999999, 8, 8)", b"\0" * 64))
    yield "empty-shape.npz", with_(images=npy("(40, 0, 0)"))
    yield "long-header.npz", with_(images=npy("(40, 8, 8)", b"\0" * 2560, length=65535))
    yield "no-header.npz", with_(images=b"\x93NUMPY\x01\x00")
    yield "code-header.npz", with_(images=npy(f"__import__('os').system('touch {marker}')"))
    yield "deep-header.npz", with_(images=npy("(" * 9000 + ")" * 9000))
    yield "fields.npz", with_(images=npy("(40,)", b"\0" * 40 * 16, "[('a', '<f8'), ('b', '<f8')]"))
    yield "wide-text.npz", with_(labels=npy("(40,)", descr="'<U99999999'"))
    yield "nan.npz", with_(images=array(np.full((40, 8, 8), np.nan, np.float32)))
    yield "inf.npz", with_(images=array(np.full((40, 8, 8), np.inf, np.float32)))
    yield "nan-labels.npz", with_(labels=array(np.full(40, np.nan)))
    yield "path.npz", archive({"../../images.npy": good["images.npy"], "labels.npy": good["labels.npy"]})
    bomb = {"images.npy": npy("(40, 4000, 4000)", b"\0" * (1 << 26)), "labels.npy": good["labels.npy"]}
    yield "bomb.npz", archive(bomb, zipfile.ZIP_DEFLATED)
    label_bomb = npy("(40,)", b"\0" * (40 * 4 * 1_500_000), "'<U1500000'")
    yield "label-bomb.npz", archive({**good, "labels.npy": label_bomb}, zipfile.ZIP_DEFLATED)
    yield "lies.npz", lying(archive(good, zipfile.ZIP_DEFLATED), 3)
    whole = archive(good)
    for keep in (0, 3, 30, len(whole) // 2, len(whole) - 5):
        yield f"cut-{keep}.npz", whole[:keep]
    yield "encrypted.npz", whole.replace(b"PK\x01\x02\x14\x03\x14\0\0\0", b"PK\x01\x02\x14\x03\x14\0\1\0")
    yield (
        "method-99.npz",
        whole.replace(b"PK\x01\x02\x14\x03\x14\0\0\0\0\0", b"PK\x01\x02\x14\x03\x14\0\0\0\x63\0"),
    )


def write(folder: Path, marker: Path) -> list[Path]:
    """All files of the corpus."""
    made = []
    for name, content in (*hostile_weights(marker), *hostile_arrays(marker)):
        path = folder / name
        path.write_bytes(content)
        if name == "sparse.safetensors":  # 64 GB of zeros that take no room on the disk
            with path.open("wb") as stream:
                stream.write(header({"conv_stem.weight": tensor([1 << 34], 0, 1 << 36)}))
                stream.truncate(stream.tell() + (1 << 36))
        made.append(path)
    return made


def attempt(path: Path, cache: Path) -> None:
    """Use a file as a user would."""
    if path.suffix == ".npz":
        load_task(TaskSpec(dataset=str(path)), cache_root=cache)
    else:
        get_source(f"checkpoint/{ARCHITECTURE}@{path}").load(3)


def child(paths: list[Path], cache: Path) -> tuple[list[str], int]:
    """(what was said of each file, peak memory in bytes) of a process that tries them; of none, it does nothing.

    Of a file that was used "" is said; of files whose process died nothing.
    """
    reading, writing = os.pipe()
    number = os.fork()
    if number == 0:
        said = []
        try:
            os.close(reading)
            for path in paths:
                signal.alarm(SECONDS)
                try:
                    attempt(path, cache)
                    said.append("")
                except UserError as error:
                    said.append(str(error)[:300])
                except BaseException as error:
                    said.append(f"{CRASHED}{type(error).__name__}: {error}"[:300])
            with os.fdopen(writing, "w") as stream:
                json.dump(said, stream)
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as stream:
        text = stream.read()
    _, _, used = os.wait4(number, 0)
    return (json.loads(text) if text else []), used.ru_maxrss * 1024


CRASHED = "crashed: "


def forget(marker: Path) -> None:
    if marker.is_dir():
        marker.rmdir()
    marker.unlink(missing_ok=True)


def main() -> int:
    """Try them all; the last line counts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--verbose", action="store_true", help="print what was said about each file")
    parser.add_argument("--together", type=int, default=1, help="files that one process tries")
    options = parser.parse_args()
    torch.set_num_threads(1)
    warnings.simplefilter("ignore")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    executed, peak = 0, 0
    crashes: list[str] = []
    taken: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        place, marker = Path(folder) / "files", Path(folder) / MARKER
        place.mkdir()
        files = write(place, marker)
        baseline = child([], Path(folder))[1]
        for start in range(0, len(files), options.together):
            part = files[start : start + options.together]
            said, most = child(part, Path(folder) / "cache")
            executed += marker.exists()
            forget(marker)
            peak = max(peak, most - baseline)
            for path, words in zip(part, [*said, *[f"{CRASHED}its process died"] * len(part)], strict=False):
                if words.startswith(CRASHED):
                    crashes.append(path.name)
                elif not words:
                    taken.append(path.name)
                if options.verbose or words.startswith(CRASHED):
                    print(f"{path.name}: {(most - baseline) / 1e6:.0f} MB: {words or 'used'}")
        outside = [path for path in Path(folder).iterdir() if path.name not in ("files", "cache")]
    print(f"used all the same: {', '.join(taken) or 'none'}")
    print(f"written elsewhere: {', '.join(path.name for path in outside) or 'none'}")
    print(
        f"{len(files)} files tried, {executed} executed, {len(crashes)} crashes, {len(taken)} used, "
        f"peak memory {peak / 1e6:.0f} MB"
    )
    return 1 if executed or crashes else 0


if __name__ == "__main__":
    sys.exit(main())
