"""ONNX: runs wherever an ONNX runtime does, without PyTorch."""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from automl_transfer.errors import ConfigurationError
from automl_transfer.recipes.packaging.base import Answers, PackageFormat, example_images
from automl_transfer.recipes.packaging.description import KEY, PackageDescription

if TYPE_CHECKING:
    from automl_transfer.recipes.packaging.graph import Inference

INPUT = "images"
NEEDED = ("onnx", "onnxscript", "onnxruntime")


class OnnxFile(PackageFormat):
    """`.onnx`: one input, `images`, and one output, named as the description says."""

    suffix = ".onnx"

    def check(self) -> None:
        """The extra is needed."""
        missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
        if missing:
            raise ConfigurationError(
                f"the format onnx needs {', '.join(missing)}, not installed: "
                "pip install 'automl-transfer[onnx]'"
            )

    def write(self, model: Inference, description: PackageDescription, path: Path) -> None:
        """Export the program, and leave out what the exporter notes about this machine."""
        import onnx
        import torch

        from automl_transfer.recipes.packaging.graph import program

        exported = program(model, torch.from_numpy(example_images(description, 2)))
        with _quiet():
            made = torch.onnx.export(
                exported,
                dynamo=True,
                input_names=[INPUT],
                output_names=[description.output],
                verbose=False,
            )
        assert made is not None
        proto = made.model_proto
        _strip(proto)
        _name_batch(proto)
        entry = proto.metadata_props.add()
        entry.key, entry.value = KEY, description.to_json()
        onnx.checker.check_model(proto, full_check=True)
        onnx.save_model(proto, str(path))

    def open(self, path: Path) -> Answers:
        """In onnxruntime, on the CPU."""
        import onnxruntime
        import torch

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = 3
        session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

        def answers(images: npt.NDArray[Any]) -> npt.NDArray[np.float32]:
            return np.asarray(session.run(None, {INPUT: images})[0])

        return answers


def _strip(message: Any) -> None:
    """Clear notes and documentation everywhere: stack traces, source lines, names of modules."""
    for field, value in list(message.ListFields()):
        if field.name in ("metadata_props", "doc_string"):
            message.ClearField(field.name)
        elif field.message_type is not None:
            for part in [value] if hasattr(value, "ListFields") else list(value):
                if hasattr(part, "ListFields"):
                    _strip(part)


def _name_batch(proto: Any) -> None:
    """The one dimension that is free is called `batch`."""
    for value in (*proto.graph.input, *proto.graph.output, *proto.graph.value_info):
        dimensions = value.type.tensor_type.shape.dim
        if dimensions and dimensions[0].dim_param:
            dimensions[0].dim_param = "batch"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter prints its progress, and warns about its own insides."""
    logger = logging.getLogger("torch.onnx")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
