"""A project's folder in a small world of its own: what a command there writes, beside the project, and whom it calls.

Every Python process started there carries an audit hook (PEP 578), which no library can take off: it notes each attempt
to reach another machine and each file that is opened for writing outside the project's folder.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.chaos.table import Row

PROJECT = Path(__file__).resolve().parents[2]
SPY = """
import json, os, sys

log = os.open(os.environ["SPY_LOG"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
inside = (os.environ["SPY_INSIDE"], "/dev/", "/proc/", "pipe:")
writing = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
local = ("127.", "::1", "localhost", "0.0.0.0")
changing = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.symlink", "os.link", "os.truncate")


def note(kind, what):
    os.write(log, (json.dumps([kind, str(what)]) + "\\n").encode())


def hook(event, arguments):
    if event == "open" or event in changing:
        if event == "open" and not (isinstance(arguments[2], int) and arguments[2] & writing):
            return
        for path in arguments[: 1 if event in ("open", "os.mkdir", "os.remove", "os.rmdir", "os.truncate") else 2]:
            if isinstance(path, (str, bytes, os.PathLike)):
                whole = os.path.realpath(os.path.abspath(os.fsdecode(path)))
                if not (whole + "/").startswith(inside):
                    note("write", whole)
    elif event in ("socket.connect", "socket.sendto"):
        address = arguments[1]
        if isinstance(address, tuple) and not str(address[0]).startswith(local):
            note("call", address)
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        if arguments[0] and not str(arguments[0]).startswith(local):
            note("call", arguments[0])


sys.addaudithook(hook)
"""
CONTROL = """
import socket
from pathlib import Path

Path("../elsewhere/made").touch()
socket.create_connection(("192.0.2.1", 9), timeout=0.01)
"""
_OF_THE_TESTS = ("MLFLOW", "MAKE", "MFLAGS", "PYTEST", "COV", "TORCHINDUCTOR")
FONT_CACHES = ("/.config", "/.cache")


class World:
    """project/ in a folder, beside home/, tmp/ and elsewhere/, which holds a file that is none of its business."""

    def __init__(self, folder: Path):
        self.folder, self.project = folder.resolve(), folder.resolve() / "project"
        for name in ("harness", "models", "reports"):
            ignored = shutil.ignore_patterns("__pycache__", "published", "out")
            shutil.copytree(PROJECT / name, self.project / name, ignore=ignored)
        (self.project / "experiments").mkdir()
        shutil.copy(PROJECT / "Makefile", self.project)
        self._environment_of_its_own()
        self.commands = 0
        for name in ("home", "tmp", "elsewhere", "spy"):
            (self.folder / name).mkdir()
        (self.folder / "elsewhere" / "secret.txt").write_text("secret")
        (self.folder / "spy" / "sitecustomize.py").write_text(SPY)
        (self.folder / "spy" / "log").touch()

    def _environment_of_its_own(self) -> None:
        """What make finds in .venv: this Python, and nothing to install."""
        python = self.project / ".venv" / "bin" / "python"
        python.parent.mkdir(parents=True)
        python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
        python.chmod(0o755)
        (self.project / "requirements.txt").touch()
        (self.project / ".venv" / "requirements.stamp").touch()

    @property
    def environment(self) -> dict[str, str]:
        kept = {n: v for n, v in os.environ.items() if not n.startswith(_OF_THE_TESTS)}
        return kept | {
            "HOME": str(self.folder / "home"),
            "TMPDIR": str(self.folder / "tmp"),
            "PYTHONPATH": str(self.folder / "spy"),
            "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_NUM_THREADS": "1",
            "SPY_LOG": str(self.folder / "spy" / "log"),
            "SPY_INSIDE": str(self.project) + "/",
        }

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """A command in the project's folder, to its end."""
        self.commands += 1
        return subprocess.run(
            command, cwd=self.project, env=self.environment, capture_output=True, text=True, errors="backslashreplace"
        )

    def rows(self) -> Iterator[Row]:
        """What all commands did that were started here, once it is shown that the hooks see what they are to see."""
        wrote = [path for path in self.noted("write") if not Path(path).is_relative_to(self.folder / "tmp")]
        wrote = [path for path in wrote if not path.removeprefix(str(self.folder / "home")).startswith(FONT_CACHES)]
        called = self.noted("call")
        control = self.run(str(self.project / ".venv" / "bin" / "python"), "-c", CONTROL)
        seen = str(self.folder / "elsewhere" / "made") in self.noted("write"), "('192.0.2.1', 9)" in self.noted("call")
        problems = [] if all(seen) else [f"the hooks saw {seen} of the control: {control.stderr[-200:]}"]
        (self.folder / "elsewhere" / "made").unlink(missing_ok=True)
        beside = [path for path in contents(self.folder / "elsewhere") if not path.endswith("secret.txt")]
        promise = "no command writes outside the project's folder, but temporary files and matplotlib's list of fonts"
        bad = [*wrote, *beside, *problems]
        yield Row(promise, self.commands, 0 if bad else self.commands, "; ".join(bad[:5]))
        bad = [*called, *problems]
        promise = "no command, MLflow's server and workers among them, calls another machine"
        yield Row(promise, self.commands, 0 if bad else self.commands, "; ".join(bad[:5]))

    def noted(self, kind: str) -> list[str]:
        """What the hooks have seen of a kind, "call" or "write", each once."""
        lines = (self.folder / "spy" / "log").read_text().splitlines()
        return list(dict.fromkeys(what for found, what in map(json.loads, lines) if found == kind))


def contents(*folders: Path) -> dict[str, str]:
    """Every file under these folders, but locks, by what is in it."""
    found = {}
    for path in (path for folder in folders for path in folder.rglob("*") if path.suffix != ".lock"):
        if path.is_symlink():
            found[str(path)] = f"link to {path.readlink()}"
        elif path.is_file():
            found[str(path)] = hashlib.sha256(path.read_bytes()).hexdigest()
        else:
            found[str(path)] = "folder"
    return found
