"""Package formats by name. A new one is one file and one line here."""

from __future__ import annotations

from automl_transfer.errors import ConfigurationError
from automl_transfer.recipes.packaging.base import PackageFormat
from automl_transfer.recipes.packaging.onnx_file import OnnxFile
from automl_transfer.recipes.packaging.safetensors_file import SafetensorsFile
from automl_transfer.recipes.packaging.torch_export import TorchExport

FORMATS: dict[str, PackageFormat] = {
    "safetensors": SafetensorsFile(),
    "torch-export": TorchExport(),
    "onnx": OnnxFile(),
}


def get_format(name: str) -> PackageFormat:
    """The format of this name.

    Raises:
        ConfigurationError: There is none, or something that it needs is not installed.
    """
    if name not in FORMATS:
        raise ConfigurationError(f"format must be one of {', '.join(FORMATS)}, got {name!r}")
    FORMATS[name].check()
    return FORMATS[name]
