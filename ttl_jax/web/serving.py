"""Common parts of the servers: files, size limits, errors as JSON, headers, start and end.

Servers send only files of this package and computed results; paths are never read from a
request. Pages load nothing from other hosts and run only scripts of this package.
"""

import importlib.resources
import socket
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager

import uvicorn
from starlette.applications import Starlette
from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
        "img-src 'self' blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-store",
}
_TYPES = {
    "css": "text/css",
    "html": "text/html",
    "js": "text/javascript",
    "json": "application/json",
}
_LAST_SECONDS = 10  # for requests that are open when a signal arrives


def make_app(
    routes: Sequence[BaseRoute],
    lifespan: Callable[[Starlette], AbstractAsyncContextManager[None]] | None = None,
) -> ASGIApp:
    """Returns an application that adds the headers above to every answer.

    Errors are JSON, {"error": one line}. A POST or PUT from a page of another site is
    rejected with status 403.

    Args:
      lifespan: Context that is open while the application runs.
    """
    return _Guard(
        Starlette(
            routes=routes,
            lifespan=lifespan,
            exception_handlers={HTTPException: _answer_error, Exception: _answer_fault},
        )
    )


def file_route(path: str, name: str, package: str = "ttl_jax.web") -> Route:
    """Returns the route of a file, which is read immediately."""
    text = importlib.resources.files(package).joinpath(name).read_text("utf-8")
    media_type = _TYPES[name.rpartition(".")[2]]

    async def answer(request: Request) -> Response:
        del request
        return Response(text, media_type=media_type)

    return Route(path, answer)


def limit_body(request: Request, num_bytes: int) -> Request:
    """Returns the request with a body that raises `HTTPException` 413 beyond `num_bytes`."""
    received = 0

    async def receive() -> Message:
        nonlocal received
        message = await request.receive()
        received += len(message.get("body", b""))
        if received > num_bytes:
            while message.get("more_body"):  # browsers show no answer to an unread body
                message = await request.receive()
            text = f"The request has more than {num_bytes:,} bytes, the limit."
            raise HTTPException(413, text)
        return message

    return Request(request.scope, receive)


def run(
    make_app: Callable[[], ASGIApp],
    host: str,
    port: int,
    announce: Callable[[str], None],
) -> None:
    """Serves until SIGTERM or Ctrl-C, then finishes the open requests.

    Args:
      make_app: Function that returns the application. It is called once the port is taken,
        since loading weights takes long.
      port: TCP port; 0 chooses a free one.
      announce: Called with the address, such as "http://127.0.0.1:8000", when connections
        are accepted. If the server takes connections on all addresses, this is the name
        of the computer.

    Raises:
      OSError: If the address cannot be used.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family)
    except OSError as error:
        reason = str(error.strerror).partition(" (")[0]
        raise OSError(
            f"{host}, port {port}, cannot be used: {reason}; choose another --host or --port"
        ) from error
    with listener:
        app = make_app()
        # Other computers cannot open the address that stands for all addresses.
        shown = socket.gethostname() if host in ("0.0.0.0", "::", "") else host
        shown = f"[{shown}]" if ":" in shown else shown
        announce(f"http://{shown}:{listener.getsockname()[1]}")
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,  # it would contain the tokens of raters
            server_header=False,
            ws="none",
            timeout_graceful_shutdown=_LAST_SECONDS,
        )
        uvicorn.Server(config).run(sockets=[listener])


class _Guard:
    """Adds the headers, and rejects requests from pages of other sites."""

    def __init__(self, app: ASGIApp):
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        app = self._app
        if scope["type"] == "http" and scope["method"] not in ("GET", "HEAD"):
            site = Headers(scope=scope).get("sec-fetch-site")
            if site in ("cross-site", "same-site"):
                app = JSONResponse(
                    {"error": "Requests from other sites are rejected."}, 403
                )
        await app(scope, receive, send_guarded)


async def _answer_error(request: Request, error: Exception) -> Response:
    del request
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


async def _answer_fault(request: Request, error: Exception) -> Response:
    del request, error  # the log of the server has the traceback
    return JSONResponse({"error": "The server failed; its log has the reason."}, 500)
