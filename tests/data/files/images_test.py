import json
import os
import time

import numpy as np
import pytest
from PIL import ExifTags, Image

from ttl_jax import progress
from ttl_jax.data.files import decoding, images


@pytest.fixture(autouse=True)
def memory(tmp_path_factory, monkeypatch):
    """The file that records checked images."""
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder))
    return folder / "ttl_jax" / "checked_images.json"


@pytest.fixture
def decoded(monkeypatch):
    """A list of the paths that are decoded from now on."""
    paths, load = [], images.load

    def counting_load(path):
        paths.append(path)
        return load(path)

    monkeypatch.setattr(images, "load", counting_load)
    return paths


@pytest.fixture
def rgb():
    return np.random.default_rng(0).integers(0, 256, (12, 17, 3), np.uint8)


def write(path, array, **options):
    Image.fromarray(array).save(path, **options)
    return str(path)


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp", "tif"])
def test_bytes_decode_as_their_file_does(tmp_path, rgb, suffix):
    path = write(tmp_path / f"a.{suffix}", rgb)
    with open(path, "rb") as file:
        data = file.read()
    np.testing.assert_array_equal(images.decode(data, "record 3"), images.load(path))
    with pytest.raises(decoding.ImageError, match="^record 3 cannot be read: "):
        images.decode(data[: len(data) // 2], "record 3")


def test_bytes_of_too_small_an_image_are_named(tmp_path, rgb):
    path = write(tmp_path / "a.png", rgb[:3])
    with (
        open(path, "rb") as file,
        pytest.raises(
            decoding.ImageError, match="^record 3 is 17x3; each side needs at least 8"
        ),
    ):
        images.decode(file.read(), "record 3")


def test_alpha_is_dropped_and_not_blended(tmp_path, rgb):
    alpha = np.linspace(1, 255, 12 * 17).astype(np.uint8).reshape(12, 17, 1)
    path = write(tmp_path / "a.png", np.concatenate([rgb, alpha], axis=-1))
    np.testing.assert_array_equal(images.load(path), rgb)
    grey = write(tmp_path / "b.png", np.concatenate([rgb[..., :1], alpha], axis=-1))
    np.testing.assert_array_equal(images.load(grey), rgb[..., :1].repeat(3, axis=-1))


def test_small_and_undecodable_photographs_are_rejected_by_name(tmp_path, rgb):
    narrow = write(tmp_path / "narrow.png", np.ascontiguousarray(rgb[:, :7]))
    fault = r"narrow\.png is 7x12; each side needs at least 8 pixels\.$"
    with pytest.raises(decoding.ImageError, match=fault):
        images.load(narrow)
    (tmp_path / "empty.png").touch()
    with pytest.raises(decoding.ImageError, match=r"empty\.png is empty"):
        images.load(tmp_path / "empty.png")


def test_check_returns_the_facts_of_each_path(tmp_path, rgb, decoded):
    paths = [write(tmp_path / "a.png", rgb), write(tmp_path / "b.png", rgb[:9])]
    facts = images.check([paths[0], paths[1], paths[0]])
    assert [(f.width, f.height) for f in facts] == [(17, 12), (17, 9), (17, 12)]
    assert facts[1].num_bytes == os.path.getsize(paths[1])
    assert sorted(decoded) == paths


def test_facts_are_those_of_the_upright_photograph(tmp_path, rgb):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    facts = images.check([write(tmp_path / "a.png", rgb, exif=exif)])[0]
    assert (facts.width, facts.height) == (12, 17)


def test_a_second_check_decodes_only_what_changed(tmp_path, rgb, decoded):
    paths = [write(tmp_path / f"{i}.png", rgb) for i in range(3)]
    first = images.check(paths)
    decoded.clear()
    assert images.check(paths) == first
    assert decoded == []
    write(paths[1], np.ascontiguousarray(rgb[:10]))
    assert images.check(paths)[1].height == 10
    assert decoded == [paths[1]]


def test_an_interrupted_check_resumes(tmp_path, rgb, decoded, monkeypatch):
    paths = [write(tmp_path / f"{i}.png", rgb) for i in range(3)]
    load = images.load

    def interrupt(path):
        if path == paths[2]:
            raise KeyboardInterrupt
        return load(path)

    monkeypatch.setattr(images, "load", interrupt)
    with pytest.raises(KeyboardInterrupt):
        images.check(paths)
    monkeypatch.setattr(images, "load", load)
    decoded.clear()
    images.check(paths)
    assert decoded == paths[2:]


def test_a_long_check_is_saved_and_shown_meanwhile(
    tmp_path, rgb, memory, monkeypatch, capsys
):
    paths = [write(tmp_path / f"{i}.png", rgb) for i in range(3)]
    load, deadline = images.load, time.monotonic() + 30

    def wait(path):
        """Returns the last image when the first is saved, as if that took a minute."""
        while path == paths[2] and not memory.exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return load(path)

    monkeypatch.setattr(images, "load", wait)
    monkeypatch.setattr(images, "_SAVE_EVERY", 0)
    monkeypatch.setattr(images, "_SILENT", 0)
    monkeypatch.setattr(progress, "_EVERY", 0)
    images.check(paths)
    assert "checking: 1 of 3 images" in capsys.readouterr().err


def test_checks_of_several_folders_are_remembered_together(tmp_path, rgb, decoded):
    paths = [write(tmp_path / f"{i}.png", rgb) for i in range(2)]
    for path in paths:
        images.check([path])
    decoded.clear()
    images.check(paths)
    assert decoded == []


@pytest.mark.parametrize(
    "content",
    ["", "{", "[]", '{"files": 3}', '{"checked_by": 1, "files": {}}', b"\xff"],
)
def test_a_damaged_record_is_replaced(tmp_path, rgb, decoded, memory, content):
    path = write(tmp_path / "a.png", rgb)
    images.check([path])
    memory.write_bytes(content if isinstance(content, bytes) else content.encode())
    decoded.clear()
    for _ in range(2):
        images.check([path])
    assert decoded == [path]


@pytest.mark.parametrize("entry", [None, 3, [1, 2], [1, 2, 3, "4"]])
def test_a_damaged_entry_is_checked_again(tmp_path, rgb, decoded, memory, entry):
    path = write(tmp_path / "a.png", rgb)
    images.check([path])
    content = json.loads(memory.read_text())
    content["files"] = dict.fromkeys(content["files"], entry)
    memory.write_text(json.dumps(content))
    assert images.check([path])[0].width == 17
    assert decoded == [path, path]


def test_an_unwritable_record_does_not_end_a_run(tmp_path, rgb, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert images.check([write(tmp_path / "a.png", rgb)])[0].width == 17


def test_all_bad_files_are_named_up_to_ten(tmp_path, rgb):
    good = write(tmp_path / "good.png", rgb)
    bad = [str(tmp_path / f"bad{i:02}.png") for i in range(12)]
    for path in bad:
        open(path, "w").close()
    with pytest.raises(ValueError, match="cannot be used") as raised:
        images.check([good, *bad])
    message = str(raised.value)
    assert message.startswith("12 of 13 image files cannot be used: ")
    assert all(f"{path} is empty" in message for path in bad[:10])
    assert not any(path in message for path in bad[10:])
    assert "and 2 more. Repair or remove them, " in message and "\n" not in message


def test_a_bad_file_is_not_remembered_as_bad(tmp_path, rgb, decoded):
    good, bad = write(tmp_path / "good.png", rgb), str(tmp_path / "bad.png")
    open(bad, "w").close()
    for _ in range(2):
        with pytest.raises(ValueError, match="is empty"):
            images.check([good, bad])
    assert sorted(decoded) == [bad, bad, good]  # the good one is remembered
