"""PyTorch checkpoints of Restormer and NAFNet are read without PyTorch."""

import pickle
import re
import zipfile

import numpy as np
import pytest
from scipy import special

from tests import pictures
from tests.models import reference
from tests.weights import torch_archive
from ttl_jax import pack
from ttl_jax.inference.restorer import Restorer
from ttl_jax.weights import published, torch_files

WIDTH = 4


def random_arrays(shapes):
    rng = np.random.default_rng(0)
    return {
        name: (0.3 * rng.normal(size=shape) + name.endswith("norm")).astype(np.float32)
        for name, shape in shapes.items()
    }


def restormer_shapes():
    """Arrays of a Restormer of width 4 with one block of each kind, as its authors'."""
    shapes = {
        "patch_embed.proj.weight": (WIDTH, 3, 3, 3),
        "output.weight": (3, 8, 3, 3),
    }

    def add_block(name, c, heads):
        hidden = int(2.66 * c)
        shapes.update(
            {
                f"{name}.norm1.body.weight": (c,),
                f"{name}.norm1.body.bias": (c,),
                f"{name}.attn.temperature": (heads, 1, 1),
                f"{name}.attn.qkv.weight": (3 * c, c, 1, 1),
                f"{name}.attn.qkv_dwconv.weight": (3 * c, 1, 3, 3),
                f"{name}.attn.project_out.weight": (c, c, 1, 1),
                f"{name}.norm2.body.weight": (c,),
                f"{name}.norm2.body.bias": (c,),
                f"{name}.ffn.project_in.weight": (2 * hidden, c, 1, 1),
                f"{name}.ffn.dwconv.weight": (2 * hidden, 1, 3, 3),
                f"{name}.ffn.project_out.weight": (c, hidden, 1, 1),
            }
        )

    for level, heads in ((1, 1), (2, 2), (3, 4)):
        c = WIDTH * 2 ** (level - 1)
        add_block(f"encoder_level{level}.0", c, heads)
        add_block(f"decoder_level{level}.0", 2 * c if level == 1 else c, heads)
        shapes[f"down{level}_{level + 1}.body.0.weight"] = (c // 2, c, 3, 3)
        shapes[f"up{level + 1}_{level}.body.0.weight"] = (4 * c, 2 * c, 3, 3)
        if level > 1:
            shapes[f"reduce_chan_level{level}.weight"] = (c, 2 * c, 1, 1)
    add_block("latent.0", 8 * WIDTH, 4)
    add_block("refinement.0", 2 * WIDTH, 1)
    return shapes


def nafnet_shapes():
    """Arrays of a NAFNet of width 4 and two scales, as its authors'."""
    shapes = {"intro.weight": (WIDTH, 3, 3, 3), "intro.bias": (WIDTH,)}
    shapes |= {"ending.weight": (3, WIDTH, 3, 3), "ending.bias": (3,)}

    def add_block(name, c):
        for layer, (out, inside, side) in {
            "conv1": (2 * c, c, 1),
            "conv2": (2 * c, 1, 3),
            "conv3": (c, c, 1),
            "sca.1": (c, c, 1),
            "conv4": (2 * c, c, 1),
            "conv5": (c, c, 1),
        }.items():
            shapes[f"{name}.{layer}.weight"] = (out, inside, side, side)
            shapes[f"{name}.{layer}.bias"] = (out,)
        for norm in ("norm1", "norm2"):
            shapes[f"{name}.{norm}.weight"] = shapes[f"{name}.{norm}.bias"] = (c,)
        shapes[f"{name}.beta"] = shapes[f"{name}.gamma"] = (1, c, 1, 1)

    for i in range(2):
        c = WIDTH * 2**i
        add_block(f"encoders.{i}.0", c)
        shapes[f"downs.{i}.weight"] = (2 * c, c, 2, 2)
        shapes[f"downs.{i}.bias"] = (2 * c,)
        add_block(f"decoders.{1 - i}.0", c)
        shapes[f"ups.{1 - i}.0.weight"] = (4 * c, 2 * c, 1, 1)
    add_block("middle_blks.0", 4 * WIDTH)
    return shapes


def conv(x, p, name):
    """A layer of PyTorch: kernels [out, in, h, w]."""
    kernel = p[f"{name}.weight"].transpose(2, 3, 1, 0)
    bias = p.get(f"{name}.bias", 0.0)
    if kernel.shape[2] == 1 and kernel.shape[3] == x.shape[-1]:
        return reference.depthwise(x, kernel[:, :, 0], bias)
    return reference.conv(x, kernel, bias)


def norm(x, p, name, epsilon):
    return reference.layer_norm(x, p[f"{name}.weight"], p[f"{name}.bias"], epsilon)


def shuffle(x):
    """nn.PixelShuffle(2): channel c of pixel (i, j) is channel 4 c + 2 i + j."""
    n, h, w, c = x.shape
    out = np.zeros((n, 2 * h, 2 * w, c // 4))
    for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
        out[:, i::2, j::2] = x[..., 2 * i + j :: 4]
    return out


def unshuffle(x):
    n, h, w, c = x.shape
    out = np.zeros((n, h // 2, w // 2, 4 * c))
    for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):
        out[..., 2 * i + j :: 4] = x[:, i::2, j::2]
    return out


def forward_restormer(image, p):
    """The network of the authors' names, layer by layer."""

    def block(x, name):
        y = conv(norm(x, p, f"{name}.norm1.body", 1e-5), p, f"{name}.attn.qkv")
        q, k, v = np.split(conv(y, p, f"{name}.attn.qkv_dwconv"), 3, axis=-1)
        temperature = p[f"{name}.attn.temperature"]
        n, h, w, c = x.shape
        d = c // len(temperature)
        out = np.zeros_like(v)
        for i in range(n):
            for head in range(len(temperature)):
                part = slice(head * d, (head + 1) * d)
                q1, k1, v1 = (a[i, ..., part].reshape(h * w, d) for a in (q, k, v))
                q1, k1 = (a / np.linalg.norm(a, axis=0) for a in (q1, k1))
                maps = special.softmax(q1.T @ k1 * temperature[head], axis=-1)
                out[i, ..., part] = (v1 @ maps.T).reshape(h, w, d)
        x = x + conv(out, p, f"{name}.attn.project_out")
        y = conv(norm(x, p, f"{name}.norm2.body", 1e-5), p, f"{name}.ffn.project_in")
        one, other = np.split(conv(y, p, f"{name}.ffn.dwconv"), 2, axis=-1)
        gated = one * special.ndtr(one) * other
        return x + conv(gated, p, f"{name}.ffn.project_out")

    skips, x = [], conv(image, p, "patch_embed.proj")
    for level in (1, 2, 3):
        x = block(x, f"encoder_level{level}.0")
        skips.append(x)
        x = unshuffle(conv(x, p, f"down{level}_{level + 1}.body.0"))
    x = block(x, "latent.0")
    for level in (3, 2, 1):
        x = shuffle(conv(x, p, f"up{level + 1}_{level}.body.0"))
        x = np.concatenate([x, skips.pop()], axis=-1)
        x = conv(x, p, f"reduce_chan_level{level}") if level > 1 else x
        x = block(x, f"decoder_level{level}.0")
    return image + conv(block(x, "refinement.0"), p, "output")


def forward_nafnet(image, p):
    def block(x, name):
        y = conv(norm(x, p, f"{name}.norm1", 1e-6), p, f"{name}.conv1")
        one, other = np.split(conv(y, p, f"{name}.conv2"), 2, axis=-1)
        y = one * other
        y = y * conv(y.mean(axis=(1, 2), keepdims=True), p, f"{name}.sca.1")
        x = x + conv(y, p, f"{name}.conv3") * p[f"{name}.beta"].reshape(-1)
        y = conv(norm(x, p, f"{name}.norm2", 1e-6), p, f"{name}.conv4")
        one, other = np.split(y, 2, axis=-1)
        return x + conv(one * other, p, f"{name}.conv5") * p[f"{name}.gamma"].reshape(
            -1
        )

    skips, x = [], conv(image, p, "intro")
    for i in range(2):
        x = block(x, f"encoders.{i}.0")
        skips.append(x)
        kernel = p[f"downs.{i}.weight"]
        halves = [
            x[:, a::2, b::2] @ kernel[..., a, b].T for a in (0, 1) for b in (0, 1)
        ]
        x = sum(halves) + p[f"downs.{i}.bias"]
    x = block(x, "middle_blks.0")
    for i in range(2):
        x = shuffle(conv(x, p, f"ups.{i}.0")) + skips.pop()
        x = block(x, f"decoders.{i}.0")
    return image + conv(x, p, "ending")


PEERS = {
    "restormer": (restormer_shapes, forward_restormer),
    "nafnet": (nafnet_shapes, forward_nafnet),
}


@pytest.mark.parametrize(
    ("name", "wrap"),
    [("restormer", dict), ("nafnet", lambda arrays: {"params": arrays, "iter": 7})],
)
def test_a_packed_checkpoint_restores_as_its_authors_network(name, wrap, tmp_path):
    shapes, forward = PEERS[name]
    arrays = random_arrays(shapes())
    torch_archive.save(tmp_path / "net.pth", wrap(arrays))
    output = tmp_path / "net.safetensors"
    assert pack.main([str(tmp_path / "net.pth"), "--output", str(output)]) == 0
    image = pictures.noise(16, 24, 3)
    unit = image.astype(np.float32) / 255
    expected = np.clip(forward(unit[None].astype(float), arrays)[0], 0, 1)
    restored = Restorer.from_checkpoint(output).restore(unit)
    np.testing.assert_allclose(restored, expected, atol=1e-3)
    assert np.abs(expected - unit).max() > 0.1


def test_a_pytorch_file_as_a_checkpoint_is_refused_with_the_command_that_packs_it(
    tmp_path,
):
    path = tmp_path / "net.pth"
    torch_archive.save(path, random_arrays(nafnet_shapes()))
    with pytest.raises(ValueError, match="net.pth is a file of PyTorch; pack it: "):
        Restorer.from_checkpoint(path)


def test_views_and_other_types_of_numbers_are_read(tmp_path):
    array = np.arange(6, dtype=np.float64).reshape(2, 3)
    halves = np.array([0.5, -2], np.float16)
    content = {"a": array, "b": halves, "n": 3}
    torch_archive.save(tmp_path / "x.pth", content)
    found = torch_files.read(tmp_path / "x.pth")
    assert set(found) == {"a", "b"}
    for name, expected in (("a", array), ("b", halves)):
        np.testing.assert_array_equal(found[name], expected)
        assert found[name].dtype == np.float32


class Evil:
    """An object whose pickle would run a command."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        import os

        return os.system, (f"touch {self.path}",)


def test_a_pickle_that_calls_a_function_is_refused_and_not_run(tmp_path):
    mark = tmp_path / "was_run"
    program = pickle.dumps({"a": Evil(mark)}, protocol=2)
    torch_archive.write(tmp_path / "x.pth", program, [])
    with pytest.raises(ValueError, match="calls 'posix system', which is not allowed"):
        torch_files.read(tmp_path / "x.pth")
    assert not mark.exists()


@pytest.mark.parametrize(
    ("program", "message"),
    [
        (
            pickle.dumps({"a": {1, 2}}, protocol=4),
            "has the unsupported operation MEMOIZE",
        ),
        (b"\x80\x02ccollections\nOrderedDict\n)\x81.", "operation NEWOBJ"),
        (b"\x80\x02}q\x00", "cannot be read"),
        (b"\x80\x02K\x05.", "it holds a int, not a dictionary"),
        (pickle.dumps({"a": 1}, protocol=2), "it holds no tensors by name"),
        (b"\x80\x02K\x01K\x01K\x01s.", "its pickle adds items to a int"),
        (b"\x80\x02})" + 10**6 * b"\x85" + b"K\x01s.", "keys of a dictionary must be"),
        (b"\x80\x02)" + 10**6 * b"\x85" + b"Q.", "unknown kind of storage"),
        (b"\x80\x02" + 10**6 * b")" + b"R.", "calls 'tuple'"),
    ],
)
def test_programs_beyond_a_state_dictionary_are_refused(program, message, tmp_path):
    torch_archive.write(tmp_path / "x.pth", program, [])
    with pytest.raises(ValueError, match=message):
        torch_files.read(tmp_path / "x.pth")


def test_damaged_archives_are_refused(tmp_path):
    path = tmp_path / "x.pth"
    path.write_bytes(b"\x80\x02 an old file")
    with pytest.raises(
        ValueError, match="not a zip archive, as torch.save writes since"
    ):
        torch_files.read(path)
    torch_archive.save(path, {"a": np.ones(9, np.float32)})
    with zipfile.ZipFile(path) as archive:
        program = archive.read("archive/data.pkl")
    torch_archive.write(path, program, [np.ones(3, np.float32)])
    with pytest.raises(ValueError, match="storage '0' has 12 bytes, expected 36"):
        torch_files.read(path)
    torch_archive.write(path, program, [])
    with pytest.raises(ValueError, match="cannot be read"):
        torch_files.read(path)


def patch(path, *, central, local, value):
    """Sets a 16-bit field of every file in an archive, at its place in both headers."""
    data = bytearray(path.read_bytes())
    for signature, place in ((b"PK\1\2", central), (b"PK\3\4", local)):
        for match in re.finditer(signature, bytes(data)):
            at = match.start() + place
            data[at : at + 2] = value.to_bytes(2, "little")
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("field", "message"),
    [
        ({"central": 8, "local": 6, "value": 1}, "RuntimeError: .* is encrypted"),
        ({"central": 10, "local": 8, "value": 97}, "NotImplementedError: That compres"),
        ({"central": 10, "local": 8, "value": 8}, "error: Error -3 while decompress"),
    ],
)
def test_archives_of_another_kind_are_refused(field, message, tmp_path):
    path = tmp_path / "x.pth"
    torch_archive.save(path, {"a": np.ones(9, np.float32)})
    patch(path, **field)
    with pytest.raises(ValueError, match=f"x.pth cannot be read: {message}"):
        torch_files.read(path)


def test_an_archive_that_inflates_to_far_more_than_its_size_is_not_read(tmp_path):
    path = tmp_path / "x.pth"
    torch_archive.save(path, {"a": np.ones(9, np.float32)})
    with zipfile.ZipFile(path) as archive:
        program = archive.read("archive/data.pkl")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", program)
        archive.writestr("archive/data/0", bytes(10**7))
    with pytest.raises(ValueError, match="it claims 10,000,.* bytes, more than"):
        torch_files.read(path)


def test_checkpoints_of_other_networks_are_named(tmp_path):
    path = tmp_path / "x.pth"
    torch_archive.save(path, {"conv.weight": np.ones((3, 3), np.float32)})
    with pytest.raises(ValueError, match="neither Restormer nor NAFNet: it lacks"):
        published.read(path)
    arrays = random_arrays(restormer_shapes())
    arrays["skip_conv.weight"] = np.ones((8, 4, 1, 1), np.float32)
    torch_archive.save(path, arrays)
    with pytest.raises(
        ValueError, match="than Restormer: unknown array 'skip_conv.weight'"
    ):
        published.read(path)


@pytest.mark.parametrize(
    ("name", "gone", "message"),
    [
        # Restormer "BiasFree", whose norms have no bias.
        (
            "restormer",
            r".*norm\d\.body\.bias",
            r"than Restormer: of the encoder, down_.*norm.bias is missing.*; and 11 more",
        ),
        ("restormer", "output.weight", "of the decoder, to_image.kernel is missing"),
        (
            "restormer",
            r"encoder_level1\.0\.ffn\.project_out\.weight",
            "it lacks 'down_blocks.0.0.feed_forward.project.kernel'",
        ),
        (
            "nafnet",
            r".*sca.*",
            "than NAFNet: of the encoder, down_blocks.0.0.channel_attention.bias is mis",
        ),
    ],
)
def test_incomplete_checkpoints_are_refused_and_not_packed(
    name, gone, message, tmp_path
):
    path, output = tmp_path / "x.pth", tmp_path / "x.safetensors"
    arrays = random_arrays(PEERS[name][0]())
    kept = {n: a for n, a in arrays.items() if not re.fullmatch(gone, n)}
    assert len(kept) < len(arrays)
    torch_archive.save(path, kept)
    with pytest.raises(ValueError, match=message):
        published.read(path)
    with pytest.raises(SystemExit):
        pack.main([str(path), "--output", str(output)])
    assert not output.exists()


FORM = "is of another form than"


@pytest.mark.parametrize(
    ("name", "added", "message"),
    [
        # They would replace latent.0, down1_2, encoders.0.0 and encoders.0.0.
        ("restormer", "encoder_level4.0.norm1.body.weight", "unknown array 'encoder_l"),
        ("restormer", "down1_7.body.0.weight", "unknown array 'down1_7.body.0.weight'"),
        ("nafnet", "encoders.0.00.beta", "unknown array 'encoders.0.00.beta'"),
        ("nafnet", "encoders.0.\u0660.beta", "unknown array 'encoders.0.\u0660.beta'"),
        # Numbers alone within a block, and too large to be that of a block.
        ("nafnet", "encoders.0.0.7.weight", "unknown array 'encoders.0.0.7.weight'"),
        ("nafnet", "encoders.0.12345.beta", "unknown array 'encoders.0.12345.beta'"),
        (
            "nafnet",
            "module.intro.weight",
            "x.pth holds both 'intro.weight' and 'module.intro.weight', expected one",
        ),
    ],
)
def test_names_that_would_replace_others_are_refused(name, added, message, tmp_path):
    arrays = random_arrays(PEERS[name][0]())
    arrays[added] = np.ones((1, 4, 1, 1), np.float32)
    torch_archive.save(tmp_path / "x.pth", arrays)
    with pytest.raises(ValueError, match=message):
        published.read(tmp_path / "x.pth")


def test_patterns_that_give_two_arrays_one_name_are_refused():
    arrays = {f"{name}.bias": np.ones(3, np.float32) for name in ("one", "two")}
    patterns = {"one|two": lambda: "encoder/stem"}
    with pytest.raises(ValueError, match="'two.bias' and another array both stand for"):
        published._rename(arrays, patterns, {})


@pytest.mark.parametrize(
    ("name", "array", "shape", "message"),
    [
        (
            "restormer",
            "encoder_level1.0.attn.temperature",
            (),
            r"\(\), expected \(any, 1, 1\)",
        ),
        ("restormer", "patch_embed.proj.weight", (4,), r"\(any, any, any, any\)"),
        ("restormer", "latent.0.norm1.body.weight", (32, 1), r"\(32, 1\), .* \(any\)"),
        ("nafnet", "intro.bias", (4, 1), r"\(4, 1\), expected \(any\)"),
        (
            "nafnet",
            "encoders.0.0.beta",
            (2, 2),
            r"\(2, 2\), expected \(1, any, 1",
        ),
        ("nafnet", "encoders.0.0.gamma", (4, 1, 1, 1), r"\(4, 1, 1, 1\), expected \(1"),
        (
            "nafnet",
            "encoders.0.0.conv2.weight",
            (8, 2, 3, 3),
            r"expected \(any, 1, any",
        ),
    ],
)
def test_arrays_of_other_shapes_are_refused(name, array, shape, message, tmp_path):
    arrays = random_arrays(PEERS[name][0]() | {array: shape})
    arrays[array] = np.asarray(arrays[array])
    torch_archive.save(tmp_path / "x.pth", arrays)
    with pytest.raises(
        ValueError, match=f"{FORM} .*: '{array}' has the shape .*{message}"
    ):
        published.read(tmp_path / "x.pth")


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_numbers_that_are_not_finite_are_refused(value, tmp_path):
    arrays = random_arrays(nafnet_shapes())
    beta = arrays["encoders.0.0.beta"].astype(np.float64)
    beta[0, 1] = value
    torch_archive.save(tmp_path / "x.pth", arrays | {"encoders.0.0.beta": beta})
    with pytest.raises(
        ValueError, match="numbers in 'encoders.0.0.beta' that are not finite in float3"
    ):
        published.read(tmp_path / "x.pth")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([f"middle_blks.{i}.beta" for i in range(129)], "middle has 129 parts, .* 128"),
        ([f"decoders.1.{i}.beta" for i in range(129)], r"up_blocks.1 has 129 parts"),
        ([f"encoders.{i}.0.beta" for i in range(9)], "down_blocks has 9 parts, .* 8"),
    ],
)
def test_more_blocks_than_any_network_has_are_refused_before_it_is_traced(
    names, message, tmp_path, monkeypatch
):
    monkeypatch.setattr(published, "_check_complete", None)
    shapes = nafnet_shapes() | dict.fromkeys(names, (1, 1, 1, 1))
    torch_archive.save(tmp_path / "x.pth", random_arrays(shapes))
    with pytest.raises(ValueError, match=f"{FORM} NAFNet: {message}"):
        published.read(tmp_path / "x.pth")
