"""The server that restores photographs, with a stand-in for the network."""

import asyncio
import io
import re
import signal
import socket
import sys
import threading
import time

import httpx
import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from tests import pictures
from tests.web import servers
from ttl_jax import serve
from ttl_jax.data.files import decoding
from ttl_jax.web import restoring, serving

POST = "/api/derain"


class Inverter:
    """Stands for the network: inverts the pixels, and keeps alpha."""

    def check_pixels(self, num_pixels):
        del num_pixels

    def restore(self, image, *, strength=1.0, progress=lambda done, total: None):
        progress(0, 1)
        channels = image.ndim == 3 and image.shape[2] in (2, 4)
        restored = image.copy()
        colour = restored[..., :-1] if channels else restored
        inverted = np.iinfo(image.dtype).max - colour
        colour[:] = np.round(colour + strength * (inverted - 1.0 * colour))
        return restored


def client(network=None, **options):
    app = restoring.make_app(network or Inverter(), **options)
    return TestClient(app, raise_server_exceptions=False)


def encoded(array, kind="PNG", **options):
    stream = io.BytesIO()
    Image.fromarray(array).save(stream, kind, **options)
    return stream.getvalue()


def post(client, data, **fields):
    # The name of the upload leads out of every folder; it is not used.
    files = {"image": ("../../etc/passwd", data)}
    return client.post(POST, files=files, data=fields)


@pytest.mark.parametrize(
    ("kind", "shape"),
    [("PNG", (5, 7, 4)), ("PNG", (5, 7)), ("TIFF", (5, 7, 3)), ("WEBP", (5, 7, 3)), ("BMP", (5, 7, 3))],
)  # fmt: skip
def test_a_photograph_comes_back_in_its_format(kind, shape):
    image = pictures.noise(*shape)
    options = {"lossless": True} if kind == "WEBP" else {}
    with client() as served:
        answer = post(served, encoded(image, kind, **options))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == Image.MIME[kind]
    restored = decoding.decode_image(answer.content, "answer").array
    np.testing.assert_array_equal(restored, Inverter().restore(image))


def test_16_bits_and_metadata_are_kept():
    exif = Image.Exif()
    exif[0x010E] = "holiday"
    deep = encoded(pictures.noise(5, 7, dtype=np.uint16))
    jpeg = encoded(pictures.noise(8, 8, 3), "JPEG", exif=exif, comment=b"dry")
    with client() as served:
        restored = decoding.decode_image(post(served, deep).content, "answer")
        np.testing.assert_array_equal(
            restored.array, 65535 - pictures.noise(5, 7, dtype=np.uint16)
        )
        with Image.open(io.BytesIO(post(served, jpeg).content)) as image:
            assert image.getexif()[0x010E] == "holiday"
            assert image.info["comment"] == b"dry"


def test_the_strength_is_a_share_of_the_change():
    image = np.full((4, 4, 3), 100, np.uint8)
    with client() as served:
        levels = [
            decoding.decode_rgb8(post(served, encoded(image), strength=s).content, "")
            for s in ("0", "0.2", "1")
        ]
    assert [int(level.mean()) for level in levels] == [100, 111, 155]


@pytest.mark.parametrize(
    ("data", "fields", "status", "message"),
    [
        (b"", {}, 422, "The photograph is empty"),
        (b"not an image", {}, 422, "cannot be read"),
        (encoded(pictures.noise(50, 50))[:-40], {}, 422, "cannot be read"),
        (encoded(np.zeros((101, 100), np.uint8)), {}, 413, "10,100 pixels"),
        (bytes(20_001), {}, 413, "20,001 bytes"),
        (bytes(200_000), {}, 413, "The request has more than"),
        (encoded(np.zeros((4, 4), np.uint8)), {"strength": "nan"}, 400, "strength"),
        (
            encoded(np.zeros((4, 4), np.uint8)),
            {"strength": "2"},
            400,
            "from 0 to 1, not '2'",
        ),
    ],
)
def test_bad_input_is_rejected_in_one_line(data, fields, status, message):
    limits = restoring.Limits(num_bytes=20_000, num_pixels=10_000)
    with client(limits=limits) as served:
        answer = post(served, data, **fields)
        assert answer.status_code == status
        assert message in answer.json()["error"]
        assert "\n" not in answer.text
        good = encoded(np.zeros((4, 4), np.uint8))
        assert post(served, good).status_code == 200  # its place is free again


def test_forms_without_a_file_are_rejected():
    with client() as served:
        assert served.post(POST, data={"image": "text"}).status_code == 400
        assert served.post(POST, json={}).status_code == 400
        assert served.get(POST).status_code == 405


def test_a_failing_network_is_reported_without_its_message():
    class Broken(Inverter):
        def restore(self, image, **options):
            raise RuntimeError("/secret/path")

    with client(Broken()) as served:
        answer = post(served, encoded(np.zeros((4, 4), np.uint8)))
    assert answer.status_code == 500
    assert answer.json() == {"error": "The server failed; its log has the reason."}
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_full_queue_answers_503():
    class Slow(Inverter):
        may_end = threading.Event()

        def restore(self, image, **options):
            assert self.may_end.wait(60)
            return image

    limits = restoring.Limits(num_waiting=2)
    data = encoded(np.zeros((4, 4), np.uint8))

    async def ask(served):
        answer = await served.post(POST, files={"image": data})
        if answer.status_code == 503:
            assert int(answer.headers["retry-after"]) > 0
            Slow.may_end.set()
        return answer.status_code

    async def ask_three():
        app = restoring.make_app(Slow(), limits)
        starlette = app._app
        transport = httpx.ASGITransport(app)
        async with (
            starlette.router.lifespan_context(starlette),
            httpx.AsyncClient(transport=transport, base_url="http://test") as served,
        ):
            return await asyncio.gather(*(ask(served) for _ in range(3)))

    assert sorted(asyncio.run(ask_three())) == [200, 200, 503]


def test_a_client_that_left_does_not_block_the_next():
    """It leaves in the middle of a photograph that would take forever."""

    class Slow(Inverter):
        begun, stopped = threading.Event(), []

        def restore(self, image, *, progress, **options):
            while image.max() == 0:
                self.begun.set()
                time.sleep(0.01)
                try:
                    progress(0, 2)
                except Exception as error:
                    self.stopped.append(type(error).__name__)
                    raise
            return image

    black, white = (encoded(np.full((4, 4), level, np.uint8)) for level in (0, 255))
    form = httpx.Request("POST", "http://test" + POST, files={"image": black})
    headers = [(name.lower(), value) for name, value in form.headers.raw]
    scope = {
        "type": "http", "method": "POST", "path": POST, "headers": headers,
        "query_string": b"", "scheme": "http", "http_version": "1.1",
    }  # fmt: skip

    async def leave_in_the_middle(app):
        messages = [{"type": "http.request", "body": form.read()}]

        async def receive():
            if messages:
                return messages.pop()
            while not Slow.begun.is_set():
                await asyncio.sleep(0.01)
            return {"type": "http.disconnect"}

        async def send(message):
            del message

        await app(scope, receive, send)

    async def ask_both():
        app = restoring.make_app(Slow(), restoring.Limits(num_waiting=1))
        starlette = app._app
        transport = httpx.ASGITransport(app)
        async with (
            starlette.router.lifespan_context(starlette),
            httpx.AsyncClient(transport=transport, base_url="http://test") as served,
        ):
            await asyncio.wait_for(leave_in_the_middle(app), 20)
            answer = served.post(POST, files={"image": white})
            return (await asyncio.wait_for(answer, 20)).status_code

    assert asyncio.run(ask_both()) == 200
    assert Slow.stopped == ["_StopError"]


def test_every_answer_has_security_headers_and_pages_use_only_own_files():
    with client() as served:
        page = served.get("/")
        for name in re.findall(r'(?:src|href)="([^"]+)"', page.text):
            assert name == "data:," or served.get(f"/{name}").status_code == 200
        for path in ("/", "/derain.js", "/missing", "/../serving.py", "/openapi.json"):
            headers = served.get(path).headers
            assert "frame-ancestors 'none'" in headers["content-security-policy"]
            assert "unsafe" not in headers["content-security-policy"]
            assert headers["referrer-policy"] == "no-referrer"
        assert not re.search(r"\son\w+=|<style", page.text)


def test_other_sites_are_rejected():
    with client() as served:
        for site, status in (("cross-site", 403), ("same-origin", 400)):
            headers = {"sec-fetch-site": site}
            assert served.post(POST, headers=headers).status_code == status


def test_the_page_can_be_left_out():
    with client(with_page=False) as served:
        assert served.get("/").status_code == 404
        document = served.get("/openapi.json").json()
    assert list(document["paths"]) == [POST]


def test_the_command_names_the_missing_extra(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "starlette", None)
    with pytest.raises(SystemExit):
        serve.main([])
    assert 'pip install "ttl_jax[serve]"' in capsys.readouterr().err


def test_the_command_serves_its_checkpoint(replace_network, monkeypatch, capsys):
    loaded = replace_network(lambda array: 255 - array)

    def post_once(make_app, host, port, announce):
        announce(f"http://{host}:{port}")
        with TestClient(make_app()) as served:
            answer = post(served, encoded(np.full((4, 4), 55, np.uint8)))
        assert (decoding.decode_rgb8(answer.content, "answer") == 200).all()

    monkeypatch.setattr(serving, "run", post_once)
    assert serve.main(["--checkpoint", "run"]) == 0
    assert loaded == ["run"]
    assert "http://127.0.0.1:8000/" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        serve.main(["--checkpoint", "missing"])
    assert "holds no checkpoint" in capsys.readouterr().err


def test_the_command_has_limits_and_can_leave_out_the_page(
    replace_network, monkeypatch
):
    replace_network(lambda array: array)
    statuses = []

    def post_all(make_app, host, port, announce):
        with TestClient(make_app()) as served:
            statuses.append(served.get("/").status_code)
            for image in (
                np.zeros((1000, 1001), np.uint8),
                pictures.noise(700, 700, 3),
            ):
                statuses.append(post(served, encoded(image)).status_code)
            statuses.append(post(served, encoded(pictures.noise(50, 50))).status_code)

    monkeypatch.setattr(serving, "run", post_all)
    limits = ["--max_megapixels", "1", "--max_megabytes", "1"]
    assert serve.main(["--checkpoint", "run", "--no-ui", *limits]) == 0
    assert statuses == [404, 413, 413, 200]


def test_an_upload_that_takes_too_long_is_ended(monkeypatch):
    monkeypatch.setattr(restoring, "_UPLOAD_SECONDS", 0.01)
    app = restoring.make_app(Inverter())
    scope = {
        "type": "http", "method": "POST", "path": POST, "query_string": b"",
        "headers": [(b"content-type", b"multipart/form-data; boundary=x")],
        "scheme": "http", "http_version": "1.1",
    }  # fmt: skip
    sent = []

    async def receive():
        await asyncio.sleep(60)

    async def send(message):
        sent.append(message)

    async def ask():
        async with app._app.router.lifespan_context(app._app):
            await asyncio.wait_for(app(scope, receive, send), 20)

    asyncio.run(ask())
    assert sent[0]["status"] == 408


def test_what_is_not_kept_is_named_in_a_header():
    stream = io.BytesIO()
    Image.fromarray(pictures.noise(9, 9, 3)).convert("CMYK").save(stream, "JPEG")
    with client() as served:
        answer = post(served, stream.getvalue())
        kept = post(served, encoded(pictures.noise(9, 9, 3)))
    assert "CMYK" in answer.headers["x-not-kept"]
    assert "x-not-kept" not in kept.headers


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_server(number):
    with servers.start_inverter() as run:
        address = run.stdout.readline().strip()
        image = encoded(np.zeros((4, 4), np.uint8))
        assert httpx.post(address + POST, files={"image": image}).status_code == 200
        run.send_signal(number)
        assert run.wait(20) in (-number, 128 + number, 0)


def test_a_port_in_use_is_named_before_weights_are_loaded(replace_network, capsys):
    loaded = replace_network(lambda array: array)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
        with pytest.raises(SystemExit, match="2"):
            serve.main(["--port", port])
    assert "in use; choose another --host or --port" in capsys.readouterr().err
    assert not loaded
