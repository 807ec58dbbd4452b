"""The compose file and the secrets it reads fit each other; compose_check.py runs them for real."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
COMPOSE: dict[str, Any] = yaml.safe_load((REPOSITORY / "docker-compose.yml").read_text())


def make(folder: Path) -> dict[str, str]:
    script = REPOSITORY / "scripts" / "compose_secrets.py"
    subprocess.run([sys.executable, str(script), str(folder)], check=True, capture_output=True)
    return {file.name: file.read_text() for file in (folder / "secrets").iterdir()}


def test_the_script_makes_every_secret_once_and_for_its_owner_only(tmp_path: Path) -> None:
    shutil.copy(REPOSITORY / ".env.example", tmp_path)
    made = make(tmp_path)
    assert set(made) == set(COMPOSE["secrets"])
    assert len(set(made.values())) == len(made)
    for name in made:
        path = tmp_path / "secrets" / name
        assert path.stat().st_mode & 0o077 == 0
        owner = path.stat()
        assert f"AUTOML_TRANSFER_USER={owner.st_uid}:{owner.st_gid}\n" in (tmp_path / ".env").read_text()
        assert owner.st_uid != 0
    assert made["postgres_password"].strip() in made["owner_url"]
    (tmp_path / ".env").write_text("mine")
    assert make(tmp_path) == made
    assert (tmp_path / ".env").read_text() == "mine"


def test_each_service_has_only_the_secrets_of_its_role() -> None:
    secrets = {name: set(service.get("secrets", [])) for name, service in COMPOSE["services"].items()}
    assert secrets == {
        "database": {"postgres_password"},
        "init": {"owner_url", "worker_url", "reader_url"},
        "worker": {"worker_url"},
        "dashboard": {"reader_url", "dashboard_token"},
        "report": {"worker_url"},
    }


def test_only_the_dashboard_is_published_and_only_on_this_machine() -> None:
    ports = {name: service["ports"] for name, service in COMPOSE["services"].items() if "ports" in service}
    assert list(ports) == ["dashboard"]
    assert all(port.startswith("127.0.0.1:") for port in ports["dashboard"])


def test_every_setting_is_explained() -> None:
    text = (REPOSITORY / "docker-compose.yml").read_text()
    explained = (REPOSITORY / ".env.example").read_text()
    used = set(re.findall(r"\$\{([A-Z_]+)", text)) - {"AUTOML_TRANSFER_IMAGE", "SECRETS", "RESULTS"}
    assert used == set(re.findall(r"(?m)^([A-Z_]+)=", explained))
