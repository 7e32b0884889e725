"""Addresses of tracking stores: checks that they are valid and answer, and masking of passwords in messages."""

import http.client
import re
import socket
import urllib.error
import urllib.parse
import urllib.request

from harness.values import HarnessError

HURRIED_SECONDS = 1
"""Timeout of a server's health check, and of requests made while a run waits."""
_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
_USER = re.compile(r"(?<=://)[^\s'\"]*@")
_SECRET = re.compile(r"(?i)\b(\w*(?:password|passwd|pwd|secret|token))=(?:'[^']*'|[^&\s'\"]+)")


class TrackingError(HarnessError):
    """The tracking store cannot be used. Users and passwords in the message are masked, whatever its origin."""

    def __init__(self, message: str):
        super().__init__(masked(message))  # before a long one is cut: half an address is not known as one


class Unreachable(TrackingError):
    """The tracking store does not answer at the moment; it may later."""


def masked(text: str) -> str:
    """The text with users and passwords in addresses, and values with names like secrets, replaced by `***`."""
    return _SECRET.sub(r"\1=***", _USER.sub("***@", text))


def is_server(uri: str) -> bool:
    return uri.startswith(("http://", "https://"))


def with_driver(uri: str) -> str:
    """A database's address for SQLAlchemy; `postgresql://` always uses the psycopg driver."""
    start = "postgresql://"
    return f"postgresql+psycopg://{uri.removeprefix(start)}" if uri.startswith(start) else uri


def require_address(uri: str, name: str = "MLFLOW_TRACKING_URI") -> None:
    """Check that a text is the address of a tracking store, without contacting it.

    Args:
        name: the variable that has it, for the message.

    Raises:
        TrackingError: it is neither a database nor a server, has no host, or contains a user or password.
    """
    if not is_server(uri):
        if not uri.startswith(("sqlite:///", "sqlite+pysqlite:///", *_PORTS)):
            raise TrackingError(f"`{name}` must be a database or a server (sqlite:///…, http://…); got {uri!r}")
        return
    if "@" in uri.partition("?")[0]:
        raise TrackingError(
            f"`{name}` must not hold a user or password; set MLFLOW_TRACKING_USERNAME and "
            "MLFLOW_TRACKING_PASSWORD for them"
        )
    try:
        parts = urllib.parse.urlsplit(uri)
        right = bool(parts.hostname) and parts.port != 0
    except ValueError:
        right = False
    if not right:
        raise TrackingError(f"`{name}` must be a server's address, as http://127.0.0.1:5000; got {uri!r}")


def require_health(uri: str) -> None:
    """Query the health endpoint of an MLflow server.

    Raises:
        Unreachable: it does not answer "OK" within a second.
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
    """Connect to a database's port if its address names a host; MLflow's own client would try for 100 seconds.

    Raises:
        Unreachable: no connection within a few seconds.
    """
    from sqlalchemy.engine import make_url

    url = make_url(uri)
    if not url.host:
        return
    try:
        socket.create_connection((url.host, url.port or _PORTS[url.get_backend_name()]), timeout=5).close()
    except OSError as error:
        raise Unreachable(f"the tracking store {uri!r} does not answer ({error})") from error
