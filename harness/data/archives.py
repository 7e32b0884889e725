"""Reading published data archives that may have been tampered with: fetched to a temporary file, checked, then opened.

An archive's length and SHA-256 are those of the very bytes that are read afterwards. Nothing is unpacked onto the disk:
of a tar file the wanted members are taken by their exact names, into memory, up to a limit, and links are not followed.
"""

import gzip
import hashlib
import io
import os
import tarfile
import urllib.request
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from harness.data.folders import DataError
from harness.data.sources import Archive, Source
from harness.values import in_one_line

STALL_SECONDS = 30.0
"""A download that is silent for so long counts as no network."""
LIMIT = 256 * 2**20
"""Bytes that an archive may unpack to; the longest, CIFAR-100's, is 187 million."""
_CHUNK = 2**16


def unpacked(source: Source, folder: Path) -> dict[str, bytes]:
    """The files of a copy that lies unpacked in `folder`, as torchvision leaves it: name → content.

    Raises:
        OSError: one is missing.
        ValueError: one is not what was published.
    """
    found = {}
    for place, md5 in source.files.items():
        file = folder / place
        if not file.is_file() or file.stat().st_size > LIMIT:
            raise FileNotFoundError(file)
        content = file.read_bytes()
        if md5 is not None and hashlib.md5(content, usedforsecurity=False).hexdigest() != md5:
            raise ValueError(f"{file} is not the published file")
        found[file.name] = content
    return found


def archived(name: str, source: Source, folder: Path) -> dict[str, bytes]:
    """The files in the archives that lie in `folder`: name → content. What is missing or damaged is downloaded first.

    Raises:
        DataError: an archive cannot be downloaded (says where a copy belongs), or cannot be read.
    """
    folder = folder.resolve()
    if any(_whole(folder, archive) is None for archive in source.archives):
        _fetch(name, source, folder)
    found: dict[str, bytes] = {}
    for archive in source.archives:
        content = _whole(folder, archive)
        assert content is not None, f"{archive.place} was just checked"
        try:
            found |= _members(content, source) if ".tar." in archive.name else {_stem(archive): _unzip(content)}
        except Exception as error:  # on a damaged file tarfile and zlib raise nearly anything
            raise unreadable(name, folder, error) from error
    return found


def unreadable(name: str, folder: Path, error: Exception) -> DataError:
    """The one line for files that are what they claim to be, and yet hold something else than images and labels."""
    return DataError(
        f"`data.name`: the copy of {name} in {str(folder)!r} cannot be read ({in_one_line(error)}); remove it, and a "
        "fresh one is fetched"
    )


def _whole(folder: Path, archive: Archive) -> bytes | None:
    """An archive's bytes, if they are those that were published."""
    file = folder / archive.place
    if not file.is_file() or file.stat().st_size != archive.bytes:
        return None
    content = file.read_bytes()
    return content if hashlib.sha256(content).hexdigest() == archive.sha256 else None


def _members(content: bytes, source: Source) -> dict[str, bytes]:
    found = {}
    with tarfile.open(fileobj=io.BytesIO(_unzip(content)), mode="r:") as tar:
        for place in source.files:
            member = tar.getmember(place)
            file = tar.extractfile(member) if member.isfile() and not member.issparse() else None
            if file is None:
                raise ValueError(f"{place!r} is not a plain file")
            found[PurePosixPath(place).name] = file.read()
    return found


def _unzip(content: bytes) -> bytes:
    with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
        plain = file.read(LIMIT + 1)
    if len(plain) > LIMIT:
        raise ValueError(f"it unpacks to more than {LIMIT:,} bytes")
    return plain


def _stem(archive: Archive) -> str:
    return archive.name.removesuffix(".gz")


def _fetch(name: str, source: Source, folder: Path) -> None:
    """Download what `folder` lacks; of several processes one does, the others wait and find its archives."""
    from filelock import FileLock

    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.with_name(f".{folder.name}.lock")):
        for archive in source.archives:
            if _whole(folder, archive) is None:
                place = folder / archive.place
                part = folder.with_name(f".{folder.name}-{archive.name}.part")  # of a killed process: overwritten
                try:
                    _download(source, archive, part)
                    place.parent.mkdir(parents=True, exist_ok=True)
                    part.replace(place)
                except OSError as error:
                    raise _missing(name, source, folder, error) from error
                finally:
                    part.unlink(missing_ok=True)


def _missing(name: str, source: Source, folder: Path, error: OSError) -> DataError:
    damaged = [a.name for a in source.archives if (folder / a.place).exists() and _whole(folder, a) is None]
    found = f" ({', '.join(damaged)} there is not as published, by length or SHA-256)" if damaged else ""
    return DataError(
        f"`data.name`: {str(folder)!r} holds no whole copy of {name}{found} and it cannot be downloaded "
        f"({in_one_line(error)}); put {', '.join(archive.name for archive in source.archives)} into "
        f"{str((folder / source.archives[0].place).parent)!r}, or use DATA=digits or DATA=folder:PATH, which need no "
        "network"
    )


def _download(source: Source, archive: Archive, part: Path) -> None:
    """Fetch one archive into `part`, whole and checked, from the first mirror that has it."""
    problems = []
    for mirror in source.mirrors:
        try:
            _receive(mirror + archive.name, archive, part)
            return
        except (OSError, HTTPException, ValueError) as error:
            problems.append(f"{urlsplit(mirror).netloc}: {in_one_line(error)}")
    raise OSError("; ".join(problems))


def _receive(url: str, archive: Archive, part: Path) -> None:
    from tqdm import tqdm

    request = urllib.request.Request(url, headers={"User-Agent": "harness"})
    sha, length = hashlib.sha256(), 0
    with (
        urllib.request.urlopen(request, timeout=STALL_SECONDS) as answer,
        part.open("wb") as file,
        tqdm(total=archive.bytes, desc=archive.name, unit="B", unit_scale=True, leave=False, disable=None) as bar,
    ):
        while length <= archive.bytes and (chunk := answer.read(_CHUNK)):
            length += len(chunk)
            sha.update(chunk)
            bar.update(file.write(chunk))
        file.flush()
        os.fsync(file.fileno())
    if length != archive.bytes or sha.hexdigest() != archive.sha256:
        raise ValueError(f"what came is not {archive.name} as published, by length or SHA-256")
