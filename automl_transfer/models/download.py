"""Weights that are fetched once: where they lie on this machine, and how they get there.

Only the standard library and huggingface_hub (for timm's weights) are imported, and no torch, so that
`available` is known quickly and without a network.
"""

from __future__ import annotations

import hashlib
import http.client
import os
import secrets
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

from automl_transfer.errors import SourceError
from automl_transfer.machine import path_of

CONNECT_SECONDS = 10.0
_CHUNK = 1 << 20
HUB_FILES = ("model.safetensors", "pytorch_model.bin")


def torch_cache() -> Path:
    """The folder in which torch keeps downloaded weights."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("TORCH_HOME") or os.path.join(cache, "torch")  # noqa: PTH118 as torch builds it
    return path_of(home) / "hub" / "checkpoints"


def cached_url(url: str) -> Path | None:
    """The file that this URL was downloaded to, if it is on this machine."""
    path = torch_cache() / _file_name(url)
    return path if os.path.isfile(path) else None  # noqa: PTH113 never raises


def fetch_url(url: str, source: str, size_bytes: int | None, *, allow_download: bool) -> Path:
    """The file behind a URL, from the cache or downloaded into it, whole or not at all.

    The eight or more hex digits at the end of the file name, where there are any, are the beginning of its
    sha256 and are checked.

    Raises:
        SourceError: It is not on this machine and cannot be fetched, or arrives damaged.
    """
    cached = cached_url(url)
    if cached is not None:
        return cached
    if not allow_download:
        raise SourceError(absent(source, size_bytes, "downloads are off"))
    target = torch_cache() / _file_name(url)
    part: Path | None = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with (
            urllib.request.urlopen(url, timeout=CONNECT_SECONDS) as answer,  # noqa: S310 https, from the library
            (part := target.with_name(f".part-{secrets.token_hex(8)}")).open("xb") as file,
        ):
            digest = hashlib.sha256()
            while block := answer.read(_CHUNK):
                digest.update(block)
                file.write(block)
            announced = answer.headers.get("Content-Length")
            if announced is not None and int(announced) != file.tell():
                raise OSError(f"the connection ended after {file.tell():,} of {int(announced):,} bytes")
        expected = _stated_digest(url)
        if not digest.hexdigest().startswith(expected):
            raise SourceError(
                f"the weights of {source} must have a sha256 that begins with {expected}, "
                f"got {digest.hexdigest()[:16]}: the download was damaged, try again"
            )
        part.replace(target)
    except (OSError, http.client.HTTPException) as error:
        raise SourceError(absent(source, size_bytes, _reason(error))) from error
    finally:
        if part is not None:
            part.unlink(missing_ok=True)
    return target


def cached_hub(repository: str, file_name: str | None) -> Path | None:
    """A file of a hub repository, if it is on this machine."""
    from huggingface_hub import try_to_load_from_cache

    for name in (file_name,) if file_name else HUB_FILES:
        found = try_to_load_from_cache(repository, name)
        if isinstance(found, str) and os.path.isfile(found):  # noqa: PTH113 never raises
            return Path(found)
    return None


def fetch_hub(
    repository: str, file_name: str | None, source: str, size_bytes: int | None, *, allow_download: bool
) -> Path:
    """A file of a hub repository, from the cache or downloaded into it, whole or not at all.

    Raises:
        SourceError: It is not on this machine and cannot be fetched.
    """
    cached = cached_hub(repository, file_name)
    if cached is not None:
        return cached
    if not allow_download:
        raise SourceError(absent(source, size_bytes, "downloads are off"))
    from huggingface_hub import constants, hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    if constants.HF_HUB_OFFLINE:
        raise SourceError(absent(source, size_bytes, "HF_HUB_OFFLINE is set"))
    _reach(constants.ENDPOINT, source, size_bytes)
    names = (file_name,) if file_name else HUB_FILES
    for name in names:
        try:
            return Path(hf_hub_download(repository, name, etag_timeout=CONNECT_SECONDS))
        except LocalEntryNotFoundError as error:
            raise SourceError(absent(source, size_bytes, _reason(error))) from error
        except EntryNotFoundError:
            continue
        except Exception as error:  # the hub's client raises many kinds; all mean the same here
            raise SourceError(absent(source, size_bytes, _reason(error))) from error
    raise SourceError(
        f"the weights of {source} must be one of {', '.join(names)}, its repository {repository} has none"
    )


def absent(source: str, size_bytes: int | None, reason: str) -> str:
    """The text for weights that are neither here nor to be had."""
    size = f" ({size_bytes / 1e6:.0f} MB)" if size_bytes else ""
    return (
        f"the weights of {source}{size} must be on this machine or downloaded, they are not here and "
        f"{reason}: connect to the network and run it again, or take a local file as "
        "checkpoint/ARCHITECTURE@PATH, or a source that `automl-transfer sources` shows as available"
    )


def _reach(endpoint: str, source: str, size_bytes: int | None) -> None:
    """Fail within seconds where there is no network; the hub's client would retry for half a minute."""
    request = urllib.request.Request(endpoint, method="HEAD")  # noqa: S310 https, from the library
    try:
        urllib.request.urlopen(request, timeout=CONNECT_SECONDS).close()  # noqa: S310 as above
    except urllib.error.HTTPError as error:
        error.close()  # it answered: the client's own errors say the rest
    except OSError as error:
        raise SourceError(absent(source, size_bytes, _reason(error))) from error


def _reason(error: Exception) -> str:
    cause = error.reason if isinstance(error, urllib.error.URLError) else error
    text = str(cause).strip().splitlines()
    return f"cannot be fetched ({text[0][:200] if text else type(cause).__name__})"


def _file_name(url: str) -> str:
    return Path(urllib.parse.urlparse(url).path).name


def _stated_digest(url: str) -> str:
    tail = Path(_file_name(url)).stem.rpartition("-")[2]
    return tail if len(tail) >= 8 and all(letter in "0123456789abcdef" for letter in tail) else ""
