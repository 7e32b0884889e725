"""An .npz file is read if it holds what its run recorded, and refused in one line before it takes any memory else."""

import io
import resource
import zipfile
from pathlib import Path

import numpy as np
import pytest

from harness.records import arrays
from harness.values import HarnessError

SHAPES = {"logits": (24, 3), "labels": (24,)}
LOGITS, LABELS = np.arange(72, dtype=np.float32).reshape(24, 3), np.arange(24)


def test_what_was_recorded_is_read(tmp_path: Path) -> None:
    """Compressed or not, in any width."""
    for dtype, save in ((np.float16, np.savez_compressed), (np.float32, np.savez), (np.float64, np.savez)):
        save(tmp_path / "a.npz", logits=LOGITS.astype(dtype), labels=LABELS.astype(np.uint8))
        found = arrays.read(tmp_path / "a.npz", SHAPES)
        assert found["logits"].dtype == dtype
        np.testing.assert_array_equal(found["logits"], LOGITS)
        np.testing.assert_array_equal(found["labels"], LABELS)


def npy(shape: tuple[int, ...], content: bytes = b"", descr: str = "<f4") -> bytes:
    """An array's file, whatever it says of itself."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": descr, "fortran_order": False, "shape": shape})
    return file.getvalue() + content


def bomb(path: Path) -> None:
    """A few megabytes that unpack to two gigabytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
        archive.writestr("labels.npy", npy((24,), bytes(96)))
        with archive.open("logits.npy", "w", force_zip64=True) as file:
            file.write(npy((1 << 17, 4096)))
            for _ in range(32):
                file.write(bytes(1 << 24))


def of(path: Path, members: dict[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> None:
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(f"{name}.npy", content)


WHOLE = {"labels": npy((24,), bytes(96)), "logits": npy((24, 3), bytes(288))}


def test_what_unpacks_to_gigabytes_is_refused_before_it_does(tmp_path: Path) -> None:
    """The process's largest size does not grow with it."""
    bomb(tmp_path / "a.npz")
    assert (tmp_path / "a.npz").stat().st_size < 4_000_000
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(HarnessError, match=r"must be \(24, 3\), as recorded; it unpacks to \d{9} "):
        arrays.read(tmp_path / "a.npz", SHAPES)
    of(tmp_path / "b.npz", WHOLE | {"logits": npy((1 << 30, 3))})
    with pytest.raises(HarnessError, match=r"must be numbers, \(24, 3\), .*; it holds float32 of \(1073741824,"):
        arrays.read(tmp_path / "b.npz", SHAPES)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kilobytes


@pytest.mark.parametrize(
    ("members", "problem"),
    [
        (WHOLE | {"more": b"1"}, "must hold the arrays logits, labels and nothing else"),
        ({"logits": WHOLE["logits"]}, "must hold the arrays logits, labels and nothing else"),
        (WHOLE | {"logits": npy((24, 3), bytes(288), "|O")}, "it holds object of"),
        (WHOLE | {"logits": npy((24, 3), bytes(72 * 16), "<c16")}, "unpacks to|it holds complex128"),
    ],
)
def test_anything_else_is_one_line(tmp_path: Path, members: dict[str, bytes], problem: str) -> None:
    """Other arrays, objects, wider numbers."""
    of(tmp_path / "a.npz", members)
    with pytest.raises(HarnessError, match=problem):
        arrays.read(tmp_path / "a.npz", SHAPES)


@pytest.mark.parametrize("logits", [npy((24, 3), bytes(100)), b"\x93NUMPY\x09\x00" + bytes(100), b""])
def test_a_damaged_array_is_not_read(tmp_path: Path, logits: bytes) -> None:
    """Cut, of an unknown format, empty."""
    of(tmp_path / "a.npz", WHOLE | {"logits": logits})
    with pytest.raises((ValueError, EOFError)):
        arrays.read(tmp_path / "a.npz", SHAPES)


def test_another_compression_is_refused(tmp_path: Path) -> None:
    """LZMA would take as much memory as its header asks for."""
    of(tmp_path / "a.npz", WHOLE, zipfile.ZIP_LZMA)
    with pytest.raises(HarnessError, match="must be compressed as NumPy does it"):
        arrays.read(tmp_path / "a.npz", SHAPES)
