"""`list_folder`: which files count, which names and links are refused, and what a bad folder's error says."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.data.folders import DataError, LeftOut, left_out_line, list_folder
from tests.harness.data.conftest import save


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


ENDINGS = "no .jpg, .jpeg, .jpe, .jfif, .png, .webp, .bmp, .tif, .tiff"


NO_SPLIT = "'SET' has no folder '{}'; images belong in train/<class>/ and test/<class>/"


FEW = "at least 2 classes are needed; 'SET' holds {}: put one folder a class in train/ and in test/"


HIDDEN = "class folders need names of printable characters; got {} in 'SET': rename it"


OUT = "links must stay inside the folder; {0} of 'SET' leads out of it: copy the files, or remove the link"


BAD_FOLDERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda f: f.rename(f.with_name("sets")), "the folder 'SET' does not exist; did you mean 'sets'?"),
    "far": (lambda f: f.rename(f.with_name("other")), "the folder 'SET' does not exist; check folder:PATH"),
    "a file": (
        lambda f: (shutil.rmtree(f), f.write_text("")),
        "'SET' is a file; folder:PATH must be a folder with train/<class>/ and test/<class>/: unpack it, or export its "
        "images",
    ),
    "no test": (
        lambda f: shutil.rmtree(f / "test"),
        NO_SPLIT.format("test")
        + "; where nothing parts them yet, csv:PATH takes a table of paths and labels and draws "
        "the test images",
    ),
    "capitals": (lambda f: (f / "train").rename(f / "Train"), NO_SPLIT.format("train") + ": rename 'Train' to 'train'"),
    "empty": (lambda f: (shutil.rmtree(f), f.mkdir()), NO_SPLIT.format("train")),
    "no classes": (lambda f: [shutil.rmtree(c) for c in f.glob("*/*")], FEW.format(0)),
    "one class": (lambda f: [shutil.rmtree(c) for c in f.glob("*/a")], FEW.format(1)),
    "class missing": (
        lambda f: save(f / "train" / "aa" / "1.png"),
        "train/ and test/ must hold the same classes; test/ of 'SET' has no folder 'aa'; did you mean 'a'?",
    ),
    "no images": (
        lambda f: (f / "test" / "a" / "1.png").unlink(),
        f"every class needs images; 'test/a' of 'SET' holds {ENDINGS} file",
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


def test_the_folder_above_or_below_is_offered(folder: Path) -> None:
    """One level off is the commonest slip."""
    for given in (folder.parent, folder / "train"):
        with pytest.raises(DataError) as caught:
            list_folder(given)
        assert str(caught.value).endswith(f"; did you mean {str(folder)!r}?")


def test_a_path_that_no_system_takes_is_one_line(folder: Path) -> None:
    """Names that are too long, alone or all together, and a character that ends them elsewhere."""
    for name in ("x" * 300, "x/" * 3000, "a\0b"):
        with pytest.raises(
            DataError, match=r"^`data.name`: .* (cannot be read \(File name too long\)$|does not exist)"
        ):
            list_folder(folder / name)


def test_links_inside_the_folder_are_followed(folder: Path) -> None:
    """A link to a file of the same folder is an image; a loop or a link to nothing is ignored; PATH may be a link."""
    (folder / "train" / "a" / "2.png").symlink_to(folder / "test" / "a" / "1.png")
    (folder / "train" / "a" / "loop.png").symlink_to(folder / "train" / "a" / "loop.png")
    (folder / "train" / "a" / "gone.png").symlink_to(folder / "gone.png")
    (folder.parent / "link").symlink_to(folder)
    listed = list_folder(folder.parent / "link")
    assert listed.path == folder.resolve()
    assert [file.name for file in listed.train] == ["train/a/1.png", "train/a/2.png", "train/b/1.png"]
    assert listed.left_out == (LeftOut("train/a", 2, "a pipe, or a link to nothing"),)


def test_every_spelling_of_an_ending_counts(folder: Path) -> None:
    """Any case of every ending of the formats that are read."""
    names = ["2.JPG", "3.jpeg", "4.PnG", "5.webp", "6.BMP", "7.tif", "8.Tiff", "9.JFIF", "a.jpe"]
    for name in names:
        (folder / "train" / "a" / name).touch()
    listed = list_folder(folder)
    assert [file.name for file in listed.train] == [f"train/a/{name}" for name in ("1.png", *names)] + ["train/b/1.png"]
    assert [file.label for file in listed.train] == [0] * 10 + [1]
    assert listed.left_out == ()


def test_what_is_left_out_is_counted_by_class(folder: Path) -> None:
    """Images in a folder inside a class's, in a hidden one, beside both splits, of other formats, hidden, pipes."""
    for name in ("deep/1.png", "deep/er/2.JPG", "deep/er/notes.txt"):
        (folder / "train" / "a" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "train" / "a" / name).touch()
    for name in ("train/.new/1.png", "train/.new/2.png", "val/a/1.png", "train/1.png", "test/b/2.gif", "test/b/README"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    for name in ("._1.png", ".DS_Store", "Thumbs.db", ".3.png"):
        (folder / "test" / "b" / name).touch()
    (folder / "train" / ".empty").mkdir()
    os.mkfifo(folder / "test" / "a" / "pipe.png")
    listed = list_folder(folder)
    assert listed.left_out == (
        LeftOut("test/a", 1, "a pipe, or a link to nothing"),
        LeftOut("test/b", 2, ENDINGS),
        LeftOut("test/b", 1, "with a name that begins with a dot"),
        LeftOut("train", 1, "in no class's folder"),
        LeftOut("train/.new", 2, "in a folder whose name begins with a dot"),
        LeftOut("train/a", 2, "in a folder inside it"),
        LeftOut("val", 1, "in neither train/ nor test/"),
    )
    assert left_out_line(folder, listed.left_out[3:5]) == (
        f"left out of '{folder}': 1 file of train (in no class's folder), 2 files of train/.new (in a folder whose "
        "name begins with a dot)"
    )
    assert left_out_line(folder, listed.left_out[:1] * 12).endswith(", 2 files elsewhere")


def test_names_of_what_is_left_out_are_spelt_out(folder: Path) -> None:
    """A hidden folder's name that would clear the terminal, or is no text, is shown and not obeyed."""
    save(folder / "train" / ".\x1b[2J" / "1.png")
    save(folder / os.fsdecode(b"\xff") / "1.png")
    assert [left.folder for left in list_folder(folder).left_out] == [r"\udcff", r"train/.\x1b[2J"]


NFC, NFD = "café", "cafe\u0301"


def test_class_names_match_in_every_form_of_unicode(folder: Path) -> None:
    """A folder made on macOS in train/, one made elsewhere in test/: one class, in NFC, in the order of NFC."""
    save(folder / "train" / NFD / "1.png")
    save(folder / "test" / NFC / "1.png")
    listed = list_folder(folder)
    assert listed.classes == ("a", "b", NFC)
    assert (listed.train[-1].name, listed.test[-1].name) == (f"train/{NFD}/1.png", f"test/{NFC}/1.png")
    assert listed.train[-1].label == listed.test[-1].label == 2
    save(folder / "train" / NFC / "1.png")
    with pytest.raises(DataError, match=f"^`data.name`: two folders of train/ in .* are called '{NFC}', in Unicode's"):
        list_folder(folder)


def test_a_path_is_found_in_every_form_of_unicode(folder: Path) -> None:
    """The folder is called in NFD and typed in NFC."""
    folder.rename(folder.with_name(NFD))
    assert list_folder(folder.with_name(NFC)).path.name == NFD


def test_a_class_may_be_missing_from_test_when_asked(folder: Path) -> None:
    """Without its folder or with an empty one, labels are those of all classes; from train/ none may be missing."""
    save(folder / "train" / "0" / "1.png")
    save(folder / "train" / "c" / "1.png")
    (folder / "test" / "c").mkdir()
    with pytest.raises(DataError, match=r"test/ of '.*' has no folder '0'"):
        list_folder(folder)
    listed = list_folder(folder, allow_missing_test_classes=True)
    assert listed.classes == ("0", "a", "b", "c")
    assert [file.label for file in listed.test] == [1, 2]
    shutil.rmtree(folder / "train" / "a")
    with pytest.raises(DataError, match=r"train/ of '.*' has no folder 'a'"):
        list_folder(folder, allow_missing_test_classes=True)
    save(folder / "train" / "a" / "1.png")
    for file in folder.glob("test/*/1.png"):
        file.unlink()
    with pytest.raises(DataError, match=r"^`data.name`: test/ of '.*' holds no image of any class$"):
        list_folder(folder, allow_missing_test_classes=True)
