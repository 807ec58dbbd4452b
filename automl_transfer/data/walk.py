"""Every file below a folder: which may be images, and why the others are not.

Whether a file may be an image is told by its suffix, and where it has none by its first bytes. Nothing is
decoded, and nothing is passed over in silence: what is not returned as an image is returned with its reason.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field
from pathlib import Path, PurePath

from automl_transfer.data.decode import SUFFIXES
from automl_transfer.domain.account import Reason
from automl_transfer.errors import DataError

_WORDS = re.compile(r"\S+")

OTHER_IMAGES = frozenset(
    _WORDS.findall(
        """
        .3fr .ai .arw .avci .cin .cr2 .cr3 .crw .cur .czi .dcm .dds .dicom .djvu .dng .dpx .emf .eps .erf
        .exr .fit .fits .flif .fts .hdr .heic .heics .heif .heifs .hif .icns .ico .j2c .jpc .jpf .jpm .jpx
        .jxl .jxr .kra .lif .mha .mhd .mrxs .msp .nd2 .ndpi .nef .nii .nrrd .nrw .orf .pcx .pef .pfm .psb .psd
        .qoi .raf .ras .raw .rgb .rw2 .scn .sgi .sr2 .srw .svg .svgz .svs .vms .vtf .wdp .wmf .x3f
        .xbm .xcf .xpm
        """
    )
)
"""Suffixes of images in formats that are not opened here."""

HOUSEKEEPING = {"system volume information", "icon\r"} | set(
    _WORDS.findall(
        """
        #recycle #snapshot $recycle.bin @eadir @recycle @sharebin @synoresource @tmp __macosx __pycache__
        desktop.ini ehthumbs.db ehthumbs_vista.db found.000 lost+found recycler thumbs.db
        """
    )
)
"""Files and folders of systems and file servers, in lower case; hidden ones come on top."""

DATABASE, MARKER, MARKED = "automl-transfer.db", "run.json", b'"automl-transfer/run/'
"""What a folder of results holds: a search within its own dataset writes one."""

_HEAD = 132
_MAGIC = (
    b"\xff\xd8\xff",
    b"\x89PNG\r\n\x1a\n",
    b"GIF8",
    b"BM",
    b"II*\0",
    b"MM\0*",
    b"\0\0\0\x0cjP  ",
    b"\xff\x4f\xff\x51",
)
_OTHER_MAGIC = (b"8BPS", b"\xff\x0a", b"\0\0\0\x0cJXL ", b"v/1\x01", b"SIMPLE  =", b"<svg", b"gimp xcf")


@dataclass(frozen=True)
class Left:
    """A file that is no image, or a folder that was not entered, and more words where there are some."""

    path: Path
    reason: Reason
    detail: str = ""


@dataclass
class Walked:
    """What lies below a folder.

    Attributes:
        images: Files that count as images, sorted by relative name. Links to nothing are among them.
        left: Everything else. The two together are all files, and all folders that were not entered.
        empty: Top folders that hold no file at all.
    """

    images: list[Path] = field(default_factory=list)
    left: list[Left] = field(default_factory=list)
    empty: list[str] = field(default_factory=list)


def walk(root: Path) -> Walked:
    """Look through a folder.

    Links to folders are followed, each real folder once, so that loops end; its own name comes before
    links to it, whatever their order.

    Raises:
        DataError: The folder itself does not exist or cannot be listed.
    """
    found = Walked()
    seen: dict[tuple[int, int], Path] = {}
    links: list[Path] = []
    waiting = [root]
    tops: list[Path] = []
    while waiting or links:
        if not waiting:
            links.sort(reverse=True)
            waiting.append(links.pop())
        current = waiting.pop()
        try:
            stat = current.stat()
            first = seen.setdefault((stat.st_dev, stat.st_ino), current)
            if first is not current:
                found.left.append(Left(current, Reason.SECOND_NAME, _name(first, root)))
                continue
            with os.scandir(current) as entries:
                listed = sorted(entries, key=lambda entry: entry.name, reverse=True)
        except OSError as error:
            reason = error.strerror or str(error)
            if current == root:
                raise DataError(
                    f"a folder of images must exist and be readable, got {str(current)!r}: {reason}"
                ) from error
            found.left.append(Left(current, Reason.UNLISTED, reason))
            continue
        if current != root and _is_results(listed):
            found.left += [Left(path, Reason.HOUSEKEEPING) for path in _everything(current, seen)]
            continue
        for entry in listed:
            path = Path(entry.path)
            if is_housekeeping(entry.name):
                found.left += [Left(each, Reason.HOUSEKEEPING) for each in _everything(path, seen)]
                continue
            try:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(path)
                    if current == root:
                        tops.append(path)
                elif entry.is_dir():
                    links.append(path)
                else:
                    _sort(entry, path, found)
            except OSError as error:  # a link into a folder that may not be entered, for instance
                found.left.append(Left(path, Reason.UNREADABLE, error.strerror or str(error)))
    found.images.sort(key=lambda path: path.parts)  # all begin with the root's
    found.left.sort(key=lambda left: left.path.parts)
    depth = len(root.parts)
    full = {path.parts[depth] for path in found.images} | {left.path.parts[depth] for left in found.left}
    found.empty = sorted(top.name for top in tops if top.name not in full)
    return found


def find_images(folder: Path) -> list[Path]:
    """All files below a folder that count as images, sorted by relative name; `walk` has the others too.

    Raises:
        DataError: The folder does not exist or cannot be listed.
    """
    return walk(folder).images


def is_housekeeping(name: str) -> bool:
    """Whether systems and file servers, not people, give files and folders this name."""
    return name.startswith(".") or name.lower() in HOUSEKEEPING


def suffix_of(name: str) -> str:
    """The suffix in lower case; none where it is a number, as in `IMG.0001`."""
    suffix = PurePath(name).suffix.lower()
    return "" if suffix[1:].isdigit() else suffix


def _name(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix()


def _sort(entry: os.DirEntry[str], path: Path, found: Walked) -> None:
    """An image, or why it is none. A link to nothing counts as the image that it was."""
    suffix = suffix_of(entry.name)
    there = entry.is_file()
    if there or (entry.is_symlink() and not path.exists()):
        if suffix in SUFFIXES:
            found.images.append(path)
            return
        if suffix in OTHER_IMAGES or entry.name.lower().endswith(".nii.gz"):
            found.left.append(Left(path, Reason.UNSUPPORTED, f"{suffix} files are not opened"))
            return
    if not suffix and there:
        with path.open("rb") as stream:
            head = stream.read(_HEAD)
        reason = _sniff(head)
        if reason is None:
            found.images.append(path)
        else:
            found.left.append(Left(path, reason, "its content is of another format"))
        return
    found.left.append(Left(path, Reason.NOT_IMAGE))


def _sniff(head: bytes) -> Reason | None:
    """None for the beginning of an image that is opened here, else why it is not."""
    if head.startswith(_MAGIC) or (head[:4] == b"RIFF" and head[8:12] == b"WEBP"):
        return None
    if head[:1] == b"P" and head[1:2] in b"123456" and head[2:3] in b" \t\r\n#":
        return None
    if head[4:8] == b"ftyp" and head[8:11] in (b"avi", b"hei", b"hev", b"mif", b"msf", b"crx"):
        return None if b"avif" in head[8:64] else Reason.UNSUPPORTED
    if head.startswith(_OTHER_MAGIC) or head[128:132] == b"DICM":
        return Reason.UNSUPPORTED
    return Reason.NOT_IMAGE


def _is_results(listed: list[os.DirEntry[str]]) -> bool:
    for entry in listed:
        if entry.name == DATABASE:
            return True
        if entry.name == MARKER:
            try:
                with Path(entry.path).open("rb") as stream:
                    return MARKED in stream.read(200)
            except OSError:
                return False
    return False


def _everything(path: Path, seen: dict[tuple[int, int], Path]) -> list[Path]:
    """The file, or all files below a folder, and folders that cannot be listed; no link is followed."""
    if path.is_symlink() or not path.is_dir():
        return [path]
    found: list[Path] = []
    waiting = [path]
    while waiting:
        current = waiting.pop()
        try:
            stat = current.stat()
            seen.setdefault((stat.st_dev, stat.st_ino), current)  # a link to it is its second name
            with os.scandir(current) as entries:
                for entry in entries:
                    inside = Path(entry.path)
                    (waiting if entry.is_dir(follow_symlinks=False) else found).append(inside)
        except OSError:
            found.append(current)
    return found
