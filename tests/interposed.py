"""A server between client and registry that does what networks and bad registries do.

It stands on a loopback port, passes requests on to a registry and answers back, notes what was asked, and
does to chosen requests what its rules say: each rule so many times.
"""

from __future__ import annotations

import contextlib
import http.client
import re
import threading
import time
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

_HOP = frozenset({"connection", "transfer-encoding", "keep-alive", "date", "server"})
FOREVER = 1 << 30


@dataclass(frozen=True)
class Request:
    """What was asked."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes = b""


@dataclass(frozen=True)
class Answer:
    """What is answered."""

    status: int
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""


@dataclass
class Rule:
    """Something that happens to requests.

    Attributes:
        what: `METHOD path`, a regular expression.
        answer: instead of the registry's.
        cut: end the connection after so many bytes of the body.
        stall: send nothing more after so many bytes.
        corrupt: change this byte of the body.
        truncate: send so many bytes only, as if these were all.
        slow: seconds between pieces of 64 KiB.
        raw: instead of any answer: these bytes, and then others, if any, every so many seconds without end.
        times: for how many requests.
    """

    what: str
    answer: Answer | Callable[[Request], Answer] | None = None
    cut: int | None = None
    stall: int | None = None
    corrupt: int | None = None
    truncate: int | None = None
    slow: float = 0
    raw: tuple[bytes, bytes, float] | None = None
    times: int = FOREVER


class Interposed:
    """The server; to be used as a context manager.

    Args:
        upstream: the registry behind it; None: there is only what rules answer, and 404.
        rules: the first that fits and is not used up counts.
    """

    def __init__(self, upstream: str | None, *rules: Rule) -> None:
        self.upstream = upstream
        self.rules = list(rules)
        self.requests: list[Request] = []
        self.lock = threading.Lock()
        self.ended = threading.Event()
        self.handler = _handler(self)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self.handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self._server.server_address[1]}"

    def asked(self, what: str) -> list[Request]:
        """The requests that `METHOD path` fits."""
        with self.lock:
            return [one for one in self.requests if re.fullmatch(what, f"{one.method} {one.path}")]

    def rule(self, request: Request) -> Rule | None:
        with self.lock:
            self.requests.append(request)
            for rule in self.rules:
                if rule.times > 0 and re.fullmatch(rule.what, f"{request.method} {request.path}"):
                    rule.times -= 1
                    return rule
        return None

    def __enter__(self) -> Interposed:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.ended.set()
        self._server.shutdown()
        self._server.server_close()


def _handler(interposed: Interposed) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        timeout = 30

        def handle(self) -> None:
            with contextlib.suppress(OSError):
                super().handle()

        def handle_one(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = b"".join(_body(self.rfile, headers))
            request = Request(self.command, self.path, headers, body)
            rule = interposed.rule(request)
            if rule is not None and rule.raw is not None:
                self.close_connection = True
                self.send_raw(*rule.raw)
                return
            if rule is not None and rule.answer is not None:
                answer = rule.answer(request) if callable(rule.answer) else rule.answer
            elif interposed.upstream is None:
                answer = Answer(404)
            else:
                answer = passed_on(interposed.upstream, request)
            self.reply(answer, rule or Rule(""))

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = handle_one  # noqa: N815

        def reply(self, answer: Answer, rule: Rule) -> None:
            body = answer.body if rule.truncate is None else answer.body[: rule.truncate]
            length = answer.headers.get("content-length", str(len(body)))
            if rule.corrupt is not None:
                body = body[: rule.corrupt] + bytes([body[rule.corrupt] ^ 1]) + body[rule.corrupt + 1 :]
            self.send_response_only(answer.status)
            for name, value in answer.headers.items():
                if name.lower() not in {*_HOP, "content-length"}:
                    self.send_header(name, value)
            if answer.status != 204:
                self.send_header("Content-Length", length if self.command == "HEAD" else str(len(body)))
            self.end_headers()
            if self.command == "HEAD":
                return
            end = min(rule.cut if rule.cut is not None else len(body), rule.stall or len(body))
            for begin in range(0, end, 65536):
                self.wfile.write(body[begin : min(begin + 65536, end)])
                if rule.slow and interposed.ended.wait(rule.slow):
                    break
            self.wfile.flush()
            if rule.stall is not None:
                interposed.ended.wait(30)
            if end < len(body):
                self.close_connection = True

        def send_raw(self, first: bytes, more: bytes, every: float) -> None:
            self.wfile.write(first)
            while more and not interposed.ended.wait(every):
                self.wfile.write(more)

        def log_message(self, *_: object) -> None:
            pass

    return Handler


def _body(source: object, headers: dict[str, str]) -> Iterator[bytes]:
    assert hasattr(source, "read")
    assert hasattr(source, "readline")
    if headers.get("transfer-encoding") == "chunked":
        while size := int(source.readline().split(b";")[0], 16):
            yield source.read(size)
            source.readline()
        source.readline()
    elif length := int(headers.get("content-length", "0")):
        yield source.read(length)


def passed_on(upstream: str, request: Request) -> Answer:
    with contextlib.closing(http.client.HTTPConnection(upstream, timeout=30)) as connection:
        headers = {name: value for name, value in request.headers.items() if name not in _HOP}
        headers["Content-Length"] = str(len(request.body))
        connection.request(request.method, request.path, body=request.body, headers=headers)
        answer = connection.getresponse()
        return Answer(answer.status, {n.lower(): v for n, v in answer.getheaders()}, answer.read())


def until(condition: Callable[[], object], patience: float = 20) -> None:
    """Wait for something another thread or process does."""
    end = time.monotonic() + patience
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)
