"""The state of a run: what training changes, copied, compared by a hash, written and read whole."""

from __future__ import annotations

import copy
import glob
import hashlib
import json
import shutil
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from automl_transfer.domain.records import EpochResult
from automl_transfer.errors import TrialDataError
from automl_transfer.files import file_sha256, read_own_json, save_tensors
from automl_transfer.transfer.freeze import live_tensors
from automl_transfer.transfer.phases import Phase
from automl_transfer.transfer.plan import TransferPlan
from automl_transfer.transfer.terms.base import Term

TENSORS = "state.safetensors"
STATE = "state.json"
SCHEMA = "automl-transfer/checkpoint/1"


class Conditions(BaseModel):
    """What `conditions.current_conditions` said at the time of a checkpoint; named is what resuming needs."""

    model_config = ConfigDict(frozen=True, extra="allow")

    batch: int = Field(ge=1, le=1 << 31)
    accumulate: int = Field(ge=1, le=1 << 31)


class Kept(BaseModel):
    """What a checkpoint says beside its tensors.

    Attributes:
        identity: Of the trial.
        epoch: Last finished epoch.
        best: The best one so far.
        optimizer: Plain values of its state, by the parameter's number.
        scale: Of the loss, where it trains in fp16; see `precision.Scaling`.
        conditions: See `Conditions`.
        differences: What was other already when it was written.
    """

    model_config = ConfigDict(frozen=True, strict=True)

    identity: dict[str, Any]
    epoch: int = Field(ge=-1, le=1 << 31)
    best: EpochResult | None
    optimizer: dict[str, dict[str, bool | int | FiniteFloat | None]]
    scale: dict[str, int | FiniteFloat] = Field(default_factory=dict)
    conditions: Conditions
    differences: tuple[str, ...]


@dataclass(frozen=True)
class Resumed:
    """What a restored run continues from.

    Attributes:
        epoch: Last finished epoch.
        identical: Whether the run will end with the weights of one that was never interrupted.
        differences: Why not: conditions that changed, in words.
    """

    epoch: int
    identical: bool
    differences: tuple[str, ...]


def clone(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies on the CPU, so that keeping them costs no device memory."""
    return {name: tensor.detach().to("cpu", copy=True) for name, tensor in tensors.items()}


def ever_live(plan: TransferPlan, phases: Sequence[Phase]) -> dict[str, Tensor]:
    """All that training changes in any phase, by name."""
    found: dict[str, Tensor] = {}
    for phase in phases:
        plan.enter(phase)
        found |= live_tensors(plan.model)
    return found


@torch.no_grad()
def put(tensors: Mapping[str, Tensor], into: Mapping[str, Tensor]) -> None:
    """Copy values into existing tensors of the same names, in place."""
    for name, tensor in tensors.items():
        into[name].copy_(tensor)


@contextmanager
@torch.no_grad()
def showing(terms: Sequence[Term], moves: Mapping[str, Tensor]) -> Iterator[None]:
    """With the weights that are judged and shipped in the place of those that train."""
    shown = _shown(terms, moves)
    if shown is moves:
        yield
        return
    kept = {name: tensor.clone() for name, tensor in moves.items()}
    put(shown, moves)
    try:
        yield
    finally:
        put(kept, moves)


@torch.no_grad()
def shows_below(terms: Sequence[Term], moves: Mapping[str, Tensor], start: int) -> bool:
    """Whether other weights are shown below group `start` than are there, of which activations are kept."""
    shown = _shown(terms, moves)
    below = (n for n in moves if n.startswith("groups.") and int(n.split(".")[1]) < start)
    return shown is not moves and any(not torch.equal(shown[name], moves[name]) for name in below)


def _shown(terms: Sequence[Term], moves: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    """What is judged and shipped in the place of `moves`; the same mapping where no term says otherwise."""
    for term in terms:
        moves = term.shown(moves)
    return moves


def copy_optimizer(optimizer: torch.optim.Optimizer) -> dict[str, Any]:
    """A copy of an optimizer's state, on the CPU."""

    def copied(value: Any) -> Any:
        return value.detach().to("cpu", copy=True) if isinstance(value, Tensor) else copy.deepcopy(value)

    state = optimizer.state_dict()
    return {
        "state": {
            number: {key: copied(value) for key, value in entry.items()}
            for number, entry in state["state"].items()
        },
        "param_groups": copy.deepcopy(state["param_groups"]),
    }


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """Put a copied state back; the copy stays as it is (torch would share its tensors)."""
    optimizer.load_state_dict(copy.deepcopy(state))


def pack_optimizer(
    optimizer: torch.optim.Optimizer | None,
) -> tuple[dict[str, Tensor], dict[str, dict[str, Any]]]:
    """An optimizer's state as tensors named `optimizer.NUMBER.KEY`, and its plain values."""
    tensors: dict[str, Tensor] = {}
    plain: dict[str, dict[str, Any]] = {}
    for number, entry in (optimizer.state_dict()["state"] if optimizer else {}).items():
        for key, value in entry.items():
            if isinstance(value, Tensor):
                tensors[f"optimizer.{number}.{key}"] = value
            else:
                plain.setdefault(str(number), {})[key] = value
    return tensors, plain


def unpack_optimizer(
    optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor], plain: Mapping[str, Any]
) -> None:
    """Put back what `pack_optimizer` gave.

    Raises:
        ValueError: The state is of other parameters.
    """
    state: dict[int, dict[str, Any]] = {int(number): dict(entry) for number, entry in plain.items()}
    for name, tensor in under(tensors, "optimizer.").items():
        number, _, key = name.partition(".")
        state.setdefault(int(number), {})[key] = tensor
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    for position, entry in state.items():
        for key, value in entry.items():
            if not isinstance(value, Tensor) or value.dim() == 0:
                continue
            if position >= len(parameters) or value.shape != parameters[position].shape:
                raise ValueError(f"optimizer state {position}.{key} must fit, got shape {tuple(value.shape)}")
            # Files hold rows in order. Fused kernels walk through memory: it must be laid out as the
            # parameter's is, or moments would go to other weights.
            entry[key] = torch.empty_like(parameters[position]).copy_(value)
    load_optimizer(optimizer, {"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def pack_terms(terms: Sequence[Term]) -> dict[str, Tensor]:
    """What terms keep between steps, by their place and their own names."""
    return {f"{n}.{name}": t for n, term in enumerate(terms) for name, t in term.state().items()}


def unpack_terms(terms: Sequence[Term], tensors: Mapping[str, Tensor]) -> None:
    """Put back what `pack_terms` gave."""
    for number, term in enumerate(terms):
        term.load_state(under(tensors, f"{number}."))


def take_over(
    tensors: Mapping[str, Tensor],
    kept: Kept,
    model: nn.Module,
    terms: Sequence[Term],
    optimizer: torch.optim.Optimizer | None,
) -> None:
    """Put back the weights and states of a checkpoint: all, or none where one does not fit.

    Raises:
        KeyError, ValueError, RuntimeError: One does not.
    """
    before = clone(model.state_dict()), clone(pack_terms(terms))
    was = copy_optimizer(optimizer) if optimizer is not None else {}
    try:
        model.load_state_dict(under(tensors, "model."))
        unpack_terms(terms, under(tensors, "terms."))
        if optimizer is not None:
            unpack_optimizer(optimizer, tensors, kept.optimizer)
    except (KeyError, ValueError, RuntimeError):
        model.load_state_dict(before[0])
        unpack_terms(terms, before[1])
        if optimizer is not None:
            load_optimizer(optimizer, was)
        raise


def under(tensors: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors whose names begin with a prefix, without it."""
    return {name.removeprefix(prefix): t for name, t in tensors.items() if name.startswith(prefix)}


def sha256_of(model: nn.Module) -> str:
    """Hash over names, types, shapes and bytes of all weights and buffers, sorted by name."""
    return sha256_of_tensors(model.state_dict())


def sha256_of_tensors(tensors: Mapping[str, Tensor]) -> str:
    """The same hash, over what a file of the model's weights holds."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        values = tensor.detach().cpu().contiguous()
        digest.update(f"{name} {values.dtype} {tuple(values.shape)}\n".encode())
        digest.update(values.view(-1).view(torch.uint8).numpy().data if values.numel() else b"")
    return digest.hexdigest()


def write_checkpoint(folder: Path, tensors: Mapping[str, Tensor], state: dict[str, Any]) -> None:
    """Write a checkpoint whole: under a temporary name beside `folder`, then renamed over it."""
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    tag = uuid.uuid4().hex[:12]
    fresh, old = folder.with_name(f".{folder.name}.{tag}"), folder.with_name(f".{folder.name}.{tag}.old")
    fresh.mkdir()
    try:
        packed = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
        save_tensors(packed, fresh / TENSORS)
        document = {"schema": SCHEMA, **state, "tensors_sha256": file_sha256(fresh / TENSORS)}
        (fresh / STATE).write_text(json.dumps(document, indent=1, allow_nan=False), encoding="utf-8")
        if folder.exists():
            folder.replace(old)
        fresh.replace(folder)
    finally:
        shutil.rmtree(fresh, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def read_checkpoint(folder: Path, identity: Mapping[str, Any]) -> tuple[dict[str, Tensor], Kept]:
    """Read a checkpoint whole.

    Raises:
        TrialDataError: It is missing, damaged, of another kind, or of another trial.
    """
    folder = _left_of(Path(folder))
    try:
        state = read_own_json(folder / STATE)
        if not isinstance(state, dict) or state.get("schema") != SCHEMA:
            raise TrialDataError(_damaged(folder, f"{STATE} must have the schema {SCHEMA}"))
        if file_sha256(folder / TENSORS) != state.get("tensors_sha256"):
            raise TrialDataError(_damaged(folder, f"{TENSORS} must have the checksum that {STATE} states"))
        kept = Kept.model_validate_json(json.dumps(state))
        tensors = load_file(folder / TENSORS)
    except (OSError, ValueError, SafetensorError) as error:
        raise TrialDataError(_damaged(folder, f"{type(error).__name__}: {str(error)[:1000]}")) from error
    if kept.identity != identity:
        raise TrialDataError(
            f"a checkpoint must belong to the trial {identity}, got {str(kept.identity)[:1000]} in {folder}: "
            "start the trial over"
        )
    return tensors, kept


def _left_of(folder: Path) -> Path:
    """A checkpoint's folder, or what is left where `write_checkpoint` was killed between its two renames."""
    if folder.exists():
        return folder
    left = list(folder.parent.glob(f".{glob.escape(folder.name)}.*"))
    return max(left, key=lambda path: path.stat().st_mtime, default=folder)


def _damaged(folder: Path, reason: str) -> str:
    return f"a checkpoint must be whole, got a damaged one in {folder} ({reason}): start the trial over"
