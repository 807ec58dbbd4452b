"""Packaged models beside the trained ones: parity, size and latency; and a truncated winner beside its whole source.

    python benchmarks/packages.py [--repeats 15] [--size 96] [--winner runs/quick/model]

Four whole architectures with random weights, packaged in every format; each file's latency is measured in turns
with its model's. Then a truncated model (the first 3 of EfficientNet-Lite0's 9 groups, pooled 4x4, as a search on
digits finds it; or a model folder given with --winner) beside the whole source with a head for the same classes at
the same resolution, all four runs in turns.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import torch

import automl_transfer.recipes.package as packaging
from automl_transfer.domain.model_description import read_description
from automl_transfer.models.heads import build_from_description
from automl_transfer.recipes.best_strategy import Recipe, read_recipe
from automl_transfer.recipes.model_folder import load_model, save_model
from automl_transfer.recipes.packaging.description import describe
from automl_transfer.recipes.packaging.registry import FORMATS

RECIPE = Path(__file__).resolve().parents[1] / "tests" / "recipes" / "old" / "recipe-1.json"
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
NETWORKS = (
    "timm/tf_efficientnet_lite0",
    "torchvision/resnet18",
    "timm/convnext_atto",
    "timm/deit_tiny_patch16_224",
)


def folder_of(
    place: Path, recipe: Recipe, architecture: str, groups: int, pool: int, channels: int, size: int
) -> Path:
    torch.manual_seed(0)
    model = build_from_description(architecture, groups, pool, channels, 10, size)
    constants = IMAGENET if channels == 3 else ((0.5,), (0.5,))
    save_model(
        place, model, architecture=architecture, in_channels=channels, resolution=size,
        classes=tuple("0123456789"), normalisation=constants, recipe=recipe,
    )  # fmt: skip
    return place


def groups_of(architecture: str) -> int:
    from automl_transfer.models.scratch import build_architecture

    return len(build_architecture(architecture, 3).groups)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--size", type=int, default=96, help="pixels")
    parser.add_argument(
        "--networks", nargs="*", default=NETWORKS, help="whole architectures to package; none skips them"
    )
    parser.add_argument("--winner", type=Path)
    given = parser.parse_args()
    packaging.REPEATS = given.repeats
    recipe = read_recipe(RECIPE)
    print(f"torch {torch.__version__}, {torch.get_num_threads()} threads, medians of {given.repeats}; "
          "latency in ms an image, alone / in batches of 32")  # fmt: skip
    with tempfile.TemporaryDirectory() as temporary:
        root = Path(temporary)
        for architecture in given.networks:
            size = given.size
            name = architecture.partition("/")[2]
            model = folder_of(root / name, recipe, architecture, groups_of(architecture), 1, 3, size)
            for form in FORMATS:
                made = packaging.package(model, form)
                print(f"{name:22} {size} px {form:13} difference {made.difference:.1e}  "
                      f"{made.size_bytes / 1e6:6.2f} MB (weights {made.model_bytes / 1e6:6.2f})  "
                      f"{made.latency.alone:6.2f} / {made.latency.batched:6.2f}  "
                      f"(model {made.model_latency.alone:6.2f} / {made.model_latency.batched:6.2f})", flush=True)  # fmt: skip
        winner = given.winner or folder_of(root / "winner", recipe, NETWORKS[0], 3, 4, 1, 32)
        stated = read_description(winner)
        groups = groups_of(stated.architecture)
        whole = folder_of(
            root / "whole", recipe, stated.architecture, groups, 1, stated.in_channels, stated.resolution
        )
        runs = {}
        for name, place in (("winner", winner), ("whole source", whole)):
            trained, described = load_model(place)
            description = describe(described, preprocessing=False, network=False)
            runs[f"{name}, as trained"] = packaging._reference(trained, description)
            file = packaging.package(place, "onnx", root / f"{name}.onnx")
            runs[f"{name}, onnx ({file.size_bytes / 1e6:.2f} MB)"] = FORMATS["onnx"].open(file.path)
        latencies = packaging.compare_latency(list(runs.values()), description, given.repeats)
        print(
            f"\n{stated.architecture}, {stated.groups_kept} of {groups} groups beside the whole, {stated.resolution} px"
        )
        for name, latency in zip(runs, latencies, strict=True):
            print(f"{name:32} {latency.alone:7.3f} / {latency.batched:7.3f}")
        for position, form in ((0, "as trained"), (1, "onnx")):
            few, all_ = latencies[position], latencies[position + 2]
            print(
                f"the whole takes {all_.alone / few.alone:.1f} / {all_.batched / few.batched:.1f} times as long ({form})"
            )


if __name__ == "__main__":
    main()
