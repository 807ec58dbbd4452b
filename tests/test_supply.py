"""What a release is made of: the wheel, its constraints, licences, its bill of materials, and the audit."""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import json
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema
import pytest
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[1]
BOM: dict[str, Any] = {
    "type": "object",
    "required": ["bomFormat", "specVersion", "version", "components", "dependencies"],
    "additionalProperties": False,
    "properties": {
        "bomFormat": {"const": "CycloneDX"},
        "specVersion": {"const": "1.6"},
        "serialNumber": {"pattern": "^urn:uuid:[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$"},
        "version": {"type": "integer", "minimum": 1},
        "metadata": {"type": "object"},
        "components": {"type": "array", "uniqueItems": True, "items": {"$ref": "#/$defs/component"}},
        "dependencies": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["ref"],
                "additionalProperties": False,
                "properties": {
                    "ref": {"type": "string"},
                    "dependsOn": {"type": "array", "uniqueItems": True, "items": {"type": "string"}},
                },
            },
        },
    },
    "$defs": {
        "component": {
            "type": "object",
            "required": ["type", "name", "version", "purl", "bom-ref", "licenses"],
            "additionalProperties": False,
            "properties": {
                "type": {"enum": ["library", "application"]},
                "name": {"pattern": "^[a-z0-9-]+$"},
                "version": {"minLength": 1},
                "bom-ref": {"minLength": 1},
                "purl": {"pattern": "^pkg:pypi/[a-z0-9-]+@[^@]+$"},
                "licenses": {
                    "type": "array", "minItems": 1, "maxItems": 1,
                    "items": {"oneOf": [
                        {"required": ["expression"], "maxProperties": 1},
                        {"required": ["license"], "maxProperties": 1},
                    ]},
                },
                "hashes": {"items": {
                    "required": ["alg", "content"],
                    "properties": {"alg": {"const": "SHA-256"}, "content": {"pattern": "^[0-9a-f]{64}$"}},
                }},
            },
        }
    },
}  # fmt: skip
"""What CycloneDX 1.6 asks of the parts that we write, after its specification."""


@pytest.fixture(scope="module")
def supply() -> ModuleType:
    spec = importlib.util.spec_from_file_location("supply", ROOT / "scripts" / "supply.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_wheel_holds_the_package_and_nothing_else(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    info = re.match(r"(.+?-.+?)-", wheel.name)
    assert info is not None
    outside = [n for n in names if not n.startswith(("automl_transfer/", f"{info[1]}.dist-info/"))]
    assert outside == []
    kinds = {Path(n).suffix for n in names if n.startswith("automl_transfer/")}
    assert kinds <= {".py", ".typed", ".j2", ".css", ".js", ".txt", ".json", ".toml", ".mako", ""}, kinds
    tracked = subprocess.run(
        ["git", "ls-files", "automl_transfer", "studies"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if tracked.returncode == 0:  # not where the sources came without git
        known = {re.sub("^studies/", "automl_transfer/studies/", name) for name in tracked.stdout.split()}
        assert {n for n in names if n.startswith("automl_transfer/")} <= known


def test_every_constraint_has_a_hash_and_no_host(supply: ModuleType) -> None:
    text = (ROOT / "constraints-hashes.txt").read_text()
    assert "://" not in text
    assert "index" not in text
    wanted = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split() if "==" in line)
    pinned = dict(line.split(" --hash")[0].split("==") for line in text.splitlines() if "==" in line)
    assert {supply.canonical(n): v for n, v in pinned.items()} == {
        supply.canonical(n): v for n, v in wanted.items()
    }, "run: python scripts/supply.py lock"
    assert all(supply.locked()[supply.canonical(name)] for name in wanted)


def test_what_is_pinned_runs_on_the_oldest_python_that_is_promised() -> None:
    """Python 3.11.2 is Debian 12's; a version that wants 3.11.5 would end `make test` there before it began."""
    promised = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    oldest = promised.removeprefix(">=") + ".0"
    refusing = {}
    for line in (ROOT / "constraints.txt").read_text().split():
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            wanted = importlib.metadata.metadata(line.partition("==")[0]).get("Requires-Python") or ""
            if oldest not in SpecifierSet(wanted):
                refusing[line] = wanted
    assert refusing == {}


def test_the_bill_of_materials_follows_the_rules_and_is_whole(supply: ModuleType) -> None:
    bill = supply.sbom()
    jsonschema.validate(json.loads(json.dumps(bill)), BOM)
    references = [each["bom-ref"] for each in (bill["metadata"]["component"], *bill["components"])]
    assert len(references) == len(set(references))
    named = {ref for each in bill["dependencies"] for ref in (each["ref"], *each["dependsOn"])}
    assert named <= set(references)
    assert {"torch", "optuna", "pydantic", "timm"} <= {each["name"] for each in bill["components"]}
    assert not {"pytest", "ruff", "mypy", "hypothesis"} & {each["name"] for each in bill["components"]}
    assert bill == supply.sbom()


def test_every_needed_package_stands_in_the_table_of_licences_with_one(supply: ModuleType) -> None:
    rows = re.findall(
        r"^\| (\S+) \| \S+ \| (.+) \|$", (ROOT / "docs/reference/licences.md").read_text(), re.MULTILINE
    )
    table = {name: licence for name, licence in rows if name != "package"}
    missing = set(supply.needed()) - {"automl-transfer"} - set(table)
    assert not missing, "run: python scripts/supply.py licences"
    assert not {name for name, licence in table.items() if licence in ("not stated", "UNKNOWN")}
    assert not {name for name, licence in table.items() if re.search(r"\bA?GPL", licence)}


def test_the_audit_finds_an_old_package_and_a_changed_file(
    supply: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    info = tmp_path / "victim-1.0.dist-info"
    info.mkdir()
    (tmp_path / "victim.py").write_text("good = True\n")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: victim\nVersion: 1.0\n")
    digest = supply.encoded(tmp_path / "victim.py")
    (info / "RECORD").write_text(f"victim.py,{digest},12\nvictim-1.0.dist-info/METADATA,,\n")
    faults = tmp_path / "known_bad.toml"
    faults.write_text('[[victim]]\nbelow = "1.0.1"\ncve = "CVE-2000-1"\nwhat = "it opens the door"\n')
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(supply, "KNOWN_BAD", faults)
    monkeypatch.setattr(supply, "needed", lambda: {"automl-transfer": {"victim"}, "victim": set()})
    monkeypatch.setattr(supply, "pip", lambda *arguments: "")
    assert supply.audit(everything=False) == 1
    said = capsys.readouterr().out
    assert "ends on a day that is not stated: what it does not name was not looked for" in said
    assert "victim must be >= 1.0.1 (CVE-2000-1: it opens the door), got 1.0" in said
    faults.write_text("")
    assert supply.audit(everything=False) == 0
    (tmp_path / "victim.py").write_text("good = Fals\n")
    assert supply.audit(everything=False) == 1
    assert "victim.py is not what was installed" in capsys.readouterr().out


def test_the_list_of_known_faults_can_be_read_and_says_what(supply: ModuleType) -> None:
    faults, until = supply.known_faults()
    assert re.fullmatch(r"20\d\d-\d\d-\d\d", until)
    for some in faults.values():
        for each in some:
            assert re.fullmatch(r"CVE-20\d\d-\d{4,}", each["cve"])
            assert supply.Version(each["below"])
            assert each["what"]
    assert list(supply.too_old()) == []
