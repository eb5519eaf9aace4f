"""A static page that restores photographs in the browser, without a server of its own."""

import base64
import hashlib
import http.client
import importlib.resources
import io
import json
import pathlib
import tarfile
import urllib.request
from collections.abc import Mapping
from typing import Any

from ttl_jax import atomic_files

# onnxruntime-web as npm publishes it, and its checksum as npm states it. The first
# three files have WebAssembly alone. The others have WebAssembly and WebGPU, and only
# browsers with WebGPU load them.
VERSION = "1.30.0"
_URL = f"https://registry.npmjs.org/onnxruntime-web/-/onnxruntime-web-{VERSION}.tgz"
_SHA512 = "q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
RUNTIME = (
    "ort.wasm.min.mjs",
    "ort-wasm-simd-threaded.mjs",
    "ort-wasm-simd-threaded.wasm",
    "ort.webgpu.min.mjs",
    "ort-wasm-simd-threaded.asyncify.mjs",
    "ort-wasm-simd-threaded.asyncify.wasm",
)

_WEB = importlib.resources.files("ttl_jax.web") / "static"
_SLIDER = importlib.resources.files("ttl_jax.inference")
_POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; worker-src 'self'; "
    "style-src 'self'; connect-src 'self'; img-src 'self' blob: data:; base-uri 'none'; "
    "form-action 'none'"
)


def check_is_new(folder: pathlib.Path) -> None:
    """Raises ValueError if a folder exists."""
    if folder.exists():
        raise ValueError(f"{folder} exists already; name another folder, or remove it")


def write(
    folder: pathlib.Path,
    network: bytes,
    metadata: Mapping[str, Any],
    runtime: Mapping[str, bytes],
) -> None:
    """Writes the files of the page to a folder that does not exist yet.

    The page shows and restores photographs as the server's page does, in the same windows.

    Args:
      folder: Folder to make; it appears when all files are written.
      network: Bytes of an ONNX file.
      metadata: Its metadata, see `exporting.describe`.
      runtime: Files of onnxruntime-web by name, see `load_runtime`.

    Raises:
      ValueError: If the folder exists.
      OSError: If a file cannot be written.
    """
    check_is_new(folder)
    files = dict(runtime)
    files |= {name: (_WEB / name).read_bytes() for name in ("derain.js", "style.css")}
    files |= {n: (_SLIDER / n).read_bytes() for n in ("slider.css", "slider.js")}
    for name in ("local.js", "worker.js", "engines.js", "windows.js"):
        files[name] = (_WEB / "site" / name).read_bytes()
    settings = {name: metadata[name] for name in ("window", "margin", "grid")}
    files["settings.json"] = json.dumps(settings).encode()
    files["derain.onnx"] = network
    files["index.html"] = _make_page().encode()
    with atomic_files.atomic_folder(folder) as made:
        for name, content in files.items():
            (made / name).write_bytes(content)


def _make_page() -> str:
    """The server's page, with the script that restores here and a policy of its own."""
    page = (_WEB / "derain.html").read_text()
    charset, script = (
        '<meta charset="utf-8">',
        '<script src="derain.js" defer></script>',
    )
    policy = f'<meta http-equiv="content-security-policy" content="{_POLICY}">'
    local = '<script src="local.js" defer></script>'
    for old, new in (
        (charset, f"{charset}\n{policy}"),
        (script, f"{local}\n{script}"),
    ):
        if page.count(old) != 1:
            raise RuntimeError(f"derain.html must have one {old}")
        page = page.replace(old, new)
    return page


def load_runtime(folder: pathlib.Path | None) -> dict[str, bytes]:
    """Returns the files `RUNTIME` of onnxruntime-web by name.

    Args:
      folder: Folder that holds them, such as `dist` of the npm package; None loads the
        pinned version from npm's registry.

    Raises:
      ValueError: If files are missing, or the registry's package has another checksum.
    """
    if folder is None:
        return _fetch_runtime()
    try:
        return {name: (folder / name).read_bytes() for name in RUNTIME}
    except OSError as error:
        raise ValueError(
            f"{error.filename} cannot be read; --runtime takes the folder dist of the "
            f"npm package onnxruntime-web {VERSION}, or one with its files "
            f"{', '.join(RUNTIME)}"
        ) from error


def _fetch_runtime() -> dict[str, bytes]:
    """Loads the runtime's files from npm's registry, and checks them."""
    try:
        with urllib.request.urlopen(_URL, timeout=60) as answer:
            package = answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise ValueError(
            f"{_URL} cannot be loaded: {error}; load it by hand, unpack it, and name its "
            "folder dist by --runtime"
        ) from error
    if hashlib.sha512(package).digest() != base64.b64decode(_SHA512):
        raise ValueError(f"{_URL} is not the file that was published")
    with tarfile.open(fileobj=io.BytesIO(package)) as archive:
        return {
            name: file.read()
            for name in RUNTIME
            if (file := archive.extractfile(f"package/dist/{name}"))
        }
