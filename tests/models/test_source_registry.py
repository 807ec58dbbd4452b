"""Names, listings and downloads: what `get_source` understands, and what happens without a network."""

from __future__ import annotations

import hashlib
import http.server
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from automl_transfer.errors import SourceError
from automl_transfer.models import catalogue
from automl_transfer.models.architectures import create_network
from automl_transfer.models.download import fetch_url
from automl_transfer.models.registry import FORMS, get_source, list_sources, source_traits
from automl_transfer.models.traits import traits_of

DOWNLOADS = ("timm/resnet18.a1_in1k", "torchvision/ResNet18_Weights.IMAGENET1K_V1")


@pytest.fixture
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Empty caches, and a proxy that nobody listens at: every connection is refused."""
    from huggingface_hub import constants

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    return tmp_path


def test_listing_imports_neither_torch_nor_timm() -> None:
    code = (
        "import sys; from automl_transfer.models.registry import list_sources;"
        "assert len(list_sources()) > 5;"
        "print([name for name in ('torch', 'timm', 'torchvision') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_listing_states_licence_size_and_presence(caches: Path) -> None:
    listed = {info.name: info for info in list_sources()}
    assert listed["efficientnet-lite0"].available
    assert listed["scratch"].available
    assert listed["scratch"].size_bytes is None
    for name in DOWNLOADS:
        assert not listed[name].available
        assert (listed[name].size_bytes or 0) > 40e6
    assert all(info.licence for info in listed.values())


@pytest.mark.parametrize("entry", catalogue.RECOMMENDED, ids=lambda entry: entry.name)
def test_catalogue_agrees_with_the_libraries(entry: catalogue.Recommended, caches: Path) -> None:
    stated, real = entry.info(), get_source(entry.name).info()
    assert stated == real


@pytest.mark.parametrize("name", DOWNLOADS)
def test_without_a_network_a_download_is_one_clear_error(name: str, caches: Path) -> None:
    source = get_source(name)
    for allow, reason in ((True, "cannot be fetched"), (False, "downloads are off")):
        with pytest.raises(SourceError) as caught:
            source.load(3, allow_download=allow)
        text = str(caught.value)
        assert name in text
        assert "(47 MB)" in text
        assert reason in text
        assert "checkpoint/ARCHITECTURE@PATH" in text
    assert source.sha256() is None
    assert [path for path in caches.rglob("*") if path.is_file()] == []


@torch.no_grad()
def test_torchvision_weights_on_this_machine_are_used(caches: Path) -> None:
    model = create_network("torchvision/densenet121")
    old = {  # the names in torchvision's files are those of its first versions
        name.replace("norm1.", "norm.1.").replace("conv2.", "conv.2.")
        if "denselayer" in name
        else name: tensor
        for name, tensor in model.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    path = caches / "torch" / "hub" / "checkpoints" / "densenet121-a639ec97.pth"
    path.parent.mkdir(parents=True)
    torch.save(old, path)
    source = get_source("torchvision/DenseNet121_Weights.IMAGENET1K_V1")
    assert source.info().available
    backbone = source.load(3, allow_download=False)
    assert torch.equal(next(backbone.parameters()), next(model.parameters()))
    assert source.sha256() == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (backbone.mean, backbone.resolution) == ((0.485, 0.456, 0.406), 224)


def test_googlenet_is_normalised_as_its_weights_expect(caches: Path) -> None:
    model = create_network("torchvision/googlenet")
    path = caches / "torch" / "hub" / "checkpoints" / "googlenet-1378be20.pth"
    path.parent.mkdir(parents=True)
    torch.save({**model.state_dict(), "aux1.conv.conv.weight": torch.zeros(1)}, path)
    backbone = get_source("torchvision/GoogLeNet_Weights.IMAGENET1K_V1").load(3, allow_download=False)
    assert backbone.mean == backbone.std == (0.5, 0.5, 0.5)


def hub_file(caches: Path, repository: str) -> Path:
    folder = caches / "hub" / f"models--{repository.replace('/', '--')}"
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("c0ffee")
    path = folder / "snapshots" / "c0ffee" / "model.safetensors"
    path.parent.mkdir(parents=True)
    return path


@torch.no_grad()
@pytest.mark.parametrize("name", ["timm/resnet18.a1_in1k", "timm/vit_tiny_patch16_224"])
def test_timm_weights_on_this_machine_are_used(name: str, caches: Path) -> None:
    source = get_source(name)
    repository = {"timm/vit_tiny_patch16_224": "timm/vit_tiny_patch16_224.augreg_in21k_ft_in1k"}.get(
        name, name
    )
    model = create_network(name.partition(".")[0])
    path = hub_file(caches, repository)
    save_file(model.state_dict(), path)
    info = source.info()
    assert (info.available, info.revision, info.size_bytes) == (True, "c0ffee", path.stat().st_size)
    backbone = source.load(1, allow_download=False)
    assert backbone.architecture == name.partition(".")[0]
    theirs = dict(model.named_parameters())
    last = list(backbone.parameters())[-1]
    assert any(tensor.shape == last.shape and torch.equal(tensor, last) for tensor in theirs.values())
    assert backbone.run(torch.zeros(1, 1, 32, 32)).shape[0] == 1


def test_timm_weights_that_do_not_fit_are_refused(caches: Path) -> None:
    save_file({"conv1.weight": torch.zeros(64, 3, 7, 7)}, hub_file(caches, "timm/resnet18.a1_in1k"))
    with pytest.raises(SourceError, match=r"timm/resnet18\.a1_in1k must fit"):
        get_source("timm/resnet18.a1_in1k").load(3)


class Handler(http.server.BaseHTTPRequestHandler):
    content = b"weights" * 1000

    def do_GET(self) -> None:
        if "missing" in self.path:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.content)))
        self.end_headers()
        self.wfile.write(self.content[:500] if "short" in self.path else self.content)

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{running.server_port}"
        running.shutdown()
        thread.join()


def test_downloads_are_whole_checked_and_kept(server: str, caches: Path) -> None:
    digest = hashlib.sha256(Handler.content).hexdigest()[:8]
    url = f"{server}/net-{digest}.pth"
    path = fetch_url(url, "a/net", None, allow_download=True)
    assert path.read_bytes() == Handler.content
    assert path.stat().st_mode & 0o077 == 0o044
    assert fetch_url(url, "a/net", None, allow_download=False) == path
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize(
    ("file", "text"),
    [
        ("net-00000000.pth", "sha256 that begins with 00000000"),
        ("short.pth", "cannot be fetched"),
        ("missing.pth", "Not Found"),
    ],
)
def test_damaged_downloads_leave_nothing(file: str, text: str, server: str, caches: Path) -> None:
    with pytest.raises(SourceError, match=text):
        fetch_url(f"{server}/{file}", "a/net", None, allow_download=True)
    assert [path for path in caches.rglob("*") if path.is_file()] == []


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("", "a source is one of efficientnet-lite0"),
        ("efficientnet", "close names: efficientnet-lite2, efficientnet-lite1, efficientnet-lite0"),
        ("imagenet/resnet18", "a source is one of"),
        ("scratch/resnet18", "must be timm/NAME or torchvision/NAME, got 'resnet18'"),
        ("scratch/timm/resnt18", "timm/resnet18"),
        ("scratch/torchvision/resnet19", "torchvision/resnet18"),
        ("timm/", "no such timm source"),
        ("timm/nosuchnet", "close names: timm/"),
        ("timm/resnt18", "timm/resnet18"),
        ("timm/resnet18.a1", r"timm/resnet18\.a1_in1k"),
        ("timm/test_vit4", "has none: take scratch/timm/test_vit4"),
        ("torchvision/resnet18", r"torchvision/ResNet18_Weights\.IMAGENET1K_V1"),
        ("torchvision/ResNet18_Weights", r"torchvision/ResNet18_Weights\.IMAGENET1K_V1"),
        ("torchvision/ResNet18_Weights.V9", r"ResNet18_Weights\.IMAGENET1K_V1"),
        ("checkpoint/", "checkpoint/ARCHITECTURE@PATH"),
        ("a\0b", "null character"),
    ],
)
def test_names_that_do_not_exist_are_refused_with_what_is_possible(name: str, text: str) -> None:
    with pytest.raises(SourceError, match=text):
        get_source(name)


@pytest.mark.parametrize(
    ("name", "traits"),
    [
        ("efficientnet-lite0", {"batch_norms", "residual_blocks", "source_head"}),
        ("scratch", {"batch_norms", "residual_blocks"}),
        ("scratch/torchvision/vgg11", {"unnormalised"}),
        ("scratch/torchvision/resnet18", {"batch_norms"}),
        ("scratch/timm/resnet18", {"batch_norms", "residual_blocks"}),
        ("scratch/timm/test_vit", {"residual_blocks"}),
        ("scratch/timm/convnext_zepto_rms", {"residual_blocks"}),
        ("timm/vit_tiny_patch16_224.augreg_in21k", {"residual_blocks", "source_head"}),
        ("timm/vit_small_patch14_dinov2.lvd142m", {"residual_blocks"}),
    ],
)
def test_traits_are_known_without_a_download(name: str, traits: set[str], caches: Path) -> None:
    """And they are those of the network that is loaded, where it is here."""
    assert source_traits(name) == traits
    if name in ("efficientnet-lite0", "scratch/timm/test_vit"):
        assert traits_of(get_source(name).load(1)) == traits


def test_every_form_is_documented() -> None:
    from automl_transfer.models import registry

    assert registry.__doc__ is not None
    for form in FORMS:
        assert form.partition("/")[0] in registry.__doc__


@pytest.mark.parametrize("name", ["scratch", "scratch/timm/resnet18", "scratch/torchvision/resnet18"])
def test_scratch_is_random_and_seeded(name: str) -> None:
    source = get_source(name)
    torch.manual_seed(5)
    one = source.load(1)
    torch.manual_seed(5)
    same = source.load(1, allow_download=False)
    other = source.load(1)
    first = [next(backbone.parameters()) for backbone in (one, same, other)]
    assert torch.equal(first[0], first[1])
    assert not torch.equal(first[0], first[2])
    assert (one.pretrained, one.in_channels, first[0].shape[1], source.sha256()) == (False, 1, 1, None)
    assert source.info().available
