"""Weights files: read without running code or taking more memory than they say, and fitted to a network."""

from __future__ import annotations

import pickletools
import re
import struct
import warnings
import zipfile
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from automl_transfer.errors import SourceError
from automl_transfer.files import kind_at, reading

State = dict[str, Tensor]

_NESTED = ("state_dict", "model", "model_state_dict")
_PREFIXES = ("module.", "_orig_mod.")
_COUNTER = "num_batches_tracked"
_SHOWN = 20
TIMES, ALLOWANCE = 8, 64 << 20
NAMING, ALLOWED_NAMES = 4096, 1 << 20
_LENGTH = struct.Struct("<Q")
"""Of a safetensors file's header, at its beginning."""
_PLAIN = frozenset(
    {
        *(torch.float64, torch.float32, torch.float16, torch.bfloat16),
        *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
    }
)
"""Types whose numbers a network takes over as they are."""
_ZIP, _LEGACY = b"PK\x03\x04", b"\x80"


def check_size(path: Path, model: nn.Module) -> None:
    """Refuse a file that is much larger than its network, or names much more, before any of it is read.

    Beside the tensors, float64 and an optimiser's state have room.

    Raises:
        SourceError: It is.
    """
    own = model.state_dict()
    most = TIMES * sum(t.numel() * t.element_size() for t in own.values()) + ALLOWANCE
    size = path.stat().st_size
    if path.suffix.lower() == ".safetensors" and size >= _LENGTH.size:
        with path.open("rb") as stream:
            (length,) = _LENGTH.unpack(stream.read(_LENGTH.size))
        if length > (longest := NAMING * len(own) + ALLOWED_NAMES):
            raise SourceError(
                f"a checkpoint must name its tensors in at most {longest:,} bytes for this network, {path} "
                f"says that it takes {length:,}: it is truncated or damaged, or of another network"
            )
    if size > most:
        raise SourceError(
            f"a checkpoint must have at most {most:,} bytes, {TIMES} times what its network takes, {path} "
            f"has {size:,}: name the architecture that it was trained with"
        )


def read_weights(path: Path) -> State:
    """Read a state dict from `.safetensors`, or from `.pth`, `.pt`, `.bin` without unpickling code.

    A state dict nested under "state_dict" or "model" is found; "module." prefixes are taken off. Tensors
    are ordinary ones: nothing sparse, quantized or nested.

    Raises:
        SourceError: Missing, empty, truncated, of another format, with pickled code, or without tensors.
    """
    if (there := kind_at(path, "a checkpoint", SourceError)) != "file":
        raise SourceError(f"a checkpoint must be a file, {path} is {f'a {there}' if there else 'missing'}")
    with reading("a checkpoint must be whole", path, SourceError, "copy or export it again"):
        return _read(path)


def _read(path: Path) -> State:
    suffix = path.suffix.lower()
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            magic = file.read(4)
    except OSError as error:
        raise SourceError(f"a checkpoint must be readable, {path} is not: {error.strerror}") from error
    if size == 0:
        raise SourceError(f"a checkpoint must hold tensors, {path} is empty: copy or export it again")
    if suffix == ".safetensors":
        content: object = _read_safetensors(path, size)
    elif suffix in (".pth", ".pt", ".bin"):
        if not magic.startswith((_ZIP, _LEGACY)):
            raise SourceError(
                f"a {suffix} checkpoint must be written by torch.save, {path} begins with {magic!r}: "
                "it is another kind of file, or damaged"
            )
        content = _read_torch(path, size, archive=magic.startswith(_ZIP))
    else:
        raise SourceError(
            f"a checkpoint must end in .safetensors, .pth, .pt or .bin, got {path.name!r}: "
            "save the state dict as .safetensors"
        )
    return _state(content, path)


def fit(
    model: nn.Module, state: Mapping[str, Tensor], where: str, *, ignorable: Collection[str] = ()
) -> tuple[str, ...]:
    """Copy a state dict into a network: every tensor, with its shape, or nothing at all.

    Counters of batch norms may be missing. Tensors named in `ignorable` (the original classifier) may
    be missing or of another shape: then all of them keep their values, and the note says so.

    Returns:
        Notes for people.

    Raises:
        SourceError: Tensors are missing, unexpected, of another shape or not finite; all are listed.
    """
    own = model.state_dict()
    notes: list[str] = []
    other = sorted(n for n in ignorable if n in own and (n not in state or state[n].shape != own[n].shape))
    skipped = frozenset(ignorable) if other else frozenset()
    if other:
        notes.append(f"the classifier of {where} is not used ({_classifier(other[0], own, state)})")
    problems = _problems(own, state, skipped)
    if problems:
        shown = problems[:_SHOWN]
        if len(problems) > _SHOWN:
            shown.append(f"and {len(problems) - _SHOWN} more")
        lines = "\n".join(f"  - {problem}" for problem in shown)
        raise SourceError(
            f"{where} must fit {type(model).__name__} tensor by tensor, {len(problems)} do not:\n{lines}\n"
            "name the architecture that this file was trained with"
        )
    with torch.no_grad():
        for name, tensor in own.items():
            if name in state and name not in skipped:
                tensor.copy_(state[name])
    return tuple(notes)


def named_in_order(
    model: nn.Module, state: State, where: Path, *, ignorable: Collection[str] = ()
) -> tuple[State, tuple[str, ...]]:
    """The tensors under the network's own names, where a file calls every one by a foreign name.

    Other implementations of a network name its layers otherwise and hold the same tensors in the same order.
    They are taken so where all of them, the classifier's apart, agree in kind (weight, running_mean, ...) and
    shape; what else the network is made of (padding, epsilon), tensors do not tell, and a note says so.
    Safetensors files are left as they are: they are sorted by name.

    Returns:
        The tensors, and notes for people.
    """
    own = model.state_dict()
    if where.suffix.lower() == ".safetensors" or not state.keys().isdisjoint(own):
        return state, ()
    body = [name for name in own if name not in ignorable]
    mine = body if len(state) == len(body) else list(own)
    same = len(state) == len(mine) and all(
        theirs.rpartition(".")[2] == name.rpartition(".")[2] and tensor.shape == own[name].shape
        for name, (theirs, tensor) in zip(mine, state.items(), strict=True)
    )
    if not same:
        return state, ()
    note = (
        f"{where} names its {len(state)} tensors in another way: they were taken in order, which fits in "
        "kind and shape; compare its answers with those of the program it comes from"
    )
    return dict(zip(mine, state.values(), strict=True)), (note,)


def _classifier(name: str, own: Mapping[str, Tensor], state: Mapping[str, Tensor]) -> str:
    if name not in state:
        return f"{name} is missing"
    return f"{name} is {_shape(state[name])}, the architecture's own is {_shape(own[name])}"


def _problems(own: Mapping[str, Tensor], state: Mapping[str, Tensor], skipped: frozenset[str]) -> list[str]:
    problems = []
    for name, tensor in own.items():
        if name in skipped or (name not in state and name.endswith(_COUNTER)):
            continue
        if name not in state:
            problems.append(f"missing {name} {_shape(tensor)}")
        elif state[name].shape != tensor.shape:
            problems.append(f"{name} must be {_shape(tensor)}, got {_shape(state[name])}")
        elif state[name].is_floating_point() and not bool(torch.isfinite(state[name]).all()):
            problems.append(f"{name} {_shape(tensor)} holds NaN or infinite values")
    problems.extend(f"unexpected {name} {_shape(state[name])}" for name in state if name not in own)
    return problems


def _shape(tensor: Tensor) -> str:
    return f"({', '.join(str(size) for size in tensor.shape)})"


def _read_safetensors(path: Path, size: int) -> object:
    import safetensors
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise SourceError(_damaged(path, size, error)) from error


def _read_torch(path: Path, size: int, *, archive: bool) -> object:
    try:
        check_declared(path, archive=archive)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Detected pickle protocol", UserWarning)
            return torch.load(path, map_location="cpu", weights_only=True)
    except SourceError:
        raise
    except Exception as error:  # a damaged file can raise anything
        text = str(error)
        names = re.findall(r"GLOBAL ([\w.]+)", text)
        if names or "TorchScript" in text or "nsupported" in text:
            what = f" ({', '.join(dict.fromkeys(names))})" if names else ""
            raise SourceError(
                f"a checkpoint must hold tensors only, {path} holds pickled code{what} and was not opened: "
                "save its state_dict() as .safetensors where you trust it"
            ) from error
        raise SourceError(_damaged(path, size, error)) from error


def _odd_kind(tensor: Tensor) -> str | None:
    """What keeps a tensor from being copied into a network; None for ordinary ones."""
    if tensor.is_nested:
        return "nested"
    if tensor.is_quantized:
        return "quantized"
    if tensor.is_meta:
        return "without numbers, on the meta device"
    if tensor.layout != torch.strided:
        return str(tensor.layout).removeprefix("torch.").replace("_", " ")
    return None if tensor.dtype in _PLAIN else str(tensor.dtype).removeprefix("torch.")


def _damaged(path: Path, size: int, error: BaseException) -> str:
    text = str(error).strip().splitlines()
    return (
        f"a checkpoint must be whole, {path} ({size:,} bytes) is truncated or damaged "
        f"({text[0][:200] if text else type(error).__name__}): copy or download it again"
    )


def _state(content: object, path: Path) -> State:
    for _ in range(2):
        if isinstance(content, Mapping):
            inner = next((content[key] for key in _NESTED if isinstance(content.get(key), Mapping)), None)
            content = content if inner is None else inner
    if not isinstance(content, Mapping) or not content:
        raise SourceError(
            f"a checkpoint must be a mapping of names to tensors, {path} holds {type(content).__name__}: "
            "save the network's state_dict()"
        )
    strange = [str(n)[:80] for n, v in content.items() if not isinstance(n, str) or not isinstance(v, Tensor)]
    if strange:
        raise SourceError(
            f"a checkpoint must hold tensors only, {path} also holds {', '.join(strange[:5])}: "
            "save the network's state_dict() alone, or under 'state_dict'"
        )
    odd = [f"{name[:80]} ({kind})" for name, value in content.items() if (kind := _odd_kind(value))]
    if odd:
        raise SourceError(
            f"a checkpoint's tensors must be plain numbers, {path} has {', '.join(odd[:5])}: save "
            "{name: tensor.to_dense().float() ...} of a network that is not quantized"
        )
    state = {str(name): value for name, value in content.items()}
    for prefix in (*_PREFIXES, *_PREFIXES):
        if all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


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
