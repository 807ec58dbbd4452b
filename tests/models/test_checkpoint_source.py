"""Local weights files: what loads, what is said, and what is refused."""

from __future__ import annotations

import os
import pickle
import zipfile
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from automl_transfer.errors import SourceError
from automl_transfer.models.architectures import create_network
from automl_transfer.models.base import Source, file_sha256
from automl_transfer.models.registry import get_source

TIMM = "timm/mobilenetv3_small_050"
VISION = "torchvision/shufflenet_v2_x0_5"


def network(architecture: str = TIMM, classes: int | None = None) -> nn.Module:
    torch.manual_seed(3)
    model = create_network(architecture, classes)
    with torch.no_grad():
        for name, buffer in model.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_()
    return model.eval()


def tensors(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def source(path: Path, architecture: str = TIMM) -> Source:
    return get_source(f"checkpoint/{architecture}@{path}")


def refusal(path: Path, architecture: str = TIMM) -> str:
    with pytest.raises(SourceError) as caught:
        source(path, architecture).load(3)
    return str(caught.value)


@torch.no_grad()
@pytest.mark.parametrize("architecture", [TIMM, VISION, "timm/resnet18", "torchvision/densenet121"])
def test_weights_come_back_from_safetensors(architecture: str, tmp_path: Path) -> None:
    model = network(architecture)
    path = tmp_path / "mein netz 网.safetensors"
    save_file(tensors(model), path)
    backbone = source(path, architecture).load(3)
    mine, theirs = list(backbone.parameters()), list(model.parameters())
    assert len(mine) < len(theirs)  # all but the classifier
    assert all(torch.equal(a, b) for a, b in zip(mine, theirs, strict=False))
    means = [b for n, b in backbone.named_buffers() if n.endswith("running_mean")]
    assert all(
        torch.equal(a, b)
        for a, b in zip(
            means, (b for n, b in model.named_buffers() if n.endswith("running_mean")), strict=True
        )
    )
    assert (backbone.pretrained, backbone.architecture, backbone.notes) == (True, architecture, ())


@pytest.mark.parametrize("nest", [None, "state_dict", "model"])
@pytest.mark.parametrize("prefix", ["", "module.", "module._orig_mod."])
def test_pth_files_may_be_nested_and_prefixed(nest: str | None, prefix: str, tmp_path: Path) -> None:
    model = network()
    state: object = {prefix + name: tensor for name, tensor in tensors(model).items()}
    path = tmp_path / "net.pth"
    torch.save({nest: state, "epoch": 3} if nest else state, path)
    backbone = source(path).load(3)
    assert torch.equal(next(backbone.parameters()), next(model.parameters()))


def test_old_torch_files_load_too(tmp_path: Path) -> None:
    model, path = network(), tmp_path / "old.pth"
    torch.save(tensors(model), path, _use_new_zipfile_serialization=False)
    assert torch.equal(next(source(path).load(3).parameters()), next(model.parameters()))


def test_missing_batch_counters_and_half_precision_are_fine(tmp_path: Path) -> None:
    state = {n: t for n, t in tensors(network()).items() if not n.endswith("num_batches_tracked")}
    path = tmp_path / "half.safetensors"
    save_file({n: t.half() for n, t in state.items()}, path)
    first = next(source(path).load(3).parameters())
    assert first.dtype == torch.float32
    assert torch.equal(first, state["conv_stem.weight"].half().float())


def test_classifier_of_another_task_is_ignored_and_said(tmp_path: Path) -> None:
    path = tmp_path / "ten.safetensors"
    save_file(tensors(network(classes=10)), path)
    (note,) = source(path).load(3).notes
    assert "classifier" in note
    assert "is not used" in note
    assert "(10" in note
    assert "(1000" in note
    headless = {n: t for n, t in tensors(network()).items() if not n.startswith("classifier")}
    path = tmp_path / "headless.safetensors"
    save_file(headless, path)
    (note,) = source(path).load(3).notes
    assert "is missing" in note


def test_a_file_with_foreign_names_is_taken_in_order_and_said(tmp_path: Path) -> None:
    model, path = network(), tmp_path / "other.pt"
    state = [tensor for name, tensor in tensors(model).items() if not name.startswith("classifier")]
    kinds = [name.rpartition(".")[2] for name in tensors(model)]
    torch.save({f"features.{n}.{kinds[n]}": tensor for n, tensor in enumerate(state)}, path)
    backbone = source(path).load(3)
    assert torch.equal(next(backbone.parameters()), next(model.parameters()))
    assert "taken in order" in backbone.notes[0]
    state[0], state[1] = state[1], state[0]
    path = tmp_path / "swapped.pt"
    torch.save({f"features.{n}.{kinds[n]}": tensor for n, tensor in enumerate(state)}, path)
    assert "missing conv_stem.weight" in refusal(path)


def test_every_tensor_that_does_not_fit_is_listed(tmp_path: Path) -> None:
    state = tensors(network(classes=10))
    state["strange.weight"] = torch.zeros(2, 3)
    state["conv_head.weight"] = torch.zeros(7, 7, 1, 1)
    stem = state.pop("bn1.weight")
    path = tmp_path / "foreign.safetensors"
    save_file(state, path)
    text = refusal(path)
    assert f"missing bn1.weight ({len(stem)})" in text
    assert "unexpected strange.weight (2, 3)" in text
    assert "conv_head.weight must be (1024, 288, 1, 1), got (7, 7, 1, 1)" in text
    assert "3 do not" in text
    assert "classifier" not in text


def test_another_architecture_is_a_short_list(tmp_path: Path) -> None:
    path = tmp_path / "resnet.safetensors"
    save_file(tensors(network("timm/resnet18")), path)
    text = refusal(path)
    assert "and " in text
    assert " more" in text
    assert len(text.splitlines()) < 30


def test_weights_that_are_not_numbers_are_refused(tmp_path: Path) -> None:
    state = tensors(network())
    state["conv_head.weight"][0, 0] = float("nan")
    path = tmp_path / "nan.safetensors"
    save_file(state, path)
    assert "conv_head.weight (1024, 288, 1, 1) holds NaN" in refusal(path)


class Hostile:
    """Would run a command when unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("raw", [False, True])
def test_pickled_code_is_refused_and_not_run(raw: bool, tmp_path: Path) -> None:
    path, marker = tmp_path / "hostile.pth", tmp_path / "ran"
    content = {"state_dict": tensors(network()), "args": Hostile(marker)}
    if raw:
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path)
    text = refusal(path)
    assert "pickled code" in text
    assert "was not opened" in text
    assert not marker.exists()


def test_whole_models_are_refused_as_pickled_code(tmp_path: Path) -> None:
    path = tmp_path / "whole.pth"
    torch.save(nn.Linear(2, 2), path)
    assert "pickled code (torch.nn.modules.linear.Linear)" in refusal(path)


@pytest.mark.parametrize("keep", [0, 3, 100, 5000, -1000])
@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_truncated_files_are_refused(suffix: str, keep: int, tmp_path: Path) -> None:
    path = tmp_path / f"cut{suffix}"
    if suffix == ".pth":
        torch.save(tensors(network()), path)
    else:
        save_file(tensors(network()), path)
    path.write_bytes(path.read_bytes()[:keep])
    text = refusal(path)
    assert "truncated or damaged" in text or "is empty" in text or "another kind of file" in text
    assert str(path) in text


def test_other_kinds_of_files_are_refused(tmp_path: Path) -> None:
    page = tmp_path / "page.pth"
    page.write_text("<!DOCTYPE html><title>Not found</title>")
    assert "written by torch.save" in refusal(page)
    page.rename(tmp_path / "page.safetensors")
    assert "truncated or damaged" in refusal(tmp_path / "page.safetensors")
    (tmp_path / "page.safetensors").rename(tmp_path / "net.h5")
    assert "must end in .safetensors" in refusal(tmp_path / "net.h5")
    torch.save([torch.zeros(2)], tmp_path / "list.pth")
    assert "mapping of names to tensors" in refusal(tmp_path / "list.pth")
    torch.save({"weight": torch.zeros(2), "epoch": 3}, tmp_path / "mixed.pth")
    assert "also holds epoch" in refusal(tmp_path / "mixed.pth")
    torch.save({}, tmp_path / "nothing.pth")
    assert "mapping of names to tensors" in refusal(tmp_path / "nothing.pth")


def odd(kind: str) -> Tensor:
    if kind == "sparse":
        return torch.eye(3).to_sparse()
    if kind == "sparse csr":
        return torch.eye(3).to_sparse_csr()
    if kind == "quantized":
        return torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)
    if kind == "meta":
        return torch.empty(3, device="meta")
    if kind == "nested":
        return torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])
    return torch.ones(3).to({"complex64": torch.complex64, "float8_e4m3fn": torch.float8_e4m3fn}[kind])


@pytest.mark.filterwarnings("ignore")  # torch warns of nearly all of these
@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize(
    "kind", ["sparse", "sparse csr", "quantized", "meta", "nested", "complex64", "float8_e4m3fn"]
)
def test_e11_tensors_of_other_kinds_are_refused_by_name(kind: str, nested: bool, tmp_path: Path) -> None:
    path = tmp_path / "odd.pt"
    state = {**tensors(network()), "conv_stem.weight": odd(kind)}
    torch.save({"state_dict": {"model": state}} if nested else state, path)
    text = refusal(path)
    assert f"conv_stem.weight ({kind}" in text or f"({kind}" in text or "meta device" in text
    assert str(path) in text


@pytest.mark.parametrize("content", [{1: torch.ones(2)}, {"model": {"model": {"model": {"a": 1}}}}, [[[]]]])
def test_e11_other_nests_are_refused(content: object, tmp_path: Path) -> None:
    path = tmp_path / "nest.pt"
    torch.save(content, path)
    assert str(path) in refusal(path)


class ManyBytes:
    """A call that needs no code to ask for a gigabyte."""

    def __reduce__(self) -> tuple[object, tuple[int]]:
        return bytearray, (1 << 30,)


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("archive", [True, False])
def test_e12_a_kilobyte_that_asks_for_a_gigabyte_is_not_loaded(
    archive: bool, protocol: int, tmp_path: Path
) -> None:
    path = tmp_path / "bomb.pt"
    torch.save(
        {"a": torch.ones(2), "b": ManyBytes()},
        path,
        pickle_protocol=protocol,
        _use_new_zipfile_serialization=archive,
    )
    assert "also makes bytes" in refusal(path)


def test_e12_a_checkpoint_that_unpacks_to_more_than_it_is_is_not_loaded(tmp_path: Path) -> None:
    plain, path = tmp_path / "plain.pt", tmp_path / "bomb.pt"
    torch.save({"a": torch.zeros(1 << 20)}, plain)
    with zipfile.ZipFile(plain) as records, zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for record in records.namelist():
            packed.writestr(record, records.read(record))
    assert "would unpack to 4,19" in refusal(path)


def test_missing_files_folders_and_architectures_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"gone\.pth is missing"):
        source(tmp_path / "gone.pth")
    with pytest.raises(SourceError, match="model folder as checkpoint/@FOLDER"):
        source(tmp_path)
    with pytest.raises(SourceError, match=r"close names: .*timm/resnet18"):
        source(tmp_path / "gone.pth", "timm/resnt18")
    with pytest.raises(SourceError, match="checkpoint/ARCHITECTURE@PATH"):
        get_source("checkpoint/timm/resnet18")


@torch.no_grad()
def test_gray_checkpoints_are_adapted(tmp_path: Path) -> None:
    state = tensors(network())
    state["conv_stem.weight"] = state["conv_stem.weight"].sum(1, keepdim=True)
    path = tmp_path / "gray.safetensors"
    save_file(state, path)
    gray, rgb = source(path).load(1), source(path).load(3)
    assert torch.equal(next(gray.parameters()), state["conv_stem.weight"])
    images = torch.randn(2, 1, 64, 64)
    expected = gray(images)
    assert torch.allclose(
        rgb(images.expand(-1, 3, -1, -1)), expected, atol=1e-4 * float(expected.abs().max())
    )


def test_info_and_digest_are_those_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    save_file(tensors(network()), path)
    given = source(path)
    info = given.info()
    assert (info.available, info.size_bytes, info.architecture) == (True, path.stat().st_size, TIMM)
    digest = given.sha256()
    assert digest == file_sha256(path)
    state = tensors(network())
    state["conv_stem.weight"] += 1
    save_file(state, path)
    os.utime(path, ns=(1, 1))
    assert given.sha256() != digest
