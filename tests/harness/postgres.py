"""PostgreSQL as Debian packages it, on a free port of 127.0.0.1, with its data in a folder that goes at the end."""

import importlib.util
import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path
from typing import Any

PASSWORD = "s3cret-pass"


def missing() -> str | None:
    """Why it cannot be started here; None if it can."""
    if importlib.util.find_spec("psycopg") is None:
        return "the package psycopg is not installed (the extra `postgres`)"
    return None if _programs() else "Debian's package postgresql is not installed"


def _programs() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return found[-1].parent if found else None


class Postgres:
    """A cluster with a superuser `owner`, who has a password; ended when the block is left."""

    def __init__(self) -> None:
        programs = _programs()
        assert programs is not None, missing()
        self._programs = programs
        self._folder = Path(tempfile.mkdtemp(prefix="harness-postgres-"))
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]

    def uri(self, database: str = "postgres", user: str = "owner", password: str = PASSWORD) -> str:
        return f"postgresql://{user}:{password}@127.0.0.1:{self.port}/{database}"

    def __enter__(self) -> "Postgres":
        (self._folder / "password").write_text(PASSWORD)
        if os.getuid() == 0:  # it refuses to run as root
            shutil.chown(self._folder, "postgres")
            shutil.chown(self._folder / "password", "postgres")
        data, login = str(self._folder / "data"), ["--auth=scram-sha-256", "--username=owner"]
        file = f"--pwfile={self._folder / 'password'}"
        self._run("initdb", "-D", data, *login, file, "--no-sync", "--encoding=UTF8", "--locale=C")
        settings = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off"
        self._run("pg_ctl", "-D", data, "-w", "-l", str(self._folder / "log"), "-o", settings, "start")
        return self

    def __exit__(self, *_: object) -> None:
        self._run("pg_ctl", "-D", str(self._folder / "data"), "-m", "immediate", "stop")
        shutil.rmtree(self._folder)

    def sql(self, statement: str, database: str = "postgres") -> list[tuple[Any, ...]]:
        """What a statement gives."""
        import psycopg

        with psycopg.connect(self.uri(database), autocommit=True) as connection:
            cursor = connection.execute(statement.encode())
            return cursor.fetchall() if cursor.description else []

    def _run(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), *arguments]
        if os.getuid() == 0:
            command = ["runuser", "-u", "postgres", "--", *command]
        done = subprocess.run(command, cwd="/", capture_output=True, text=True)
        if done.returncode:
            raise RuntimeError(done.stdout + done.stderr)
