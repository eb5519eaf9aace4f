"""The page that needs no server: its windows in Node, and itself in a browser."""

import contextlib
import functools
import http.server
import io
import json
import pathlib
import shutil
import subprocess
import threading

import numpy as np
import pytest
from PIL import Image

import ttl_jax.lite
from tests import pictures
from ttl_jax import export
from ttl_jax.inference import windowed, windows
from ttl_jax.lite import onnx_restorer
from ttl_jax.web import site

FOLDER = pathlib.Path(site.__file__).parent / "static" / "site"
METADATA = {"window": 96, "margin": 16, "grid": 16}
RUNTIME = dict.fromkeys(site.RUNTIME, b"")


def run_in_node(script):
    node = shutil.which("node")
    if node is None:
        pytest.skip("no Node")
    script = f"import * as windows from '{FOLDER / 'windows.js'}';{script}"
    printed = subprocess.run(
        [node, "--no-warnings", "--input-type=module", "-"],
        input=script,
        check=True,
        capture_output=True,
        text=True,
    )
    return json.loads(printed.stdout)


def test_its_windows_are_those_of_the_package():
    lengths = [1, 16, 17, 95, 96, 97, 176, 177, 300, 1000]
    found = run_in_node(
        f"const axes = {lengths}.map((n) => windows.divide(n, {METADATA}));"
        "console.log(JSON.stringify(axes.map((axis) => [axis.parts, "
        "axis.parts.map((_, k) => [...windows.weights(axis, k)])])))"
    )
    for length, (parts, weights) in zip(lengths, found):
        axis = windows.plan(length, 1, grid=16, side=96, overlap=16).rows
        assert [part["start"] for part in parts] == list(axis.starts)
        assert [part["side"] for part in parts] == list(axis.sides)
        for ours, theirs in zip(weights, axis.weights()):
            np.testing.assert_allclose(ours, theirs, atol=1e-6)


@pytest.mark.parametrize("is_grey", [False, True])
def test_its_restoring_is_that_of_the_package(is_grey):
    image = pictures.noise(70, 200, 4)
    if is_grey:
        image[..., :3] = image[..., :1]
    # Each window is scaled by its size and its first pixel: order and reflection count.
    restored = run_in_node(
        f"const data = Uint8ClampedArray.from({image.ravel().tolist()});"
        "const compute = async (v, h, w) => v.map((x) => x * 0.9 + v[2] * h / w / 100);"
        "await windows.restore({ data, width: 200, height: 70 }, 0.8, "
        f"{METADATA}, compute);"
        "console.log(JSON.stringify([...data]))"
    )

    def compute(images):
        return (
            images * 0.9 + images[0, 0, 0, 2] * images.shape[1] / images.shape[2] / 100
        )

    ours = windowed.WindowedRestorer(
        compute, name="", digest="", grid=16, side=96, overlap=16
    )
    colour = ours.restore(image[..., :3], strength=0.8)
    found = np.reshape(restored, image.shape)
    assert np.abs(found[..., :3] - colour.astype(int)).max() <= 1  # halves
    assert (found[..., :3] != colour).mean() < 0.01
    np.testing.assert_array_equal(found[..., 3], image[..., 3])


def test_every_file_that_a_file_names_is_there(tmp_path):
    folder = tmp_path / "new" / "site"
    site.write(folder, b"network", METADATA, RUNTIME)
    names = {path.name for path in folder.iterdir()}
    assert set(site.RUNTIME) < names and "derain.onnx" in names
    texts = [
        path.read_text() for path in folder.iterdir() if path.name != "derain.onnx"
    ]
    for name in names - {"index.html", "ort-wasm-simd-threaded.wasm"}:
        assert any(name in text for text in texts) or name.startswith("ort-wasm"), name
    assert [path.name for path in folder.parent.iterdir()] == ["site"]
    with pytest.raises(ValueError, match="exists already"):
        site.write(folder, b"network", METADATA, RUNTIME)


def test_a_runtime_that_is_missing_or_changed_is_refused(tmp_path, monkeypatch, capsys):
    pytest.importorskip("onnx")
    page = str(tmp_path / "site")
    with pytest.raises(SystemExit):
        export.main(["--page", page, "--runtime", str(tmp_path)])
    assert "the folder dist of the npm package" in capsys.readouterr().err
    opened = lambda *_, **__: contextlib.closing(io.BytesIO(b"changed"))
    monkeypatch.setattr(site.urllib.request, "urlopen", opened)
    with pytest.raises(SystemExit):
        export.main(["--page", page])
    assert "is not the file that was published" in capsys.readouterr().err


@pytest.fixture
def address(tmp_path):
    """Address of a static server of the page with the packed weights."""
    content = onnx_restorer.PACKED.read_bytes()
    metadata = ttl_jax.lite.load().metadata
    try:
        runtime = site.load_runtime(None)
    except ValueError as error:
        pytest.skip(str(error))
    site.write(tmp_path / "site", content, metadata, runtime)
    handler = functools.partial(Quiet, directory=tmp_path / "site")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format, *args):
        del format, args


@pytest.mark.slow  # loads 33 MB
def test_pixels_in_a_browser_are_those_of_the_command_line(address):
    playwright = pytest.importorskip("playwright.sync_api")
    image = pictures.noise(100, 140, 3)
    file = io.BytesIO()
    Image.fromarray(image).save(file, "PNG")
    hosts = set()
    with playwright.sync_playwright() as tools:
        try:
            browser = tools.chromium.launch(executable_path=shutil.which("chromium"))
        except playwright.Error as error:
            pytest.skip(f"no Chromium: {str(error).splitlines()[0]}")
        page = browser.new_page()
        page.set_default_timeout(240_000)
        page.on("request", lambda request: hosts.add(request.url.split("/")[2]))
        page.goto(address)
        upload = {"name": "a.png", "mimeType": "image/png", "buffer": file.getvalue()}
        page.set_input_files("#files", [upload])
        page.get_by_text("Done.").first.wait_for()
        with page.expect_download() as download:
            page.get_by_role("link").press("Enter")
        found = np.asarray(Image.open(download.value.path()))[..., :3]
        browser.close()
    expected = ttl_jax.lite.load().restore(image)
    assert np.abs(found.astype(int) - expected).max() <= 1
    assert {host for host in hosts if host} == {address.split("/")[2]}
