"""Where the files of a study lie, and under which keys: below its identity, so that no two studies share any.

    ARTIFACT_URL/IDENTITY/trial-000003/state-0-7     training state after epoch 7 of trial 3's first attempt
    ARTIFACT_URL/IDENTITY/trial-000003/model-0.safetensors
    ARTIFACT_URL/IDENTITY/trial-000003/reconstructions.png
    ARTIFACT_URL/IDENTITY/0b7f...-...                a picture, under the name that Optuna's tools know

All keys are composed here. One that is read from a row of the database is compared with these, never used:
whoever may write a row may not say which files are read or removed.
"""

from __future__ import annotations

import logging
import re

from automl_transfer.store.artifacts import ArtifactStore
from automl_transfer.store.values import StudyHandle

log = logging.getLogger(__name__)

_STATE = re.compile(r"trial-\d+/state-\d+-\d+(?=/)")
# Never an identity, which has no hyphen, nor a trial's folder.
_PICTURE = re.compile(r"[0-9a-f]+(-[0-9a-f]+)+")


def study_files(study: StudyHandle) -> ArtifactStore:
    """The files of one study, and of no other."""
    return files_below(study.artifact_url, study.identity)


def files_below(url: str, identity: str) -> ArtifactStore:
    """The files of the study of this identity, where artifacts lie under this URL."""
    return ArtifactStore(_below(url, identity))


def url_of(study: StudyHandle) -> str:
    """Where the files of a study lie, in words: nothing is opened, and no driver asked for."""
    return _below(study.artifact_url, study.identity)


def _below(url: str, identity: str) -> str:
    return f"{url.rstrip('/')}/{identity}"


def earlier_files(study: StudyHandle) -> ArtifactStore:
    """Where versions before identities kept them. Other studies' may lie there under the same keys."""
    return ArtifactStore(study.artifact_url)


def state_key(root: int, attempt: int, epoch: int) -> str:
    """Where the training state after an epoch lies: a folder."""
    return f"trial-{root:06d}/state-{attempt}-{epoch}"


def drop_states(files: ArtifactStore, root: int) -> None:
    """Remove the training states of a strategy that is done, those of killed attempts too."""
    folder = f"trial-{root:06d}"
    found = {_STATE.match(key) for key in files.list(folder)}
    for state in sorted(match[0] for match in found if match is not None):
        drop(files, state)


def drop(files: ArtifactStore, key: str) -> None:
    """Remove a checkpoint that nothing needs any more. One that stays costs space, no trial."""
    try:
        files.delete(key)
    except OSError as error:
        log.warning("checkpoint %s is not needed any more and cannot be removed: %s", key, error)


def model_key(root: int, attempt: int) -> str:
    """Where the trained weights of a finished trial lie: a file."""
    return f"trial-{root:06d}/model-{attempt}.safetensors"


def reconstructions_key(root: int) -> str:
    """Where the picture lies of what a trial's preparation reconstructs: a file."""
    return f"trial-{root:06d}/reconstructions.png"


def root_of(key: str) -> int | None:
    """The root trial that a key belongs to; None for a picture, or what someone else put there."""
    found = re.match(r"trial-(\d+)/", key)
    return int(found[1]) if found else None


def is_picture(key: str) -> bool:
    """Whether a key is one that Optuna gives to artifacts: a UUID, neither a path nor a folder of ours."""
    return _PICTURE.fullmatch(key) is not None
