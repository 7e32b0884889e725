"""The cache of decoded images: what it saves, when it decodes anew, how it repairs itself and what it leaves behind."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import harness.data.images
from harness.data.decode import decode_folder
from harness.data.folders import list_folder
from harness.data.load import Cached, DataError, load, open_cached
from harness.plans.spec import Data

PROJECT = Path(__file__).parents[3]


def cache_folder(root: Path) -> Path:
    (folder,) = (root / "data" / "cache").iterdir()
    return folder


def refuse_to_decode(*_: object) -> None:
    raise AssertionError("decoded again")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """20 training and 8 test images of two classes, random 8x8 PNGs."""
    rng = np.random.default_rng(0)
    for split, count in (("train", 10), ("test", 4)):
        for name in ("cat", "dog"):
            place = tmp_path / "pets" / split / name
            place.mkdir(parents=True)
            for index in range(count):
                Image.fromarray(rng.integers(0, 256, (8, 8, 3), np.uint8)).save(place / f"{index:02}.png")
    return tmp_path / "pets"


def test_second_load_maps_the_cache(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The second load decodes nothing and gives the same, memory-mapped."""
    first = load(Data(name=f"folder:{folder}"), tmp_path)
    monkeypatch.setattr(harness.data.images, "decode_folder", refuse_to_decode)
    second = load(Data(name=f"folder:{folder}", title="Pets"), tmp_path)
    assert isinstance(second.train.images, np.memmap)
    np.testing.assert_array_equal(first.train.images, second.train.images)
    assert (first.checksum, first.mean, first.std) == (second.checksum, second.mean, second.std)
    assert second.label == "Pets"
    names = ["meta.json", "test_images.npy", "test_labels.npy", "train_images.npy", "train_labels.npy"]
    assert sorted(file.name for file in cache_folder(tmp_path).iterdir()) == names


@pytest.mark.parametrize("change", ["touch", "add", "rename", "image_size"])
def test_key_covers_what_decoding_depends_on(
    folder: Path, tmp_path: Path, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file's time, a new file, a new name or another image_size decodes again."""
    load(Data(name=f"folder:{folder}"), tmp_path)
    file = folder / "train" / "cat" / "00.png"
    if change == "touch":
        os.utime(file, ns=(0, 0))
    elif change == "add":
        shutil.copy(file, folder / "train" / "cat" / "99.png")
    elif change == "rename":
        file.rename(folder / "train" / "cat" / "zz.png")
    monkeypatch.setattr(harness.data.images, "decode_folder", refuse_to_decode)
    with pytest.raises(AssertionError, match="decoded again"):
        load(Data(name=f"folder:{folder}", image_size=16 if change == "image_size" else None), tmp_path)


def _cut_in_half(file: Path) -> None:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def _claim(file: Path) -> None:
    """A header that claims 400 GB, and nothing behind it."""
    with file.open("wb") as made:
        np.lib.format.write_array_header_1_0(
            made, {"descr": "|u1", "fortran_order": False, "shape": (10**6, 400, 1000, 1)}
        )


def _pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "missing array": lambda cache: (cache / "test_labels.npy").unlink(),
    "missing meta": lambda cache: (cache / "meta.json").unlink(),
    "bad JSON": lambda cache: (cache / "meta.json").write_text('{"classes": ['),
    "meta of another shape": lambda cache: (cache / "meta.json").write_text("[1]"),
    "cut array": lambda cache: _cut_in_half(cache / "train_images.npy"),
    "empty array": lambda cache: (cache / "train_labels.npy").write_bytes(b""),
    "wrong shape": lambda cache: np.save(cache / "test_images.npy", np.zeros((8, 4, 4, 3), np.uint8)),
    "wrong count": lambda cache: np.save(cache / "train_images.npy", np.zeros((3, 8, 8, 3), np.uint8)),
    "wrong type": lambda cache: np.save(cache / "train_images.npy", np.zeros((20, 8, 8, 3))),
    "empty test split": lambda cache: np.save(cache / "test_labels.npy", np.zeros(0, np.int64)),
    "claims": lambda cache: _claim(cache / "train_images.npy"),
    "zip": lambda cache: (cache / "test_images.npy").write_bytes(b"PK\x05\x06" + bytes(18)),
    "pickle": lambda cache: np.save(cache / "test_labels.npy", np.array([None] * 8), allow_pickle=True),
    "pipe for meta": lambda cache: _pipe(cache / "meta.json"),
    "pipe for array": lambda cache: _pipe(cache / "train_labels.npy"),
    "deep JSON": lambda cache: (cache / "meta.json").write_text("[" * 100_000),
    "endless JSON": lambda cache: os.truncate(cache / "meta.json", 2**40),
    "test label too large": lambda cache: np.save(cache / "test_labels.npy", np.full(8, 7)),
    "negative label": lambda cache: np.save(cache / "train_labels.npy", np.full(20, -1)),
    "label too large": lambda cache: np.save(cache / "train_labels.npy", np.full(20, 7)),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damaged_cache_is_rebuilt(folder: Path, tmp_path: Path, damage: str) -> None:
    """Whatever is wrong with the cache, the next load gives the right data, repairs it and leaves nothing beside it."""
    before = load(Data(name=f"folder:{folder}"), tmp_path)
    pixels = np.array(before.train.images)
    cache = cache_folder(tmp_path)
    DAMAGE[damage](cache)
    assert open_cached(before.checksum, tmp_path) is None
    after = load(Data(name=f"folder:{folder}"), tmp_path)
    np.testing.assert_array_equal(after.train.images, pixels)
    assert after.checksum == before.checksum
    assert cache_folder(tmp_path) == cache
    assert open_cached(before.checksum, tmp_path) is not None


@pytest.mark.parametrize("typed", ["pets/", "./pets", "pets/../pets//", "link", "ABSOLUTE", "ABSOLUTE/"])
def test_one_folder_has_one_entry_however_it_is_typed(
    folder: Path, tmp_path: Path, typed: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A trailing slash, a relative path and a link lead to the same cached images."""
    (tmp_path / "link").symlink_to(folder)
    load(Data(name="folder:pets"), tmp_path)
    monkeypatch.setattr(harness.data.images, "decode_folder", refuse_to_decode)
    assert len(load(Data(name=f"folder:{typed.replace('ABSOLUTE', str(folder))}"), tmp_path).train.labels) == 20


def test_an_older_entry_is_still_found(folder: Path, tmp_path: Path) -> None:
    """Reports of runs that were recorded before duplicates were counted show their images."""
    checksum = load(Data(name=f"folder:{folder}"), tmp_path).checksum
    file = cache_folder(tmp_path) / "meta.json"
    meta = json.loads(file.read_text())
    del meta["duplicates"], meta["remarks"]
    file.write_text(json.dumps(meta))
    found = open_cached(checksum, tmp_path)
    assert found is not None
    assert (found.duplicates, found.remarks) == (None, ())


def test_leftovers_of_killed_processes_are_swept(folder: Path, tmp_path: Path) -> None:
    """Hidden folders untouched for a day go when the next data set is stored; one still written to and others stay."""
    cache = tmp_path / "data" / "cache"
    old = time.time() - 2 * 86_400
    for name in (".dead", ".alive", "compiled"):
        (cache / name / "deep").mkdir(parents=True)
        (cache / name / "deep" / "train_images.npy").touch()
    (cache / ".dead" / "deep" / "link").symlink_to(tmp_path / "gone")
    for path in (*cache.rglob("*"), *cache.iterdir()):
        if path.name != "train_images.npy" or ".alive" not in path.parts:
            os.utime(path, (old, old), follow_symlinks=False)
    load(Data(name=f"folder:{folder}"), tmp_path)
    left = {path.name for path in cache.iterdir()}
    assert {".alive", "compiled"} < left
    assert len(left) == 3


def test_full_disk_is_one_line_and_leaves_nothing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ENOSPC while the cache is written: the error says so and the temporary folder is gone."""

    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError) as caught:
        load(Data(name=f"folder:{folder}"), tmp_path)
    assert str(caught.value) == (
        f"`data.name`: the decoded images (0 MB) cannot be written to '{tmp_path}/data/cache' "
        "(No space left on device); make room there and try again"
    )
    assert list((tmp_path / "data" / "cache").iterdir()) == []


def test_two_processes_load_a_fresh_folder_at_once(folder: Path, tmp_path: Path) -> None:
    """Both decode, one publishes, both get the same data, and no temporary folder stays."""
    code = (
        "import sys, time; from pathlib import Path\n"
        "import harness.data.images as d; from harness.data.load import load\n"
        "from harness.plans.spec import Data\n"
        "root, me, other = Path(sys.argv[1]), sys.argv[2], sys.argv[3]; decode = d.decode_folder\n"
        "def wait(*arguments):\n"
        "    decoded = decode(*arguments); (root / me).touch()\n"
        "    while not (root / other).exists(): time.sleep(0.01)\n"
        "    return decoded\n"
        "d.decode_folder = wait; print(load(Data(name='folder:pets'), root).checksum)"
    )
    pairs = (("a", "b"), ("b", "a"))
    commands = [[sys.executable, "-c", code, str(tmp_path), *pair] for pair in pairs]
    both = [subprocess.Popen(c, cwd=PROJECT, stdout=-1, stderr=-1, text=True) for c in commands]
    results = [process.communicate(timeout=60) for process in both]
    assert [process.returncode for process in both] == [0, 0], results
    assert results[0][0] == results[1][0]
    assert cache_folder(tmp_path).name[0] != "."


def test_open_cached_finds_by_checksum_alone(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reports get images, classes and statistics of a recorded checksum; an unknown one is None, not an error."""
    assert open_cached("0" * 16, tmp_path) is None
    dataset = load(Data(name=f"folder:{folder}"), tmp_path)
    load(Data(name=f"folder:{folder}", image_size=16), tmp_path)
    shutil.copytree(tmp_path / "data" / "cache", tmp_path / "data" / "cache" / ".half-written")
    monkeypatch.setattr(harness.data.images, "decode_folder", refuse_to_decode)
    found = open_cached(dataset.checksum, tmp_path)
    assert isinstance(found, Cached)
    assert (found.classes, found.mean, found.std) == (dataset.classes, dataset.mean, dataset.std)
    np.testing.assert_array_equal(found.test.images, dataset.test.images)
    np.testing.assert_array_equal(found.test.labels, dataset.test.labels)
    assert open_cached("0" * 16, tmp_path) is None


def test_cached_meta_names_no_path(folder: Path, tmp_path: Path) -> None:
    """meta.json holds what follows from the images, and neither the label nor where they came from."""
    load(Data(name=f"folder:{folder}", title="Pets"), tmp_path)
    meta = json.loads((cache_folder(tmp_path) / "meta.json").read_text())
    assert sorted(meta) == ["checksum", "classes", "duplicates", "mean", "remarks", "std"]


def test_import_and_cached_load_need_no_torch(folder: Path, tmp_path: Path) -> None:
    """Importing `load`, a cached load and `open_cached` import neither torch nor PIL, scikit-learn or tqdm."""
    checksum = load(Data(name=f"folder:{folder}"), tmp_path).checksum
    code = (
        "import sys; from pathlib import Path; from harness.data.load import load, open_cached\n"
        "from harness.plans.spec import Data\n"
        f"load(Data(name={f'folder:{folder}'!r}), Path({str(tmp_path)!r}))\n"
        f"assert open_cached({checksum!r}, Path({str(tmp_path)!r}))\n"
        "print(sorted({'torch', 'torchvision', 'PIL', 'sklearn', 'tqdm'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=PROJECT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_cached_images_cannot_be_changed(folder: Path, tmp_path: Path) -> None:
    """What `load` gives is what `decode_folder` made, and writing into it is refused: other runs share the file."""
    dataset = load(Data(name=f"folder:{folder}"), tmp_path)
    decoded = decode_folder(list_folder(folder), None)
    np.testing.assert_array_equal(dataset.train.images, decoded.train.images)
    assert not dataset.train.images.flags.writeable
