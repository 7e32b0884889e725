"""Read .npz files safely: arrays must have the names, shapes and types that their run recorded.

A few megabytes can decompress to gigabytes, and a small array header can claim any size. The list of members and each
array's header are therefore checked before memory is allocated.
"""

import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from harness.values import HarnessError

_WIDEST = 8
"""Bytes of the largest number type that is stored."""
_HEADER_BYTES = 10_000
"""Upper limit for the size of an array's header."""


def read(path: Path, expected: Mapping[str, tuple[int, ...]]) -> dict[str, NDArray[np.generic]]:
    """Read the numeric arrays of a file by name.

    Args:
        expected: name → shape of every array.

    Raises:
        HarnessError: the names, shapes, types or sizes differ from what is expected.
        ValueError, EOFError, zipfile.BadZipFile, zlib.error: the file is damaged.
    """
    with zipfile.ZipFile(path) as archive:
        if sorted(archive.namelist()) != sorted(f"{name}.npy" for name in expected):
            raise HarnessError(f"{path} must hold the arrays {', '.join(expected)} and nothing else")
        return {name: _array(path, archive, name, shape) for name, shape in expected.items()}


def read_rows(path: Path, expected: Mapping[str, tuple[int, ...]], at_most: int) -> dict[str, NDArray[np.generic]]:
    """Like `read`, for arrays with a number of rows that is not recorded: the same for all, and bounded.

    Args:
        expected: every array's name → its shape without the first axis.
        at_most: the largest number of rows allowed.

    Raises:
        HarnessError: as for `read`, or there are more rows.
        ValueError, EOFError, zipfile.BadZipFile, zlib.error: the file is damaged.
    """
    with zipfile.ZipFile(path) as archive:
        name = next(iter(expected))
        if f"{name}.npy" not in archive.namelist():
            raise HarnessError(f"{path} must hold the arrays {', '.join(expected)} and nothing else")
        with archive.open(f"{name}.npy") as file:
            shape, _ = _header(file)
    rows = shape[0] if shape else 0
    if rows > at_most:
        raise HarnessError(f"{path} must hold at most {at_most} rows, as recorded; it holds {rows}")
    return read(path, {name: (rows, *each) for name, each in expected.items()})


def _array(path: Path, archive: zipfile.ZipFile, name: str, shape: tuple[int, ...]) -> NDArray[np.generic]:
    member = archive.getinfo(f"{name}.npy")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise HarnessError(f"{path} must be compressed as NumPy does it; {name} is not")
    if member.file_size > _HEADER_BYTES + _WIDEST * int(np.prod(shape, dtype=np.int64)):
        raise HarnessError(f"{name} in {path} must be {shape}, as recorded; it unpacks to {member.file_size} bytes")
    with archive.open(member) as file:
        found, dtype = _header(file)
    if found != shape or dtype.kind not in "fiu" or dtype.itemsize > _WIDEST:
        raise HarnessError(f"{name} in {path} must be numbers, {shape}, as recorded; it holds {dtype} of {found}")
    with archive.open(member) as file:
        return npy.read_array(file, allow_pickle=False)


def _header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[np.generic]]:
    version = npy.read_magic(file)
    if version == (1, 0):
        shape, _, dtype = npy.read_array_header_1_0(file)
    elif version == (2, 0):
        shape, _, dtype = npy.read_array_header_2_0(file)
    else:
        raise ValueError(f"an array's format {version} is not known")
    return shape, dtype
