"""Downloads of the published sets: whole and as published, or refused; leftovers of killed ones are overwritten."""

import shutil
from http.server import SimpleHTTPRequestHandler
from pathlib import Path

import pytest

from harness.data.folders import DataError
from harness.data.published import decode_published
from tests.harness.published import (
    CLOSED,
    TAR,
    archives_of,
    left,
    mnist_files,
    offered,
    publish,
    serving,
)


def test_what_is_missing_is_downloaded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Archives come whole into their places, those at hand are not fetched again, and nothing else is left."""
    with serving(offered(tmp_path / "server", "mnist")) as url:
        publish(monkeypatch, "mnist", None, CLOSED, url)
        raw = tmp_path / "data" / "mnist" / "MNIST" / "raw"
        raw.mkdir(parents=True)
        shutil.copy(tmp_path / "server" / "t10k-labels-idx1-ubyte.gz", raw)
        (tmp_path / "server" / "t10k-labels-idx1-ubyte.gz").unlink()
        assert len(decode_published("mnist", tmp_path / "data" / "mnist", None).train.labels) == 20
    names = [f"mnist/MNIST/raw/{name}.gz" for name in mnist_files()]
    assert left(tmp_path / "data") == ["cache", "mnist", "mnist/MNIST", "mnist/MNIST/raw", *sorted(names)]
    assert len(decode_published("mnist", tmp_path / "data" / "mnist", None).test.labels) == 10, "the server is gone"


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
        content[len(content) // 2] ^= 1
        self.send_response(200)
        self.end_headers()
        self.wfile.write(content)


class Missing(Cut):
    def do_GET(self) -> None:
        self.send_error(404)


FIRST = "train-images-idx3-ubyte.gz"


OTHERWISE = f"what came is not {FIRST} as published, by length or SHA-256"


@pytest.mark.parametrize(
    ("handler", "reason"), [(Cut, OTHERWISE), (Endless, OTHERWISE), (Changed, OTHERWISE), (Missing, "HTTP Error 404")]
)
def test_what_is_not_the_published_file_is_refused(
    tmp_path: Path, handler: type[SimpleHTTPRequestHandler], reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cut short, endless, changed or absent: the line gives the mirror and why, no file stays; a good mirror serves."""
    offered(tmp_path / "server", "mnist")
    folder = tmp_path / "data" / "mnist"
    with serving(tmp_path / "server", handler) as bad, serving(tmp_path / "server") as good:
        publish(monkeypatch, "mnist", None, bad)
        with pytest.raises(DataError) as caught:
            decode_published("mnist", folder, None)
        start = f"`data.name`: '{folder}' holds no whole copy of mnist and it cannot be downloaded ("
        assert str(caught.value).startswith(f"{start}{bad[7:-1]}: {reason}")
        assert left(tmp_path / "data") == ["cache"]
        publish(monkeypatch, "mnist", None, bad, good)
        assert len(decode_published("mnist", folder, None).train.labels) == 20
    assert sorted(file.name for file in (folder / "MNIST" / "raw").iterdir()) == sorted(archives_of("mnist"))


def test_a_temporary_file_of_a_killed_download_is_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a kill left behind is neither used nor kept."""
    part = tmp_path / "data" / f".cifar10-{TAR}.part"
    part.parent.mkdir()
    part.write_bytes(archives_of("cifar10")[TAR][:1000])
    with serving(offered(tmp_path / "server", "cifar10")) as url:
        publish(monkeypatch, "cifar10", None, url)
        decode_published("cifar10", tmp_path / "data" / "cifar10", None)
    assert left(tmp_path / "data") == ["cache", "cifar10", f"cifar10/{TAR}"]
