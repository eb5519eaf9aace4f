"""The server of a user study: the page of each rater, pictures and rankings."""

import collections
import io
import json
import threading

from PIL import Image
from starlette.concurrency import run_in_threadpool
from starlette.convertors import IntegerConvertor, register_url_convertor
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from ttl_jax.data.files import decoding
from ttl_jax.web import serving
from ttl_jax.web.study_records import Study

_RANKING_BYTES = 2**10
_CACHED_BYTES = 2**28  # of pictures; a large photograph takes about 2**26


class _Number(IntegerConvertor):
    regex = "[0-9]{1,9}"  # Python does not convert thousands of digits


register_url_convertor("number", _Number())


def make_app(study: Study) -> ASGIApp:
    """Returns the application that serves a study; the page of a rater is /r/TOKEN/."""

    pictures = _BlindedPictures(_CACHED_BYTES)

    def rankings(request: Request) -> Response:
        if not (found := study.rankings(request.path_params["token"])):
            raise HTTPException(404, "This link is invalid; check its end.")
        return JSONResponse({"num_results": len(study.methods), "rankings": found})

    def picture(request: Request) -> Response:
        if not (path := study.picture(**request.path_params)):
            raise HTTPException(404, "There is no such picture.")
        headers = {"cache-control": "private, max-age=3600"}
        return Response(pictures.read(path), headers=headers, media_type="image/png")

    async def rank(request: Request) -> Response:
        """Stores a ranking, which the study checks."""
        try:
            body = await serving.limit_body(request, _RANKING_BYTES).body()
        except ClientDisconnect as error:
            raise HTTPException(408, "The upload was interrupted.") from error
        try:
            ranking = json.loads(body)
        except (ValueError, RecursionError):
            ranking = None  # rejected like every value that is not a list
        try:
            exists = await run_in_threadpool(
                study.rank, **request.path_params, ranking=ranking
            )
        except ValueError as error:
            raise HTTPException(422, str(error)) from error
        if not exists:
            raise HTTPException(404, "There is no such task.")
        return Response(status_code=204)

    task = "/r/{token}/tasks/{place:number}"
    return serving.make_app(
        [
            serving.file_route("/style.css", "static/style.css"),
            serving.file_route("/study.js", "static/study.js"),
            serving.file_route("/r/{token}/", "static/study.html"),
            Route("/r/{token}/rankings", rankings),
            Route(f"{task}/input.png", picture),
            Route(f"{task}/{{shown:number}}.png", picture),
            Route(f"{task}/ranking", rank, methods=["PUT"]),
        ]
    )


class _BlindedPictures:
    """PNGs of pictures. Those used last are kept; simultaneous requests decode once.

    Args:
      most_bytes: Bytes to keep; the last picture is kept in any case.
    """

    def __init__(self, most_bytes: int):
        self._most_bytes = most_bytes
        self._kept: dict[str, bytes] = {}  # the one used last comes last
        self._lock = threading.Lock()
        self._lock_of = collections.defaultdict(threading.Lock)  # by path

    def read(self, path: str) -> bytes:
        """Returns the PNG of a picture; threads may call this."""
        with self._lock:
            lock = self._lock_of[path]
        with lock:
            content = self._kept.get(path) or _read_blinded(path)
            with self._lock:
                self._keep(path, content)
        return content

    def _keep(self, path: str, content: bytes) -> None:
        self._kept.pop(path, None)
        num_bytes = sum(map(len, self._kept.values())) + len(content)
        while self._kept and num_bytes > self._most_bytes:
            num_bytes -= len(self._kept.pop(next(iter(self._kept))))
        self._kept[path] = content


def _read_blinded(path: str) -> bytes:
    """Returns a PNG of only the pixels, since format and metadata could reveal a method."""
    stream = io.BytesIO()
    pixels = decoding.read_rgb8(path)
    Image.fromarray(pixels).save(stream, "PNG", compress_level=1)
    return stream.getvalue()
