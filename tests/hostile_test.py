"""Hostile and broken files in every reader: rejected by name, or read.

Each case has a time limit. Readers raise only `ValueError` and `OSError`.
"""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import ExifTags, Image

from tests import mutations
from tests.pictures import noise
from tests.training import metadata
from ttl_jax import atomic_files, derain, prepare
from ttl_jax.data.files import decoding, images
from ttl_jax.data.loading import listings
from ttl_jax.data.sources import records, source_names
from ttl_jax.inference import file_jobs
from ttl_jax.reports import examples
from ttl_jax.reports.scores import ablation
from ttl_jax.training import metric_writer
from ttl_jax.weights import packed_files, trained

ROOT = pathlib.Path(__file__).parents[1]
NUM_SEEDS = 40
SOUND = mutations.images()

# The module ignores them too, but pytest's own filters come before.
pytestmark = pytest.mark.filterwarnings("ignore:::PIL")


@contextlib.contextmanager
def time_limit(seconds=20):
    """Raises SystemExit, which no reader catches, when the block takes longer."""

    def stop(*_):
        raise SystemExit(f"not done after {seconds} s")

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


def refusal(read, *arguments):
    """Returns the reason why a file is rejected, or None if it is read."""
    with time_limit():
        try:
            read(*arguments)
        except (ValueError, OSError) as error:
            return str(error)
    return None


# Weights


def test_a_damaged_file_of_weights_is_rejected_by_name(tmp_path):
    path = tmp_path / "mine.safetensors"
    modules = {"encoder": {"kernel": noise(9, 9, 3).astype(np.float32)}}
    told = {
        **metadata.make(modules={"encoder": {"factory": "make_encoder"}}),
        "step": 3,
        "ancestors": {"digests": [], "are_all": True},
    }
    packed_files.write(path, modules, told)
    sound = path.read_bytes()
    assert refusal(trained.load, path) is None
    num_refused = 0
    for seed in range(4 * NUM_SEEDS):
        path.write_bytes(mutations.damage(sound, seed))
        message = refusal(trained.load, path)
        num_refused += message is not None
        if message is None:  # the damage undid itself, or lies in unused bytes
            loaded, _ = trained.load(path)
            np.testing.assert_array_equal(
                loaded["encoder"]["kernel"], modules["encoder"]["kernel"]
            )
        else:
            assert path.name in message
    assert num_refused > 3 * NUM_SEEDS


# Images


@pytest.mark.parametrize("name", SOUND)
def test_a_damaged_image_is_rejected_by_name_or_read(name, tmp_path):
    path = tmp_path / name
    for seed in range(NUM_SEEDS):
        path.write_bytes(mutations.damage(SOUND[name], seed))
        for read in (decoding.read_image, images.load):
            message = refusal(read, path)
            if message is not None:
                assert message.startswith(f"{path} ") and "\n" not in message
        if refusal(decoding.read_image, path) is None:
            array = decoding.read_image(path).array
            assert array.dtype in (np.uint8, np.uint16) and array.ndim in (2, 3)


def test_bombs_are_rejected_before_they_need_memory(tmp_path):
    for name, data in mutations.bombs().items():
        assert len(data) < 150_000
        (tmp_path / name).write_bytes(data)
    code = (
        "import sys; from ttl_jax.data.files import decoding\n"
        "for path in sys.argv[1:]:\n"
        "    try: decoding.read_image(path); print('READ', path)\n"
        "    except decoding.ImageError: pass\n"
        "print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code, *map(str, tmp_path.iterdir())],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    (kilobytes,) = result.stdout.splitlines()
    assert int(kilobytes) < 150_000  # NumPy and Pillow alone take 50


def test_flat_pictures_are_not_rejected_as_bombs(tmp_path):
    path = tmp_path / "black.png"
    Image.new("L", (4096, 4096)).save(path)  # 1000 pixels in a byte
    assert decoding.read_rgb8(path).shape == (4096, 4096, 3)
    Image.new("RGB", (6000, 4000)).save(tmp_path / "black.jpg")  # 43
    assert decoding.read_rgb8(tmp_path / "black.jpg").shape == (4000, 6000, 3)


@pytest.mark.parametrize("name", ["pipe.png", "folder.png", "endless.png", "\0.png"])
def test_pipes_and_folders_are_rejected(name, tmp_path):
    path = f"{tmp_path}/{name}"
    if name == "pipe.png":
        os.mkfifo(path)
    if name == "folder.png":
        os.mkdir(path)
    if name == "endless.png":
        os.symlink("/dev/zero", path)
    for read in (decoding.read_image, images.load, lambda path: images.check([path])):
        assert decoding.printable(path) in refusal(read, path)


def test_a_file_larger_than_any_photograph_is_not_read(tmp_path):
    path = tmp_path / "sparse.png"
    with open(path, "wb") as file:
        file.truncate(2**40)
    assert "1,099,511,627,776 bytes" in refusal(decoding.read_image, path)


def absurd_exif():
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    exif[ExifTags.Base.XResolution] = 72.0
    details = exif.get_ifd(ExifTags.IFD.Exif)
    details[ExifTags.Base.ExifImageWidth] = details[ExifTags.Base.ExifImageHeight] = 24
    exif.get_ifd(ExifTags.IFD.GPSInfo)[2] = (1.0, 2.0, 3.0)
    sound = exif.tobytes().removeprefix(b"Exif\0\0")
    for seed in range(NUM_SEEDS):
        yield b"Exif\0\0" + mutations.damage(sound, seed)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_photographs_with_damaged_metadata_are_read(suffix, tmp_path):
    job = file_jobs.Job(tmp_path / f"in.{suffix}", tmp_path / "out" / f"in.{suffix}")
    profile = bytes(range(256)) * 4
    for seed, exif in enumerate(absurd_exif()):
        damaged = mutations.damage(profile, seed)
        Image.fromarray(noise(24, 33, 3)).save(
            job.source, exif=exif, icc_profile=damaged
        )
        with time_limit():
            outcome = file_jobs.restore_files([job], lambda array, **_: array.copy())
        assert not outcome.failures


def write_folder(folder):
    """Writes sound and broken photographs, and returns the names of both."""
    folder.mkdir()
    sound, broken = [], []
    for name in ("colour.png", "colour.jpg", "lossless.webp", "deflated.tif"):
        (folder / f"sound_{name}").write_bytes(SOUND[name])
        sound.append(f"sound_{name}")
        for kind, data in (
            ("empty", b""),
            ("text", b"<html>404</html>"),
            ("zeros", bytes(5000)),
            ("cut", SOUND[name][:-300]),
        ):
            (folder / f"{kind}_{name}").write_bytes(data)
            broken.append(f"{kind}_{name}")
    for name, data in mutations.bombs().items():
        if pathlib.Path(name).suffix in (".png", ".jpg", ".webp", ".tif"):
            (folder / f"bomb_{name}").write_bytes(data)
            broken.append(f"bomb_{name}")
    return sound, broken


def test_a_folder_is_restored_except_for_its_broken_files(
    tmp_path, replace_network, capsys
):
    replace_network(np.copy)
    sound, broken = write_folder(tmp_path / "in")
    os.mkfifo(tmp_path / "in" / "pipe.png")  # not a file, so skipped
    output = tmp_path / "out"
    with time_limit():
        status = derain.main([str(tmp_path / "in"), "--output", str(output)])
    assert status == 1
    written = [path.name for path in output.iterdir() if path.name[0] != "."]
    assert sorted(written) == sorted(sound)
    first, *failures = capsys.readouterr().err.strip().splitlines()
    assert first == f"{len(broken)} failed:" and len(broken) >= 30
    named = sorted(line.split()[0] for line in failures)
    assert named == sorted(str(tmp_path / "in" / name) for name in broken)


# Texts

LIST = b"# pairs\na.png\tb.png\n~/c.png\t~nobody-here/d.png\n"
SELECTION = b"# pairs\n[folder:pairs]\na.png\tb.png\n[list:l.txt]\nc.png\td.png\n"
SCENES = b"path,scene\na.png,1\nb.png,2\n"
INDEX = {
    "name": "x",
    "image_names": ["rainy", "clean"],
    "splits": {"train": [["a", "a", 33, 24, [5, 6], "a.png"]]},
    "views": {"view": ["train", [0]]},
    "source": {},
    "excluded": [],
}
ROWS = [{"name": "both", "description": "", "tables": [3], "runs": {"1": "derain"}}]


def open_records(file):
    """Uses everything that sources need from the index of a prepared set."""
    folder = file.parent / "x" / records.VERSION
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(file, folder / "index.json")
    for source in ("tfds:x", "tfds:x/train", "tfds:x/view"):
        source_names.open_pairs(source)
        for role in ("rainy", "clean"):
            source_names.open_photographs(source, role)


def attach_scenes(file):
    subjects = [examples.Subject(name, (9, 9), None) for name in ("a.png", "b.png")]
    examples.attach_scenes(subjects, file)


READERS = {
    "list.txt": (LIST, lambda file: source_names.open_pairs(f"list:{file}")),
    "selection.txt": (
        SELECTION,
        lambda file: source_names.open_pairs(f"selection:{file}"),
    ),
    "exclude.txt": (LIST, lambda file: listings.read_excluded([str(file)])),
    "scenes.csv": (SCENES, attach_scenes),
    "index.json": (json.dumps(INDEX).encode(), open_records),
    "ablation.json": (
        json.dumps({"rows": ROWS}).encode(),
        lambda file: ablation.read(file.parent),
    ),
    "images.json": (b'["clean a.png 5"]', atomic_files.read_json),
    "metrics.jsonl": (b'{"step": 1, "loss": 0.5}\n' * 3, metric_writer.read),
}
TEXTS = (
    b"", b"\0", b"\xff\xfe", b"[", b"[]", b"{}", b"null", b"5", b"[" * 100_000,
    b"x" * 200_000, b"a\t" * 5000, b"a\0b\tc\0d\n", b"~nobody-here/a\t~nobody-here/b",
    b"[folder:~nobody-here]\na\tb", b"[list:\0]\na\tb", b"[rain:]\na\tb", b"/\t/\n",
    b'path,scene\n"a\nb', b"path,path\n1,2,3\n", b"path,scene\n" + b"x" * 200_000,
    b"path,scene\na\0,b\n", b'{"rows": 5}', b'{"rows": [5]}', b'{"rows": {"a": {}}}',
    b'{"splits": []}', b'{"step": "last"}\n',
)  # fmt: skip


@pytest.mark.parametrize("name", READERS)
def test_malformed_texts_are_rejected_or_read(name, tmp_path, monkeypatch):
    monkeypatch.setenv("TTL_JAX_DATA_DIR", str(tmp_path))
    sound, read = READERS[name]
    damaged = [mutations.damage(sound, seed) for seed in range(NUM_SEEDS)]
    num_refused = 0
    for text in (*TEXTS, *damaged):
        (tmp_path / name).write_bytes(text)
        message = refusal(read, tmp_path / name)
        # A list that can be read names files that are not there.
        names = (name, "image files cannot be used", "'list:", "'folder:", "'rain:")
        if message is not None:
            num_refused += 1
            assert any(known in message for known in names), message
    assert num_refused >= 5 or name == "metrics.jsonl"


# Records


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """A folder of prepared sets with the pairs x."""
    root = tmp_path_factory.mktemp("prepared")
    for i in range(2):
        clean = noise(24, 33, 3) // (2 + i)
        for side, image in (("clean", clean), ("rainy", clean + 90)):
            (root / "raw" / side).mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(root / "raw" / side / f"{i}.png")
    data_dir = root / "sets"
    flags = ["--source", str(root / "raw"), "--name", "x", "--trust_sides"]
    assert not prepare.main(["pairs", *flags, "--data_dir", str(data_dir)])
    return data_dir


def load_all():
    for pair in source_names.open_pairs("tfds:x/train"):
        for side in (pair.rainy, pair.clean):
            side.load()


@pytest.mark.parametrize("key", ["pythonClassName", "python_class_name", "type"])
def test_module_that_a_prepared_set_names_is_not_imported(
    key, prepared, tmp_path, monkeypatch
):
    data_dir = pathlib.Path(shutil.copytree(prepared, tmp_path / "sets"))
    monkeypatch.setenv("TTL_JAX_DATA_DIR", str(data_dir))
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "hostile_module.py").write_text("raise SystemExit('imported')")
    (info,) = data_dir.rglob("dataset_info.json")
    told = json.loads(info.read_text()) | {"moduleName": "hostile_module"}
    info.write_text(json.dumps(told))
    records._open_split.cache_clear()
    load_all()  # that name is read, and no more
    (path,) = data_dir.rglob("features.json")
    told = json.loads(path.read_text())
    named = {key: "hostile_module.Image", "content": {}}
    told["featuresDict"]["features"]["clean"] = named
    path.write_text(json.dumps(told))
    records._open_split.cache_clear()
    assert "'hostile_module.Image', which is not a feature" in refusal(load_all)


def test_damaged_records_are_rejected_by_name_or_read(prepared, tmp_path, monkeypatch):
    data_dir = pathlib.Path(shutil.copytree(prepared, tmp_path / "sets"))
    monkeypatch.setenv("TTL_JAX_DATA_DIR", str(data_dir))
    files = [path for path in (data_dir / "x").rglob("*") if path.is_file()]
    assert len(files) == 5
    num_refused = 0
    for path in files:
        data = path.read_bytes()
        for seed in range(NUM_SEEDS // 4):
            path.write_bytes(mutations.damage(data, seed))
            records._open_split.cache_clear()  # as in a new process
            message = refusal(load_all)
            if message is not None:
                num_refused += 1
                assert (
                    str(data_dir) in message
                    or "tfds:x" in message
                    or "x/train/" in message
                )
        path.write_bytes(data)
    assert num_refused >= 20
