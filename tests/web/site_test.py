"""The page that needs no server: its files, and its scripts in Node."""

import contextlib
import http.client
import io
import json
import pathlib
import re
import shutil
import subprocess

import numpy as np
import pytest

from tests import pictures
from ttl_jax import export
from ttl_jax.inference import windowed, windows
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


@pytest.mark.parametrize("hidden", ["none", "some", "much", "all"])
@pytest.mark.parametrize("is_grey", [False, True])
def test_its_restoring_is_that_of_the_package(is_grey, hidden):
    image = pictures.noise(70, 200, 4)
    shares = {"none": 0, "some": 0.3, "much": 0.999, "all": 1}
    image[..., 3] = image[..., 3].clip(1)
    image[np.random.default_rng(1).random((70, 200)) < shares[hidden], 3] = 0
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
    expected = ours.restore(image, strength=0.8)
    found = np.reshape(restored, image.shape)
    assert np.abs(found - expected.astype(int)).max() <= 1  # halves
    assert (found != expected).mean() < 0.01
    np.testing.assert_array_equal(found[..., 3], image[..., 3])


# An onnxruntime-web that halves; on the graphics card it does as FAKE says.
FAKE_RUNTIME = """
export const env = { wasm: {} };
export class Tensor { constructor(type, data) { this.data = data; } }
const changes = { wrong: (x) => x + 2.5 / 255, undefined: () => NaN };
let runs = 0;
export const InferenceSession = {
  async create(network, { executionProviders: [provider] }) {
    const isGpu = provider.name === "webgpu";
    if (isGpu && FAKE === "refuses") throw new Error("no session\\nof any kind");
    return { async run({ image }) {
      if (isGpu && FAKE === "breaks" && ++runs > 1) throw new Error("device lost");
      const change = isGpu && changes[FAKE] || ((x) => x);
      return { restored: { data: image.data.map((x) => change(x / 2)) } };
    } };
  },
};
"""
WEBGPU = "Engine: WebGPU, on the graphics card."


@pytest.mark.parametrize(
    ("wanted", "adapter", "fake", "notes"),
    [
        (None, {"info": {}}, "works", [WEBGPU]),
        (None, {"info": {"isFallbackAdapter": True}}, "works", ["only emulated"]),
        ("webgpu", {"info": {"isFallbackAdapter": True}}, "works", [WEBGPU]),
        (None, None, "works", ["offers no WebGPU"]),
        ("webgpu", None, "works", ["offers no WebGPU"]),
        ("wasm", {"info": {}}, "works", ["chosen by ?engine=wasm"]),
        ("cuda", {"info": {}}, "works", ["?engine= takes wasm or webgpu"]),
        (None, {"info": {}}, "refuses", ["(no session)"]),
        (None, {"info": {}}, "wrong", ["differs by 2.5 of 255"]),
        (None, {"info": {}}, "undefined", ["differs by NaN"]),
        (None, {"info": {}}, "breaks", [WEBGPU, "(device lost)"]),
    ],
)
def test_webgpu_is_used_only_where_it_works(tmp_path, wanted, adapter, fake, notes):
    shutil.copy(FOLDER / "engines.js", tmp_path / "engines.mjs")
    for name in ("ort.wasm.min.mjs", "ort.webgpu.min.mjs"):
        (tmp_path / name).write_text(f"const FAKE = '{fake}';{FAKE_RUNTIME}")
    found, restored = run_in_node(
        f"import {{ start }} from '{tmp_path / 'engines.mjs'}';"
        f"const gpu = {{ requestAdapter: async () => ({json.dumps(adapter)}) }};"
        "Object.defineProperty(globalThis, 'navigator', { value: { gpu } });"
        "globalThis.self = globalThis; const notes = [];"
        f"const compute = await start({json.dumps(wanted)}, null, 4, "
        "(note) => notes.push(note));"
        "const restored = await compute([0.5, 1], 1, 1);"
        "console.log(JSON.stringify([notes, restored]))"
    )
    assert restored == [0.25, 0.5]
    assert len(found) == len(notes)
    assert all(part in note for part, note in zip(notes, found))


def test_every_file_that_the_page_names_is_there_and_every_file_is_named(tmp_path):
    folder = tmp_path / "new" / "site"
    site.write(folder, b"network", METADATA, RUNTIME)
    names = {path.name for path in folder.iterdir()}
    assert set(site.RUNTIME) < names and "derain.onnx" in names
    page = (folder / "index.html").read_text()
    named = set(re.findall(r'(?:src|href)="(?:\./)?([^":#]+)"', page))
    assert "style.css" in named and named <= names
    texts = [
        path.read_text() for path in folder.iterdir() if path.name != "derain.onnx"
    ]
    for name in names - {"index.html", "ort-wasm-simd-threaded.wasm"}:
        assert any(name in text for text in texts) or name.startswith("ort-wasm"), name
    assert [path.name for path in folder.parent.iterdir()] == ["site"]
    with pytest.raises(ValueError, match="exists already"):
        site.write(folder, b"network", METADATA, RUNTIME)


def test_an_invalid_page_is_reported_before_anything_is_loaded(tmp_path, capsys):
    pytest.importorskip("onnx")
    for flags, message in (
        (["--page", str(tmp_path)], "exists already"),
        (["--page", str(tmp_path / "new"), "--precision=fp16"], "--precision is for"),
    ):
        with pytest.raises(SystemExit):
            export.main([*flags, "--runtime", str(tmp_path)])
        assert message in capsys.readouterr().err


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


def test_a_download_that_is_cut_short_says_how_to_load_it_by_hand(monkeypatch):
    class Answer(io.BytesIO):
        def read(self):
            raise http.client.IncompleteRead(b"cut")

    monkeypatch.setattr(site.urllib.request, "urlopen", lambda *_, **__: Answer())
    with pytest.raises(ValueError, match="load it by hand"):
        site.load_runtime(None)
