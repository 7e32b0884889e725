"""Checkpoints: bit for bit or not at all, and never anything but data."""

import hashlib
import io
import os
import stat
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.records import checkpoint
from harness.records.checkpoint import exists, load_latest, remove

RUN, OTHER = "trial-plain-s0-0123456789ab", "trial-plain-s1-ba9876543210"


def save(folder: Path, state: dict[str, Any], step: int, run: str = RUN) -> Path:
    return checkpoint.save(folder, state, step, run)


def load(folder: Path, at_most: int = 1000) -> dict[str, Any] | None:
    return load_latest(folder, RUN, at_most)


def _state(step: int) -> dict[str, Any]:
    torch.manual_seed(step)
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.1)
    model(torch.randn(4, 3)).square().sum().backward()
    optimizer.step()
    odd = {"bf16": torch.randn(3).bfloat16(), "nan": torch.tensor([float("nan"), -0.0, 5e-324], dtype=torch.float64)}
    random = torch.get_rng_state()[:64]
    return {"step": step, "model": model.state_dict(), "optimizer": optimizer.state_dict(), "odd": odd, "rng": random}


def _bits(value: Any) -> Any:
    """Plain data by which two states can be compared bit for bit, NaN and -0.0 included."""
    if isinstance(value, torch.Tensor):
        return (
            str(value.dtype),
            tuple(value.shape),
            value.contiguous().view(torch.uint8).tolist() if value.ndim else (value.item()),
        )
    if isinstance(value, dict):
        return {key: _bits(part) for key, part in value.items()}
    return [_bits(part) for part in value] if isinstance(value, list | tuple) else value


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def two(tmp_path: Path) -> tuple[Path, Path]:
    """The older and the newer of two checkpoints."""
    return save(tmp_path, _state(5), 5), save(tmp_path, _state(9), 9)


def test_a_state_comes_back_bit_for_bit(tmp_path: Path) -> None:
    """Weights, buffers, Adam's moments, random state, bf16, NaN and -0.0; the folder is made when it is missing."""
    save(tmp_path / "run", _state(7), 7)
    loaded = load(tmp_path / "run")
    assert loaded is not None
    assert _bits(loaded) == _bits(_state(7))
    assert _bits(loaded) != _bits(_state(8))
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    model.load_state_dict(loaded["model"])
    torch.optim.Adam(model.parameters()).load_state_dict(loaded["optimizer"])


def test_the_last_two_are_kept(tmp_path: Path) -> None:
    """Steps count as numbers, not as text; the newest is loaded."""
    for step in (8, 9, 10, 100):
        save(tmp_path, {"step": step}, step)
    assert _names(tmp_path) == ["step-000000010.ckpt", "step-000000100.ckpt"]
    assert load(tmp_path) == {"step": 100}


def test_no_checkpoint_is_none(tmp_path: Path) -> None:
    """Nothing, or nothing but other files, is no checkpoint; `remove` leaves those other files."""
    assert load(tmp_path / "nowhere") is None
    assert not exists(tmp_path)
    (tmp_path / "journal.jsonl").touch()
    save(tmp_path, {}, 1)
    (tmp_path / "step-000000002.tmp").touch()
    assert exists(tmp_path)
    remove(tmp_path)
    assert _names(tmp_path) == ["journal.jsonl"]
    assert load(tmp_path) is None


@pytest.mark.parametrize("kept", [0, 1, 31, 32, 33, 500, -1])
def test_a_cut_checkpoint_is_passed_over(two: tuple[Path, Path], kept: int) -> None:
    """A file cut to any length is not believed: the one before it is; with both cut there is none."""
    older, newer = two
    newer.write_bytes(newer.read_bytes()[:kept])
    loaded = load(newer.parent)
    assert loaded is not None
    assert _bits(loaded) == _bits(_state(5))
    older.write_bytes(older.read_bytes()[:kept])
    assert load(newer.parent) is None
    assert exists(newer.parent)


def test_another_runs_checkpoint_is_set_aside(two: tuple[Path, Path]) -> None:
    """Copied into this run's folder, it is whole and of the same shapes: gone on from, a rate of 0.05 would become one
    of 0.1. The run's own older one is used, and what was set aside stays for its owner. So does one of a version that
    named no run."""
    older, newer = two
    save(newer.parent, _state(12), 12, run=OTHER)
    assert _names(newer.parent) == [newer.name, "step-000000012.ckpt"]
    loaded = load(newer.parent)
    assert loaded is not None
    assert _bits(loaded) == _bits(_state(9))
    assert _names(newer.parent) == [newer.name, "step-000000012.damaged"]
    buffer = io.BytesIO()
    torch.save(_state(9), buffer)
    newer.write_bytes(hashlib.sha256(buffer.getvalue()).digest() + buffer.getvalue())
    assert load(newer.parent) is None
    assert _names(newer.parent) == ["step-000000009.damaged", "step-000000012.damaged"]
    assert not older.exists()


def test_a_checkpoint_of_a_later_step_waits(two: tuple[Path, Path]) -> None:
    """Asked for at most 8 steps, the one of 5 is loaded, and the one of 9 neither read nor set aside."""
    older, newer = two
    for at_most, step in ((9, 9), (8, 5), (5, 5)):
        loaded = load(newer.parent, at_most)
        assert loaded is not None
        assert loaded["step"] == step
    assert load(newer.parent, 4) is None
    assert _names(newer.parent) == [older.name, newer.name]


@pytest.fixture(scope="module")
def folder() -> Iterator[Path]:
    """Two small checkpoints for the tests that damage one and put it back."""
    with tempfile.TemporaryDirectory() as name:
        save(Path(name), {"step": 1}, 1)
        save(Path(name), {"step": 2, "weights": torch.arange(8.0)}, 2)
        yield Path(name)


@given(st.data())
@settings(max_examples=80, deadline=None)
def test_any_flipped_bit_is_noticed(folder: Path, data: st.DataObject) -> None:
    """One bit anywhere in the file, checksum included: the checkpoint before it is used."""
    newest = folder / "step-000000002.ckpt"
    whole = newest.read_bytes()
    bit = data.draw(st.integers(0, 8 * len(whole) - 1))
    damaged = bytearray(whole)
    damaged[bit // 8] ^= 1 << bit % 8
    try:
        newest.write_bytes(damaged)
        assert load(folder) == {"step": 1}
        assert not newest.exists()  # set aside, so that it does not count as one of the two kept
    finally:
        newest.write_bytes(whole)
    loaded = load(folder)
    assert loaded is not None
    assert loaded["step"] == 2


@pytest.mark.parametrize("broken", ["fsync", "replace"])
def test_a_failing_write_leaves_what_was_there(
    two: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, broken: str
) -> None:
    """A full disk: the error is raised, both old checkpoints are untouched and no temporary file stays."""
    before = {path: path.read_bytes() for path in two}

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken_disk:
        if broken == "fsync":
            broken_disk.setattr(os, "fsync", full)
        else:
            broken_disk.setattr(Path, "replace", full)
        with pytest.raises(OSError, match="No space left on device"):
            save(two[0].parent, _state(12), 12)
    assert {path: path.read_bytes() for path in two[0].parent.iterdir()} == before
    save(two[0].parent, _state(12), 12)
    assert _names(two[0].parent) == ["step-000000009.ckpt", "step-000000012.ckpt"]


def test_the_content_is_on_disk_before_the_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Written under another name, fsynced, renamed, folder fsynced: a power cut at any point leaves a whole file or
    none. Old checkpoints go only after that."""
    happened: list[str] = []
    replace, unlink = Path.replace, Path.unlink

    def fsync(descriptor: int) -> None:
        happened.append("fsync folder" if stat.S_ISDIR(os.fstat(descriptor).st_mode) else "fsync file")

    def rename(path: Path, target: Path) -> Path:
        happened.append(f"rename {path.name} {target.name}")
        return replace(path, target)

    def delete(path: Path, missing_ok: bool = False) -> None:
        happened.append(f"delete {path.name}")
        unlink(path, missing_ok)

    for step in (1, 2):
        save(tmp_path, {}, step)
    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", rename)
    monkeypatch.setattr(Path, "unlink", delete)
    save(tmp_path, {}, 3)
    assert happened == [
        "fsync file",
        f"rename step-000000003.ckpt.{os.getpid()}.tmp step-000000003.ckpt",
        "fsync folder",
        "delete step-000000001.ckpt",
    ]


class _Malicious:
    """Unpickled without care, this writes a file."""

    def __init__(self, target: Path):
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.write_text, (self.target, "executed")


def test_nothing_but_data_is_unpickled(tmp_path: Path) -> None:
    """A checkpoint with a right checksum that holds code is refused, and its code does not run."""
    target = tmp_path / "executed"
    folder = tmp_path / "run"
    folder.mkdir()
    buffer = io.BytesIO()
    torch.save({"step": _Malicious(target)}, buffer)
    payload = buffer.getvalue()
    torch.load(io.BytesIO(payload), weights_only=False)
    assert target.read_text() == "executed"  # the attack works on a loader that lets it
    target.unlink()
    (folder / "step-000000001.ckpt").write_bytes(hashlib.sha256(payload).digest() + payload)
    assert load(folder) is None
    assert not target.exists()
    assert [path.name for path in folder.iterdir()] == ["step-000000001.damaged"]


def test_a_checkpoint_that_unpacks_to_more_than_itself_is_set_aside(tmp_path: Path) -> None:
    """Its checksum and its run are right; `torch.save` compresses nothing, so one that is compressed is not ours."""
    path = save(tmp_path, {"step": 9, "weights": torch.zeros(1 << 20)}, 9)
    assert load(tmp_path) is not None
    packed = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(path.read_bytes()[32:])) as old, zipfile.ZipFile(packed, "w") as new:
        for member in old.infolist():
            new.writestr(member.filename, old.read(member), zipfile.ZIP_DEFLATED)
    payload = packed.getvalue()
    assert len(payload) < path.stat().st_size / 100
    path.write_bytes(hashlib.sha256(payload).digest() + payload)
    assert load(tmp_path) is None
    assert _names(tmp_path) == [f"{path.stem}.damaged"]
