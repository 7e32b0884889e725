"""`folder:PATH`: image files in `train/<class>/` and `test/<class>/`."""

import warnings
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from harness.data.decode import FORMATS, decode_folder
from harness.data.folders import Folder, list_folder
from harness.data.origin import Origin
from harness.data.split import Decoded
from harness.plans.spec import Data


def origin(data: Data, path: Path) -> Origin:
    """The data set in the folder at `path`.

    Raises:
        DataError: see `list_folder`.
    """
    folder = list_folder(path, data.allow_missing_test_classes)
    said = () if folder.tested == "test" else (f"The folder has no test/: its {folder.tested}/ is tested on",)
    return of_files(folder, data, str(folder.path), said)


def of_files(folder: Folder, data: Data, place: str, remarks: tuple[str, ...]) -> Origin:
    """The data set of a list of files, from a folder or a table.

    Args:
        place: path of the folder or table.
        remarks: sentences for reports on how the files were split.
    """

    def decode() -> Decoded:
        decoded = decode_folder(folder, data.image_size)
        return replace(decoded, remarks=(*decoded.remarks, *remarks))

    return Origin(
        facts=[place, data.image_size, folder.train, folder.test],
        decode=decode,
        left_out=folder.left_out,
        test_files=tuple(file.name for file in folder.test),
        sizes=lambda: _sizes(folder),
    )


def _sizes(folder: Folder) -> Counter[tuple[int, int]]:
    from PIL import Image

    found: Counter[tuple[int, int]] = Counter()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for file in (*folder.train, *folder.test):
            with suppress(Exception), Image.open(folder.path / file.name, formats=FORMATS) as image:  # may be damaged
                found[image.size] += 1
    return found
