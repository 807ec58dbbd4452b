"""The artifact store of the study that a request is about: each study has its own."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import sqlalchemy as sa
from bottle import HTTPError, request

from automl_transfer.errors import AutomlTransferError
from automl_transfer.store import tables as t
from automl_transfer.store.artifacts import ArtifactStore

if TYPE_CHECKING:
    from automl_transfer.store.store import Store


class StudyArtifacts:
    """Optuna's protocol of an artifact store (`open_reader`, `write`, `remove`) over those of all studies.

    Args:
        store: Knows where each study keeps its files.
        folder: Where all files are instead, for a machine that sees them elsewhere.
    """

    def __init__(self, store: Store, folder: Path | None = None) -> None:
        self._store = store
        self._folder = folder

    def open_reader(self, artifact_id: str) -> BinaryIO:
        """Open a file that the database names.

        Raises:
            HTTPError: 404, when it is not where the study keeps its files.
        """
        try:
            return self._of_request().open(artifact_id)
        except (OSError, ValueError, AutomlTransferError) as error:
            raise HTTPError(404, f"This file is not in the study's artifact folder here: {error}") from None

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Store a file that someone uploads."""
        with tempfile.TemporaryDirectory(prefix="automl-transfer-") as folder:
            file = Path(folder) / "file"
            with file.open("wb") as stream:
                shutil.copyfileobj(content_body, stream)
            self._of_request().put(file, artifact_id)

    def remove(self, artifact_id: str) -> None:
        """Delete a file."""
        self._of_request().delete(artifact_id)

    def _of_request(self) -> ArtifactStore:
        if self._folder is not None:
            return ArtifactStore(str(self._folder))
        url = artifact_url(self._store, int(request.url_args["study_id"]))
        if url is None:
            raise HTTPError(404, "Plain Optuna made this study: say where its files are with --artifact-dir.")
        return ArtifactStore(url)


def artifact_url(store: Store, study_id: int) -> str | None:
    """Where a study keeps its files; None for a study that plain Optuna made."""
    query = sa.select(t.at_studies.c.artifact_url).where(t.at_studies.c.study_id == study_id)
    find: Callable[[sa.Connection], str | None] = lambda c: c.execute(query).scalar()  # noqa: E731
    return store.read(find, "find the artifacts")
