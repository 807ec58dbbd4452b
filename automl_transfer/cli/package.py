"""`automl-transfer package`: a model folder as one file for inference only."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from automl_transfer.cli import options
from automl_transfer.cli.screen import console, print_json


class Format(StrEnum):
    """Kinds of file."""

    SAFETENSORS = "safetensors"
    TORCH_EXPORT = "torch-export"
    ONNX = "onnx"


def run(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A model folder: runs/STUDY/model.")],
    form: Annotated[Format, typer.Option("--format", help="safetensors, torch-export or onnx.")],
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="A new file (default: beside the model); its suffix may be left out.",
        ),
    ] = None,
    with_preprocessing: Annotated[
        bool,
        typer.Option("--with-preprocessing", help="Take uint8 pixels (N, H, W, C), give probabilities."),
    ] = False,
    as_json: options.Json = False,
) -> None:
    """Write a model as one file for inference: no training state, no hyperparameters, nothing tunable.

    The file is run and compared with the model before it gets its name.

    \b
    $ automl-transfer package runs/quick/model --format onnx
    wrote runs/quick/model.onnx: 77 kB (the model folder's weights: 92 kB)
    takes float32 (batch, 1, 32, 32), normalised; gives logits of 10 classes
    parity: differs from the model by at most 1.9e-06
    latency, ms an image: 0.21 alone, 0.041 in batches of 32 (the model: 0.97, 0.087)
    """
    from automl_transfer.recipes.package import package

    made = package(model, form.value, output, preprocessing=with_preprocessing)
    described = made.description
    if as_json:
        print_json(
            {
                "file": str(made.path),
                "bytes": made.size_bytes,
                "model_bytes": made.model_bytes,
                "difference": made.difference,
                "ms_per_image": {"alone": made.latency.alone, "batch_32": made.latency.batched},
                "model_ms_per_image": {
                    "alone": made.model_latency.alone,
                    "batch_32": made.model_latency.batched,
                },
            }
        )
        return
    taken = ", ".join(str(side) for side in described.input_shape)
    kind = "uint8" if described.preprocessing else "float32"
    normalised = "" if described.preprocessing else ", normalised"
    latency, of_model = made.latency, made.model_latency
    several = f"{described.networks} networks" if described.networks > 1 else ""
    passes = " and ".join(filter(None, (several, "a pass over the mirror image" if described.flips else "")))
    for line in (
        f"wrote {made.path}: {_size(made.size_bytes)} "
        f"(the model folder's weights: {_size(made.model_bytes)})",
        f"takes {kind} (batch, {taken}){normalised}; gives {described.output} of "
        f"{len(described.classes)} classes",
        *([f"in the file, and run by whoever runs it: {passes}"] if passes else []),
        f"parity: differs from the model by at most {made.difference:.2g}",
        f"latency, ms an image: {latency.alone:.2g} alone, {latency.batched:.2g} in batches of 32 "
        f"(the model: {of_model.alone:.2g}, {of_model.batched:.2g})",
    ):
        console().print(line, markup=False, soft_wrap=True)


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"
