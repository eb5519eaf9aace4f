"""The server of a user study: the page of each rater, pictures and rankings."""

import functools
import io
import json

from PIL import Image
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp

from ttl_jax.data.files import decoding
from ttl_jax.web import serving
from ttl_jax.web.study_records import Study

_RANKING_BYTES = 2**10
_CACHED_PICTURES = 256


def make_app(study: Study) -> ASGIApp:
    """Returns the application that serves a study; the page of a rater is /r/TOKEN/."""

    def rankings(request: Request) -> Response:
        if not (found := study.rankings(request.path_params["token"])):
            raise HTTPException(404, "This link is invalid; check its end.")
        return JSONResponse({"num_results": len(study.methods), "rankings": found})

    def picture(request: Request) -> Response:
        if not (path := study.picture(**request.path_params)):
            raise HTTPException(404, "There is no such picture.")
        headers = {"cache-control": "private, max-age=3600"}
        return Response(_read_blinded(path), headers=headers, media_type="image/png")

    async def rank(request: Request) -> Response:
        """Stores a ranking, which the study checks."""
        body = await serving.limit_body(request, _RANKING_BYTES).body()
        try:
            ranking = json.loads(body)
        except (ValueError, RecursionError):
            ranking = None  # rejected as any other that is no list
        try:
            exists = await run_in_threadpool(
                study.rank, **request.path_params, ranking=ranking
            )
        except ValueError as error:
            raise HTTPException(422, str(error)) from error
        if not exists:
            raise HTTPException(404, "There is no such task.")
        return Response(status_code=204)

    task = "/r/{token}/tasks/{place:int}"
    return serving.make_app(
        [
            serving.file_route("/style.css", "static/style.css"),
            serving.file_route("/study.js", "static/study.js"),
            serving.file_route("/r/{token}/", "static/study.html"),
            Route("/r/{token}/rankings", rankings),
            Route(f"{task}/input.png", picture),
            Route(f"{task}/{{shown:int}}.png", picture),
            Route(f"{task}/ranking", rank, methods=["PUT"]),
        ]
    )


@functools.lru_cache(_CACHED_PICTURES)
def _read_blinded(path: str) -> bytes:
    """Returns a PNG of only the pixels, since format and metadata could reveal a method."""
    stream = io.BytesIO()
    pixels = decoding.read_rgb8(path)
    Image.fromarray(pixels).save(stream, "PNG", compress_level=1)
    return stream.getvalue()
