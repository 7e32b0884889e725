"""`csv:PATH`: a table's images, labels and splits, and what is wrong with one, in a line."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from harness.data.load import DataError, Dataset, LeftOut, load
from harness.plans.spec import Data


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Twenty grey images of 8x8, 00.png to 19.png, each of one brightness: 10 times its number."""
    (tmp_path / "files").mkdir()
    for number in range(20):
        Image.fromarray(np.full((8, 8), 10 * number, np.uint8)).save(tmp_path / "files" / f"{number:02}.png")
    return tmp_path


def table(folder: Path, rows: list[str], header: str = "path,label,split") -> Path:
    path = folder / "table.csv"
    path.write_text("\n".join([header, *rows]) + "\n", encoding="utf-8")
    return path


def read(folder: Path, **fields: Any) -> Dataset:
    return load(Data(name="csv:table.csv", **fields), folder)


def brightness(images: np.ndarray) -> list[int]:
    return [int(image[0, 0, 0]) // 10 for image in images]


def test_rows_become_images_in_their_order_with_their_labels(images: Path) -> None:
    """Whatever the columns' order; labels sort as numbers where they are numbers; files keep their names."""
    rows = [f"{('train', 'TEST')[n % 2]},{(10, 2)[n // 2 % 2]},files/{n:02}.png,x" for n in range(8)]
    table(images, rows, "Split,Label,Path,note")
    dataset = read(images)
    assert (dataset.label, dataset.classes, dataset.channels) == ("table.csv", ("2", "10"), 1)
    assert (brightness(dataset.train.images), dataset.train.labels.tolist()) == ([0, 2, 4, 6], [1, 0, 1, 0])
    assert (brightness(dataset.test.images), dataset.test.labels.tolist()) == ([1, 3, 5, 7], [1, 0, 1, 0])
    assert dataset.test_files == ("files/01.png", "files/03.png", "files/05.png", "files/07.png")


def test_without_splits_a_fifth_of_each_class_is_drawn_and_said(images: Path) -> None:
    """The same at every call; no image in both."""
    table(images, [f"files/{n:02}.png,{'cat' if n < 15 else 'dog'}" for n in range(20)], "path,label")
    dataset = read(images)
    assert np.bincount(dataset.train.labels).tolist() == [12, 4]
    assert np.bincount(dataset.test.labels).tolist() == [3, 1]
    assert sorted(brightness(dataset.train.images) + brightness(dataset.test.images)) == list(range(20))
    said = "The table has no column split: 20% of each class, drawn once by a fixed seed, are the test images"
    assert dataset.remarks == (said,)
    assert read(images).checksum == dataset.checksum


def test_val_is_tested_on_where_there_is_no_test(images: Path) -> None:
    """And left out, said so, where there is one."""
    rows = [f"files/{n:02}.png,{n % 2},{'train' if n < 6 else 'val'}" for n in range(10)]
    table(images, rows)
    assert read(images).remarks == ("The table has no split test: its split val is tested on",)
    assert len(read(images).test.labels) == 4
    table(images, [*rows, "files/10.png,0,test", "files/11.png,1,test"])
    assert read(images).left_out == (LeftOut("val", 4, "in neither train nor test"),)
    assert brightness(read(images).test.images) == [10, 11]


def test_a_class_may_be_untested_where_that_is_asked_and_labels_stay(images: Path) -> None:
    rows = ["files/00.png,a,train", "files/01.png,b,train", "files/02.png,c,train", "files/03.png,c,test"]
    table(images, rows)
    with pytest.raises(DataError, match=r"every class needs test images; .* has none of class 'a'"):
        read(images)
    dataset = read(images, allow_missing_test_classes=True)
    assert (dataset.classes, dataset.test.labels.tolist()) == (("a", "b", "c"), [2])


GOOD = ["files/00.png,a,train", "files/01.png,b,train", "files/02.png,a,test", "files/03.png,b,test"]


@pytest.mark.parametrize(
    ("rows", "header", "said"),
    [
        (GOOD, "file,label,split", "must have the columns path and label; it has file, label, split: name them in its "
         "first line"),
        (GOOD, "path;label;split", "it has path;label;split: part the cells with commas"),
        (GOOD, "path,lable,split", "it has path, lable, split; did you mean 'lable'?"),
        ([*GOOD, "files/04.png,,train"], None, "every row needs a label of printable characters; line 6 of "),
        ([*GOOD, "files/04.png,a\u202eb,train"], None, "line 6 of '{table}' has 'a\\u202eb'"),
        ([*GOOD, ",a,train"], None, "every row needs a path of printable characters; line 6 of '{table}' has ''"),
        ([*GOOD, "files/04.png"], None, "every row needs a label of printable characters; line 6 of "),
        ([*GOOD, "files/04.png,a,trian"], None, "a split must be train, val or test; line 6 of '{table}' has 'trian'; "
         "did you mean 'train'"),
        ([*GOOD, "files/99.png,a,train"], None, "1 of 5 files that '{table}' names do not exist: 'files/99.png' (line "
         "6); paths are relative to the table"),
        ([*GOOD, r"files\99.png,a,train"], None, "paths are relative to the table, with / between folders"),
        ([*GOOD, "../other.png,a,train"], None, "paths must stay inside the table's folder; '../other.png' (line 6 of"),
        ([*GOOD, "/etc/hostname,a,train"], None, "paths must stay inside the table's folder; '/etc/hostname' (line 6"),
        ([*GOOD, "files/04.png,c,test"], None, "every class needs training images; '{table}' has none of class 'c'"),
        (GOOD[::2], None, "at least 2 classes are needed; '{table}' holds 1"),
        ([], None, "at least 2 classes are needed; '{table}' holds 0"),
        ([*GOOD, "table.csv,a,train"], None, "'table.csv' of '{folder}' cannot be decoded (it is none of JPEG, PNG, "),
        ([*GOOD, '"files/04.png,a,train'], None, "is not a CSV file in UTF-8 (unexpected end of data)"),
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_used_is_one_line(images: Path, rows: list[str], header: str | None, said: str) -> None:
    path = table(images, rows, header or "path,label,split")
    with pytest.raises(DataError) as caught:
        read(images)
    assert said.format(table=path, folder=images) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_no_table_no_text_and_a_folder_are_one_line(images: Path) -> None:
    for name, said in (
        ("csv:tabel.csv", "does not exist; did you mean 'table.csv'?"),
        ("csv:files", "is a folder; csv:"),
    ):
        table(images, GOOD)
        with pytest.raises(DataError, match=re.escape(said)):
            load(Data(name=name), images)
    (images / "table.csv").write_bytes(b"path,label\n\xff\xfe,a\n")
    with pytest.raises(DataError, match=r"is not a CSV file in UTF-8 \('utf-8' codec can't decode"):
        read(images)


def test_a_changed_table_is_read_anew(images: Path) -> None:
    table(images, GOOD)
    before = read(images)
    table(images, [GOOD[0].replace(",a,", ",b,"), GOOD[1].replace(",b,", ",a,"), *GOOD[2:]])
    assert read(images).train.labels.tolist() == [1 - label for label in before.train.labels]
