"""Search over transfer strategies for image classification.

The front door is `automl_transfer.api`; `train` and `ModelMigration`, one strategy by hand, are also here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from automl_transfer.api import ModelMigration, train

__all__ = ["ModelMigration", "__version__", "train"]

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    """Whoever asks for the version alone does not wait for the rest."""
    if name in ("ModelMigration", "train"):
        from automl_transfer import api

        return getattr(api, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
