"""The artifact store of the study that a request is about: each study has its own."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import sqlalchemy as sa
from bottle import HTTPError, request

from automl_transfer.errors import AutomlTransferError
from automl_transfer.store import tables as t
from automl_transfer.store.artifacts import ArtifactStore
from automl_transfer.store.files import files_below, is_picture

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
            return self._place_of(artifact_id).open(artifact_id)
        except (OSError, ValueError, AutomlTransferError) as error:
            raise HTTPError(404, f"This file is not in the study's artifact folder here: {error}") from None

    def write(self, artifact_id: str, content_body: BinaryIO) -> None:
        """Store a file that someone uploads."""
        with tempfile.TemporaryDirectory(prefix="automl-transfer-") as folder:
            file = Path(folder) / "file"
            with file.open("wb") as stream:
                shutil.copyfileobj(content_body, stream)
            self._places(artifact_id)[0].put(file, artifact_id)

    def remove(self, artifact_id: str) -> None:
        """Delete a file."""
        self._place_of(artifact_id).delete_file(artifact_id)

    def _place_of(self, artifact_id: str) -> ArtifactStore:
        """Where this file is; the study's own place where it is nowhere."""
        places = self._places(artifact_id)
        return next((place for place in places if place.exists(artifact_id)), places[0])

    def _places(self, artifact_id: str) -> list[ArtifactStore]:
        """The study's own place, and where pictures lay before studies had one, and plain Optuna's lie."""
        if not is_picture(artifact_id):  # it may be read from a row, which says nothing about other files
            raise HTTPError(404, "An artifact's name must be a UUID, as Optuna gives them.")
        url, identity = _study(self._store, int(request.url_args["study_id"])) or (None, None)
        base = url if self._folder is None else str(self._folder)
        if base is None:
            raise HTTPError(404, "Plain Optuna made this study: say where its files are with --artifact-dir.")
        own = [] if identity is None else [files_below(base, identity)]
        return [*own, ArtifactStore(base)]


def _study(store: Store, study_id: int) -> tuple[str, str] | None:
    """Where a study keeps its files, and its identity; None for a study that plain Optuna made."""
    query = sa.select(t.at_studies.c.artifact_url, t.at_studies.c.identity).where(
        t.at_studies.c.study_id == study_id
    )

    def find(connection: sa.Connection) -> tuple[str, str] | None:
        row = connection.execute(query).first()
        return None if row is None else (row[0], row[1])

    return store.read(find, "find the artifacts")
