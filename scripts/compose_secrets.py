"""Makes what docker-compose.yml reads: passwords, storage URLs and a token in secrets/, settings in .env.

    python3 scripts/compose_secrets.py [FOLDER]

Needs nothing but Python. What is there already stays as it is, so it is safe to repeat. Containers run as the
owner of these files, for nobody else may read them; when root runs this, they go to a user without rights.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import sys
from pathlib import Path

NOBODY = 10001  # the image's own user
DATABASE = "automl_transfer"
HOST = "database:5432"  # the service's name in docker-compose.yml


def owner_of_files() -> tuple[int, int]:
    """User and group that containers run as."""
    user, group = os.getuid(), os.getgid()
    return (NOBODY, NOBODY) if user == 0 else (user, group)


def write_secret(path: Path, text: str) -> str:
    """Write a secret that only its owner can read, unless it is there; returns what the file holds."""
    if not path.exists():
        descriptor = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text + "\n")
        if os.getuid() == 0:
            os.chown(path, *owner_of_files())
    return path.read_text(encoding="utf-8").strip()


def make_secrets(folder: Path) -> None:
    """Make every secret of the compose file that is not there yet."""
    folder.mkdir(mode=0o700, exist_ok=True)
    if os.getuid() == 0:
        os.chown(folder, *owner_of_files())
    password = write_secret(folder / "postgres_password", secrets.token_hex(24))
    for name, user, word in (
        ("owner_url", "automl_owner", password),
        ("worker_url", "automl_worker", secrets.token_hex(24)),
        ("reader_url", "automl_reader", secrets.token_hex(24)),
    ):
        write_secret(folder / name, f"postgresql://{user}:{word}@{HOST}/{DATABASE}")
    write_secret(folder / "dashboard_token", secrets.token_urlsafe(24))


def make_settings(base: Path) -> None:
    """Make .env from .env.example, with the user that containers run as; leave one that is there."""
    settings = base / ".env"
    if settings.exists():
        return
    user, group = owner_of_files()
    text = (base / ".env.example").read_text(encoding="utf-8")
    line = f"AUTOML_TRANSFER_USER={user}:{group}"
    settings.write_text(re.sub(r"(?m)^AUTOML_TRANSFER_USER=.*$", line, text), encoding="utf-8")


def make_results(base: Path) -> None:
    """Make the folder that `report` writes to; a container engine would make it for root."""
    folder = base / "results"
    folder.mkdir(exist_ok=True)
    if os.getuid() == 0:
        shutil.chown(folder, *owner_of_files())


def main() -> None:
    """Make all of it below a folder: the one with docker-compose.yml, unless another is named."""
    base = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[1]
    make_secrets(base / "secrets")
    make_settings(base)
    make_results(base)
    print(f"{base / 'secrets'}: passwords, and the dashboard's token in dashboard_token")
    print(f"{base / '.env'}: settings of docker-compose.yml")


if __name__ == "__main__":
    main()
