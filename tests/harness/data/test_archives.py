"""Archives: where their numbers are from, that only whole true copies are taken, and what a bad one's line says."""

import hashlib
import importlib.util
import io
import re
import shutil
import tarfile
from collections.abc import Callable
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

import pytest

from harness.data import archives
from harness.data.archives import archived
from harness.data.folders import DataError
from harness.data.sources import SOURCES
from tests.harness.published import CLOSED, archives_of, cifar10_files, mnist_files, serving, source_of, tar_gz

TAR = "cifar-10-python.tar.gz"


def test_numbers_are_those_of_torchvision() -> None:
    """Every MD5, folder and mirror stands in the source of the torchvision that is installed."""
    spec = importlib.util.find_spec("torchvision")
    assert spec is not None
    assert spec.origin is not None
    folder = Path(spec.origin).parent / "datasets"
    text = (folder / "cifar.py").read_text() + (folder / "mnist.py").read_text()
    for source in SOURCES.values():
        for place, md5 in source.files.items():
            if md5 is not None:
                above, name = place.split("/")
                assert f'base_folder = "{above}"' in text
                assert re.search(rf'"{name}",?\s+("md5": )?"{md5}"', text) or f'"filename": "{name}"' in text
                assert md5 in text
        for archive in source.archives:
            assert f'"{archive.name}"' in text
            assert re.fullmatch(r"[0-9a-f]{64}", archive.sha256)
        for mirror in source.mirrors:
            assert mirror in text
    assert [len(source.files) for source in SOURCES.values()] == [7, 3, 4, 4]


def offered(folder: Path, name: str) -> Path:
    folder.mkdir()
    for file, content in archives_of(name).items():
        (folder / file).write_bytes(content)
    return folder


def left(folder: Path) -> list[str]:
    """Every file under a folder but locks."""
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.suffix != ".lock")


def test_what_is_missing_is_downloaded(tmp_path: Path) -> None:
    """Archives come whole into their places, those at hand are not fetched again, and nothing else is left."""
    with serving(offered(tmp_path / "server", "mnist")) as url:
        source = source_of("mnist", archives_of("mnist"), CLOSED, url)
        raw = tmp_path / "data" / "mnist" / "MNIST" / "raw"
        raw.mkdir(parents=True)
        shutil.copy(tmp_path / "server" / "t10k-labels-idx1-ubyte.gz", raw)
        (tmp_path / "server" / "t10k-labels-idx1-ubyte.gz").unlink()
        assert archived("mnist", source, tmp_path / "data" / "mnist") == mnist_files()
    names = [f"mnist/MNIST/raw/{name}.gz" for name in mnist_files()]
    assert left(tmp_path / "data") == ["mnist", "mnist/MNIST", "mnist/MNIST/raw", *sorted(names)]
    assert archived("mnist", source, tmp_path / "data" / "mnist") == mnist_files(), "the server is gone"


class Cut(SimpleHTTPRequestHandler):
    """Promises a whole file and hangs up in its middle."""

    def log_message(self, format: str, *args: object) -> None:
        pass

    def do_GET(self) -> None:
        content = Path(self.translate_path(self.path)).read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[:-100])


class Endless(Cut):
    """Sends the file and never stops."""

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        try:
            self.wfile.write(Path(self.translate_path(self.path)).read_bytes())
            while True:
                self.wfile.write(bytes(2**16))
        except OSError:
            pass


class Changed(Cut):
    """The right length, one bit flipped."""

    def do_GET(self) -> None:
        content = bytearray(Path(self.translate_path(self.path)).read_bytes())
        content[500] ^= 1
        self.send_response(200)
        self.end_headers()
        self.wfile.write(content)


class Missing(Cut):
    def do_GET(self) -> None:
        self.send_error(404)


OTHERWISE = f"what came is not {TAR} as published, by length or SHA-256"


@pytest.mark.parametrize(
    ("handler", "reason"), [(Cut, OTHERWISE), (Endless, OTHERWISE), (Changed, OTHERWISE), (Missing, "HTTP Error 404")]
)
def test_what_is_not_the_published_file_is_refused(
    tmp_path: Path, handler: type[SimpleHTTPRequestHandler], reason: str
) -> None:
    """Cut short, endless, changed or absent: the line gives the mirror and why, no file stays; a good mirror serves."""
    offered(tmp_path / "server", "cifar10")
    with serving(tmp_path / "server", handler) as bad, serving(tmp_path / "server") as good:
        source = source_of("cifar10", archives_of("cifar10"), bad)
        with pytest.raises(DataError) as caught:
            archived("cifar10", source, tmp_path / "data" / "cifar10")
        start = f"`data.name`: '{tmp_path}/data/cifar10' holds no whole copy of cifar10 and it cannot be downloaded ("
        assert str(caught.value).startswith(f"{start}{bad[7:-1]}: {reason}")
        assert left(tmp_path / "data") == []
        source = source_of("cifar10", archives_of("cifar10"), bad, good)
        assert len(archived("cifar10", source, tmp_path / "data" / "cifar10")) == 7
    assert left(tmp_path / "data") == ["cifar10", f"cifar10/{TAR}"]


def test_a_damaged_archive_is_named_and_replaced(tmp_path: Path) -> None:
    """Without network the line says that what is there is not the published file; with it, a good one replaces it."""
    file = tmp_path / "data" / "cifar10" / TAR
    file.parent.mkdir(parents=True)
    content = archives_of("cifar10")[TAR]
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(DataError) as caught:
        archived("cifar10", source_of("cifar10", archives_of("cifar10")), file.parent)
    assert (
        f"holds no whole copy of cifar10 ({TAR} there is not as published, by length or SHA-256) and it cannot"
        in str(caught.value)
    )
    with serving(offered(tmp_path / "server", "cifar10")) as url:
        archived("cifar10", source_of("cifar10", archives_of("cifar10"), url), file.parent)
    assert file.read_bytes() == content


def test_a_temporary_file_of_a_killed_download_is_overwritten(tmp_path: Path) -> None:
    """What a kill left behind is neither used nor kept."""
    part = tmp_path / "data" / f".cifar10-{TAR}.part"
    part.parent.mkdir()
    part.write_bytes(archives_of("cifar10")[TAR][:1000])
    with serving(offered(tmp_path / "server", "cifar10")) as url:
        archived("cifar10", source_of("cifar10", archives_of("cifar10"), url), tmp_path / "data" / "cifar10")
    assert left(tmp_path / "data") == ["cifar10", f"cifar10/{TAR}"]


def changed_member(**changes: object) -> bytes:
    """The archive with its test batch replaced by something else under the same name."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as tar:
        for name, content in cifar10_files().items():
            member = tarfile.TarInfo(name)
            if name.endswith("test_batch"):
                for field, value in changes.items():
                    setattr(member, field, value)
            else:
                member.size = len(content)
            tar.addfile(member, io.BytesIO(content if member.size else b""))
    return made.getvalue()


ABSENT = "\"filename 'cifar-10-batches-py/test_batch' not found\""
NOT_PLAIN = "'cifar-10-batches-py/test_batch' is not a plain file"
WITHOUT = {name: content for name, content in cifar10_files().items() if not name.endswith("test_batch")}
BAD_TARS: dict[str, tuple[Callable[[], bytes], str]] = {
    "no gzip": (lambda: b"x" * 100, r"Not a gzipped file \(b'xx'\)"),
    "truncated": (lambda: tar_gz(cifar10_files())[:-2000], "Compressed file ended before the end-of-stream marker.*"),
    "no tar": (lambda: archives_of("mnist")["t10k-labels-idx1-ubyte.gz"], "truncated header|invalid header"),
    "member missing": (lambda: tar_gz(WITHOUT), ABSENT),
    "traversing": (lambda: tar_gz(WITHOUT | {"../cifar-10-batches-py/test_batch": b"x"}), ABSENT),
    "absolute": (lambda: tar_gz(WITHOUT | {"/cifar-10-batches-py/test_batch": b"x"}), ABSENT),
    "symlink": (lambda: changed_member(type=tarfile.SYMTYPE, linkname="/etc/passwd"), NOT_PLAIN),
    "hard link": (lambda: changed_member(type=tarfile.LNKTYPE, linkname="/etc/passwd"), NOT_PLAIN),
    "device": (lambda: changed_member(type=tarfile.CHRTYPE, devmajor=1, devminor=5), NOT_PLAIN),
    "pipe": (lambda: changed_member(type=tarfile.FIFOTYPE), NOT_PLAIN),
    "folder": (lambda: changed_member(type=tarfile.DIRTYPE), NOT_PLAIN),
}


@pytest.mark.parametrize("kind", BAD_TARS)
def test_a_bad_archive_is_one_line_even_with_the_right_hash(tmp_path: Path, kind: str) -> None:
    """Members are taken by exact name, plain files alone; nothing is written, and no link is followed."""
    make, reason = BAD_TARS[kind]
    content = make()
    folder = tmp_path / "data" / "cifar10"
    folder.mkdir(parents=True)
    (folder / TAR).write_bytes(content)
    with pytest.raises(DataError) as caught:
        archived("cifar10", source_of("cifar10", {TAR: content}), folder)
    start = re.escape(f"`data.name`: the copy of cifar10 in '{folder}' cannot be read (")
    assert re.fullmatch(rf"{start}({reason})\); remove it, and a fresh one is fetched", str(caught.value))
    assert left(tmp_path) == ["data", "data/cifar10", f"data/cifar10/{TAR}"]


def test_an_archive_that_unpacks_to_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit holds before anything is looked for in it."""
    monkeypatch.setattr(archives, "LIMIT", 10_000)
    content = archives_of("cifar10")[TAR]
    folder = tmp_path / "cifar10"
    folder.mkdir()
    (folder / TAR).write_bytes(content)
    with pytest.raises(DataError, match=r"cannot be read \(it unpacks to more than 10,000 bytes\)"):
        archived("cifar10", source_of("cifar10", {TAR: content}), folder)


def test_the_hash_is_that_of_the_whole_archive(tmp_path: Path) -> None:
    """A file of the right length and another content is not read, whatever is in it."""
    content = archives_of("cifar10")[TAR]
    source = source_of("cifar10", {TAR: content})
    assert source.archives[0].sha256 == hashlib.sha256(content).hexdigest()
    (tmp_path / TAR).write_bytes(bytes(len(content)))
    assert archives._whole(tmp_path, source.archives[0]) is None
    (tmp_path / TAR).write_bytes(content)
    assert archives._whole(tmp_path, source.archives[0]) == content
