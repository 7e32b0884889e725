"""`list_folder`: which files count, which names and links are refused, and what a bad folder's error says."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from harness.data.folders import DataError, list_folder


def save(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8)).save(path)
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four images: a and b, one each in train and test."""
    for split in ("train", "test"):
        for name in ("a", "b"):
            save(tmp_path / "set" / split / name / "1.png")
    return tmp_path / "set"


def test_any_printable_class_name_is_taken(folder: Path) -> None:
    """Marks of every language of markup, formulas and scripts of all kinds are names; the reports escape them."""
    names = ["=1+2", "@x", "-1", "a|b", "<b>", "$x$", "' or", '"', "Bäume", "דג", "鳥", "x" * 255]
    for name in names:
        for split in ("train", "test"):
            save(folder / split / name / "1.png")
    assert set(list_folder(folder).classes) == {"a", "b", *names}


def outside_link(path: Path) -> None:
    path.symlink_to(save(path.parents[3] / "secret.png"))


def outside_class(folder: Path) -> None:
    shutil.move(folder / "train" / "a", folder.parent / "elsewhere")
    (folder / "train" / "a").symlink_to(folder.parent / "elsewhere")


def outside_split(folder: Path) -> None:
    shutil.move(folder / "test", folder.parent / "test")
    (folder / "test").symlink_to(folder.parent / "test")


NO_SPLIT = "'SET' has no folder '{}'; images belong in train/<class>/ and test/<class>/"
FEW = "at least 2 classes are needed; 'SET' holds {}: put one folder a class in train/ and in test/"
HIDDEN = "class folders need names of printable characters; got {} in 'SET': rename it"
OUT = "links must stay inside the folder; {0} of 'SET' leads out of it: copy the files, or remove the link"
BAD_FOLDERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda f: f.rename(f.with_name("sets")), "the folder 'SET' does not exist; did you mean 'sets'?"),
    "far": (lambda f: f.rename(f.with_name("other")), "the folder 'SET' does not exist; check folder:PATH"),
    "a file": (lambda f: (shutil.rmtree(f), f.write_text("")), "the folder 'SET' does not exist; check folder:PATH"),
    "no test": (lambda f: shutil.rmtree(f / "test"), NO_SPLIT.format("test")),
    "empty": (lambda f: (shutil.rmtree(f), f.mkdir()), NO_SPLIT.format("train")),
    "no classes": (lambda f: [shutil.rmtree(c) for c in f.glob("*/*")], FEW.format(0)),
    "one class": (lambda f: [shutil.rmtree(c) for c in f.glob("*/a")], FEW.format(1)),
    "class missing": (
        lambda f: save(f / "train" / "aa" / "1.png"),
        "train/ and test/ must hold the same classes; test/ of 'SET' has no folder 'aa'; did you mean 'a'?",
    ),
    "no images": (
        lambda f: (f / "test" / "a" / "1.png").unlink(),
        "every class needs images; 'test/a' of 'SET' holds no .jpg, .jpeg, .png file",
    ),
    "line end": (lambda f: (f / "train" / "a\nb").mkdir(), HIDDEN.format(r"'train/a\nb'")),
    "escape": (lambda f: (f / "test" / "\x1b[2J").mkdir(), HIDDEN.format(r"'test/\x1b[2J'")),
    "right to left": (lambda f: (f / "train" / "a\u202eb").mkdir(), HIDDEN.format(r"'train/a\u202eb'")),
    "no text": (lambda f: (f / "train" / os.fsdecode(b"\xff")).mkdir(), HIDDEN.format(r"'train/\udcff'")),
    "link out": (lambda f: outside_link(f / "train" / "a" / "2.png"), OUT.format("'train/a/2.png'")),
    "class links out": (outside_class, OUT.format("'train/a'")),
    "split links out": (outside_split, OUT.format("'test'")),
}


@pytest.mark.parametrize("kind", BAD_FOLDERS)
def test_bad_folder_is_one_line(folder: Path, kind: str) -> None:
    """Each way in which a folder can be wrong is said in one exact line."""
    spoil, message = BAD_FOLDERS[kind]
    spoil(folder)
    with pytest.raises(DataError) as caught:
        list_folder(folder)
    assert str(caught.value) == "`data.name`: " + message.replace("SET", str(folder))


def test_links_inside_the_folder_are_followed(folder: Path) -> None:
    """A link to a file of the same folder is an image; a loop or a link to nothing is ignored; PATH may be a link."""
    (folder / "train" / "a" / "2.png").symlink_to(folder / "test" / "a" / "1.png")
    (folder / "train" / "a" / "loop.png").symlink_to(folder / "train" / "a" / "loop.png")
    (folder / "train" / "a" / "gone.png").symlink_to(folder / "gone.png")
    (folder.parent / "link").symlink_to(folder)
    listed = list_folder(folder.parent / "link")
    assert listed.path == folder.resolve()
    assert [file.name for file in listed.train] == ["train/a/1.png", "train/a/2.png", "train/b/1.png"]
    assert listed.ignored == ("train/a/gone.png", "train/a/loop.png")
