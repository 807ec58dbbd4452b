"""Where the dashboard's token comes from: a file that only its owner can read, or the environment."""

from __future__ import annotations

import os
from pathlib import Path

from automl_transfer.dashboard.login import SHORTEST
from automl_transfer.errors import ConfigurationError
from automl_transfer.files import read_secret, refuse_readable_by_others

ENVIRONMENT_VARIABLE = "AUTOML_TRANSFER_DASHBOARD_TOKEN"


def read_token(file: Path | None) -> str | None:
    """The token: the first line of `file`, else the environment; None where neither says one.

    Raises:
        ConfigurationError: A file that is missing, empty or readable by others, or a token that is too short.
    """
    if file is None:
        token = os.environ.get(ENVIRONMENT_VARIABLE, "").strip()
        return _checked(token, ENVIRONMENT_VARIABLE) if token else None
    text = read_secret(
        file,
        "--token-file",
        "the token",
        ConfigurationError,
        f'. Make one: (umask 077; python -c "import secrets; print(secrets.token_urlsafe(24))" > {file})',
    )
    refuse_readable_by_others(file, "token", ConfigurationError)
    return _checked(text, str(file))


def _checked(token: str, where: str) -> str:
    if len(token) < SHORTEST or not token.isascii() or not token.isprintable():
        raise ConfigurationError(
            f"a token must have at least {SHORTEST} printable ASCII characters, got {len(token)} characters "
            f"in {where}"
        )
    return token
