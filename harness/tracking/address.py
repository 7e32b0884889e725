"""A tracking store's address: which kinds there are, whether one answers, and how it is shown without a password."""

import http.client
import re
import socket
import urllib.error
import urllib.parse
import urllib.request

from harness.values import HarnessError

HURRIED_SECONDS = 1
"""How long a server may take to say whether it is well, and what may be waited for while a run waits."""
_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
_USER = re.compile(r"(?<=://)[^\s'\"]*@")
_SECRET = re.compile(r"(?i)\b(\w*(?:password|passwd|pwd|secret|token))=(?:'[^']*'|[^&\s'\"]+)")


class TrackingError(HarnessError):
    """The tracking store cannot be used. What it says never holds a user or password, whoever wrote the text."""

    def __str__(self) -> str:
        return masked(super().__str__())


class Unreachable(TrackingError):
    """The tracking store does not answer now; it may later."""


def masked(text: str) -> str:
    """A text in which every user and password of an address, and every value named like a secret, is `***`."""
    return _SECRET.sub(r"\1=***", _USER.sub("***@", text))


def is_server(uri: str) -> bool:
    return uri.startswith(("http://", "https://"))


def with_driver(uri: str) -> str:
    """A database's address for SQLAlchemy: `postgresql://` names psycopg, whichever is its version's own choice."""
    start = "postgresql://"
    return f"postgresql+psycopg://{uri.removeprefix(start)}" if uri.startswith(start) else uri


def require_address(uri: str) -> None:
    """Refuse what is no address of a tracking store, before anything is asked of it.

    Raises:
        TrackingError: neither a database nor a server, a server without a host, or one with a password.
    """
    if not is_server(uri):
        if not uri.startswith(("sqlite:///", "sqlite+pysqlite:///", *_PORTS)):
            raise TrackingError(
                f"`MLFLOW_TRACKING_URI` must be a database or a server (sqlite:///…, http://…); got {uri!r}"
            )
        return
    if "@" in uri.partition("?")[0]:
        raise TrackingError(
            "`MLFLOW_TRACKING_URI` must not hold a user or password; set MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD for them"
        )
    try:
        parts = urllib.parse.urlsplit(uri)
        right = bool(parts.hostname) and parts.port != 0
    except ValueError:
        right = False
    if not right:
        raise TrackingError(f"`MLFLOW_TRACKING_URI` must be a server's address, as http://127.0.0.1:5000; got {uri!r}")


def require_health(uri: str) -> None:
    """Ask an MLflow server whether it is well.

    Raises:
        Unreachable: it does not say so within a second.
    """
    try:
        with urllib.request.urlopen(uri.rstrip("/") + "/health", timeout=HURRIED_SECONDS) as answer:
            if answer.status == 200:
                return
            problem = f"it answered {answer.status}"
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
        problem = " ".join(str(getattr(error, "reason", error)).split())
    raise Unreachable(f"the tracking server {uri!r} does not answer ({problem})")


def require_port(uri: str) -> None:
    """Call at a database's port, if its address names a host: MLflow's own client would try for 100 seconds.

    Raises:
        Unreachable: nobody takes the call within a few seconds.
    """
    from sqlalchemy.engine import make_url

    url = make_url(uri)
    if not url.host:
        return
    try:
        socket.create_connection((url.host, url.port or _PORTS[url.get_backend_name()]), timeout=5).close()
    except OSError as error:
        raise Unreachable(f"the tracking store {uri!r} does not answer ({error})") from error
