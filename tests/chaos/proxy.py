"""Stands between MLflow's client and its server, over TCP, and loses what it is told to lose: answers, not requests."""

import contextlib
import http.client
import re
import socketserver
import threading
import urllib.parse
from collections import Counter
from http.server import BaseHTTPRequestHandler
from typing import Any

_HOP_BY_HOP = ("connection", "transfer-encoding", "content-length", "date", "server")


class Proxy(socketserver.ThreadingTCPServer):
    """An HTTP proxy on a free port of 127.0.0.1, running while it is entered.

    `lost` names the answers to lose, as (endpoint, which call of it, from 1); the server has done its work by then.
    `silent` endpoints are never answered, nor is their request passed on: a server that hangs.
    """

    daemon_threads = True
    allow_reuse_address = True

    def __init__(self, server: str):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = urllib.parse.urlsplit(server).netloc
        self.uri = f"http://127.0.0.1:{self.server_address[1]}"
        self.calls: Counter[str] = Counter()
        self.lost: set[tuple[str, int]] = set()
        self.silent: set[str] = set()
        self.losses: list[tuple[str, int]] = []
        self.woken = threading.Event()
        self._counting = threading.Lock()

    def __enter__(self) -> "Proxy":
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.woken.set()
        self.shutdown()
        self.server_close()

    def forget(self) -> None:
        """Count every endpoint's calls from 1 again, and lose nothing more."""
        with self._counting:
            self.calls.clear()
            self.lost.clear()
            self.losses.clear()

    def call(self, endpoint: str) -> int:
        """Which call of this endpoint the present one is."""
        with self._counting:
            self.calls[endpoint] += 1
            return self.calls[endpoint]

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A caller that hangs up is no news."""


def endpoint(method: str, path: str) -> str:
    """`runs/create` for `/api/2.0/mlflow/runs/create?…`; every artifact's own path is cut off."""
    bare = re.sub(r"^/(ajax-)?api/\d\.\d/(mlflow/)?", "", urllib.parse.urlsplit(path).path)
    return f"{method} {'/'.join(bare.strip('/').split('/')[:2])}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def _pass_on(self) -> None:
        proxy, name = self.server, endpoint(self.command, self.path)
        assert isinstance(proxy, Proxy)
        number = proxy.call(name)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if name in proxy.silent:
            proxy.woken.wait()
            self.close_connection = True
            return
        upstream = http.client.HTTPConnection(proxy.upstream, timeout=60)
        with contextlib.closing(upstream):
            try:
                upstream.request(self.command, self.path, body, dict(self.headers))
                answer = upstream.getresponse()
                content = answer.read()
            except OSError:  # the server is down: so is the proxy
                self.close_connection = True
                return
        if (name, number) in proxy.lost:
            proxy.losses.append((name, number))
            self.close_connection = True
            return
        self.send_response(answer.status, answer.reason)
        for header, value in answer.getheaders():
            if header.lower() not in _HOP_BY_HOP:
                self.send_header(header, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _pass_on

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: stderr belongs to the tests."""
