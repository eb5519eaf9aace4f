"""The server that restores photographs: `POST /api/derain`, and a page that uses it."""

from __future__ import annotations

import asyncio
import contextlib
import math
import threading
from collections.abc import AsyncIterator
from concurrent import futures
from typing import TYPE_CHECKING, NamedTuple

from PIL import Image
from starlette.applications import Starlette
from starlette.datastructures import UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from ttl_jax.data.files import decoding, encoding, metadata
from ttl_jax.web import serving

if TYPE_CHECKING:
    from ttl_jax.inference.restorer import Restorer

_NAME = "The photograph"  # in error messages, instead of the name of the upload
_FORM_BYTES = 2**16  # for the form without the photograph
_UPLOAD_SECONDS = 120  # a slow upload occupies a place in the queue
_LOOK_SECONDS = 0.5  # between checks of whether the client has left
# As on the command line, formats that cannot be written become PNG.
_SUFFIXES = {kind: suffix for suffix, kind in reversed(encoding.FORMATS.items())}
_SUFFIXES["MPO"] = _SUFFIXES["JPEG"]


class Limits(NamedTuple):
    """Limits of a server.

    Attributes:
      num_bytes: Largest file, in bytes.
      num_pixels: Largest number of pixels of a photograph.
      num_waiting: Largest number of requests that are read, waiting or in work.
    """

    num_bytes: int = 64_000_000
    num_pixels: int = 64_000_000
    num_waiting: int = 8


DEFAULT_LIMITS = Limits()


def make_app(
    network: Restorer, limits: Limits = DEFAULT_LIMITS, *, with_page: bool = True
) -> ASGIApp:
    """Returns the server's application.

    Args:
      network: Network that restores; one thread calls it.
      limits: Limits of the requests.
      with_page: Whether to serve a page in addition to the interface.
    """
    queue = _Queue(network, limits)
    routes = [
        Route("/api/derain", queue.answer, methods=["POST"]),
        serving.file_route("/openapi.json", "static/openapi.json"),
    ]
    if with_page:
        routes += [
            serving.file_route("/", "static/derain.html"),
            serving.file_route("/derain.js", "static/derain.js"),
            serving.file_route("/style.css", "static/style.css"),
            serving.file_route("/slider.css", "slider.css", "ttl_jax.inference"),
            serving.file_route("/slider.js", "slider.js", "ttl_jax.inference"),
        ]
    return serving.make_app(routes, queue.run)


class _StopError(Exception):
    """The server ends, or the client has left; the photograph is not restored."""


class _Queue:
    """Restores one photograph after another in a thread; the queue is bounded."""

    def __init__(self, network: Restorer, limits: Limits):
        self._network, self._limits = network, limits
        self._num_waiting, self._ends = 0, threading.Event()

    @contextlib.asynccontextmanager
    async def run(self, app: Starlette) -> AsyncIterator[None]:
        """Context in which the thread runs; leaving it ends a restoration early."""
        del app
        self._pool = futures.ThreadPoolExecutor(1, "restore")
        try:
            yield
        finally:
            self._ends.set()
            self._pool.shutdown(cancel_futures=True)

    async def answer(self, request: Request) -> Response:
        """Returns the response with the restored photograph of a form."""
        if self._num_waiting >= self._limits.num_waiting:
            text = "The queue is full; try again in some seconds."
            raise HTTPException(503, text, {"retry-after": "3"})
        self._num_waiting += 1
        has_left = threading.Event()
        try:
            data, strength = await self._read_form(request)
            work = asyncio.get_running_loop().run_in_executor(
                self._pool, self._restore, data, strength, has_left
            )
            while not (await asyncio.wait([work], timeout=_LOOK_SECONDS))[0]:
                if await request.is_disconnected():
                    work.cancel()  # where it still waits
                    raise HTTPException(408, "The client closed the connection.")
            return await work
        except _StopError as error:
            raise HTTPException(503, "The server ends.") from error
        finally:
            has_left.set()
            self._num_waiting -= 1

    async def _read_form(self, request: Request) -> tuple[bytes, float]:
        """Reads the bytes of the photograph, and the strength."""
        num_bytes = self._limits.num_bytes
        limited = serving.limit_body(request, num_bytes + _FORM_BYTES)
        try:
            async with (
                asyncio.timeout(_UPLOAD_SECONDS),
                limited.form(max_files=1, max_fields=4) as form,
            ):
                image, strength = form.get("image"), form.get("strength", "1")
                if not isinstance(image, UploadFile):
                    raise HTTPException(
                        400, "The form needs a file in the field image."
                    )
                data = await image.read()
        except (TimeoutError, ClientDisconnect) as error:
            raise HTTPException(
                408, "The upload was interrupted or took too long."
            ) from error
        if len(data) > num_bytes:
            text = f"{_NAME} has {len(data):,} bytes; the limit is {num_bytes:,}."
            raise HTTPException(413, text)
        return data, _parse_strength(strength)

    def _restore(
        self, data: bytes, strength: float, has_left: threading.Event
    ) -> Response:
        """Restores the bytes of a photograph, in the thread."""

        def check_going_on(*progress: int) -> None:
            if self._ends.is_set() or has_left.is_set():
                raise _StopError

        check_going_on()
        try:
            source_format, num_pixels = decoding.read_header(data, _NAME)
            if num_pixels > self._limits.num_pixels:
                text = f"{_NAME} has {num_pixels:,} pixels; the limit is"
                raise HTTPException(413, f"{text} {self._limits.num_pixels:,}.")
            self._network.check_pixels(num_pixels)
            array, info = decoding.decode_image(data, _NAME)
            target = f"photograph{_SUFFIXES.get(source_format, '.png')}"
            array = encoding.fit(target, array)
        except ValueError as error:
            raise HTTPException(422, str(error)) from error
        restored = self._network.restore(
            array, strength=strength, progress=check_going_on
        )
        target_format = encoding.format_of(target)
        headers = {"content-disposition": f'inline; filename="{target}"'}
        if lost := metadata.find_lost(target_format, info):
            headers["x-not-kept"] = ", ".join(lost)
        content = encoding.encode(target, restored, info)
        return Response(content, headers=headers, media_type=Image.MIME[target_format])


def _parse_strength(text: str | UploadFile) -> float:
    try:
        strength = float(text) if isinstance(text, str) else math.nan
    except ValueError:
        strength = math.nan
    if not 0 <= strength <= 1:  # NaN neither
        given = repr(text[:20]) if isinstance(text, str) else "a file"
        raise HTTPException(400, f"strength must be a number from 0 to 1, not {given}.")
    return strength
