"""The layers again, in plain NumPy and float64, written from their definitions."""

import numpy as np
from scipy import special


def conv(x, kernel, bias=0.0):
    """Zero-padded cross-correlation; x [N, H, W, I], kernel [kh, kw, I, O]."""
    kh, kw = kernel.shape[:2]
    n, h, w, _ = x.shape
    padded = np.pad(x, ((0, 0), (kh // 2, kh // 2), (kw // 2, kw // 2), (0, 0)))
    out = np.zeros((n, h, w, kernel.shape[3]))
    for i in range(h):
        for j in range(w):
            patch = padded[:, i : i + kh, j : j + kw]
            out[:, i, j] = np.einsum("nyxi,yxio->no", patch, kernel)
    return out + bias


def depthwise(x, kernel, bias=0.0):
    """Each channel with its own kernel [kh, kw, C]."""
    channels = [
        conv(x[..., c : c + 1], kernel[:, :, c, None, None]) for c in range(x.shape[-1])
    ]
    return np.concatenate(channels, axis=-1) + bias


def layer_norm(x, scale, bias, epsilon=1e-6):
    mean = x.mean(-1, keepdims=True)
    variance = ((x - mean) ** 2).mean(-1, keepdims=True)
    return (x - mean) / np.sqrt(variance + epsilon) * scale + bias


def gelu(x):
    """The tanh form (Hendrycks and Gimpel 2016, section 2)."""
    return 0.5 * x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3)))


def spatial_attention(x, p):
    summary = np.stack([x.mean(-1), x.max(-1)], axis=-1)
    return x * special.expit(conv(summary, p["conv.kernel"], p["conv.bias"]))


def local_branch(x, p):
    x = depthwise(x, p["depthwise.kernel"], p["depthwise.bias"])
    x = layer_norm(x, p["norm.scale"], p["norm.bias"])
    x = gelu(x @ p["expand.kernel"] + p["expand.bias"])
    return x @ p["project.kernel"] + p["project.bias"]


def feed_forward(x, p):
    x = x @ p["expand.kernel"] + p["expand.bias"]
    half = x.shape[-1] // 2
    return gelu(x[..., :half]) * x[..., half:] @ p["project.kernel"] + p["project.bias"]


def channel_attention(x, p):
    n, h, w, c = x.shape
    heads = p["temperature"].shape[0]
    qkv = x @ p["query_key_value.kernel"] + p.get("query_key_value.bias", 0)
    qkv = depthwise(qkv, p["depthwise.kernel"], p.get("depthwise.bias", 0))
    query, key, value = np.split(qkv.reshape(n, h * w, 3 * c), 3, axis=-1)
    out = np.zeros_like(value)
    for head in range(heads):
        mine = slice(head * c // heads, (head + 1) * c // heads)
        for i in range(n):
            q, k, v = (a[i][:, mine] for a in (query, key, value))
            q = q / np.sqrt((q**2).sum(0) + 1e-6)
            k = k / np.sqrt((k**2).sum(0) + 1e-6)
            weights = special.softmax(q.T @ k * p["temperature"][head, 0, 0], axis=-1)
            out[i][:, mine] = v @ weights.T
    return out.reshape(n, h, w, c) @ p["project.kernel"] + p.get("project.bias", 0)


def local_channel_attention(x, p, *, cell, radius):
    """Sums over a box of cells, one map per cell, bilinear between cell centres."""
    n, h, w, c = x.shape
    heads = p["temperature"].shape[0]
    qkv = x @ p["query_key_value.kernel"] + p["query_key_value.bias"]
    query, key, value = np.split(
        depthwise(qkv, p["depthwise.kernel"], p["depthwise.bias"]), 3, axis=-1
    )
    counts = -(-h // cell), -(-w // cell)

    def box(index, count):
        """The pixels that the sums of a cell run over, along one axis."""
        size = min(2 * radius + 1, count)
        first = min(max(index - radius, 0), count - size)
        return slice(first * cell, (first + size) * cell)

    out = np.zeros_like(value)
    for image in range(n):
        for head in range(heads):
            mine = slice(head * c // heads, (head + 1) * c // heads)
            maps = {}
            for y in range(counts[0]):
                for x_cell in range(counts[1]):
                    part = image, box(y, counts[0]), box(x_cell, counts[1]), mine
                    q, k = (a[part].reshape(-1, c // heads) for a in (query, key))
                    q = q / np.sqrt((q**2).sum(0) + 1e-6)
                    k = k / np.sqrt((k**2).sum(0) + 1e-6)
                    logits = q.T @ k * p["temperature"][head, 0, 0]
                    maps[y, x_cell] = special.softmax(logits, axis=-1)
            for i in range(h):
                for j in range(w):
                    mixed = 0
                    for y, wy in _nearest_centres(i, cell, counts[0]):
                        for x_cell, wx in _nearest_centres(j, cell, counts[1]):
                            mixed = mixed + wy * wx * maps[y, x_cell]
                    out[image, i, j, mine] = mixed @ value[image, i, j, mine]
    return out @ p["project.kernel"] + p["project.bias"]


def _nearest_centres(pixel, cell, count):
    """The cells with the two nearest centres, and their linear weights."""
    place = (pixel + 0.5) / cell - 0.5
    if place <= 0:
        return [(0, 1.0)]
    if place >= count - 1:
        return [(count - 1, 1.0)]
    first = int(place)
    return [(first, 1 - (place - first)), (first + 1, place - first)]


def window_attention(x, p, *, window, shift, heads):
    n, h, w, c = x.shape
    qkv = x @ p["query_key_value.kernel"] + p["query_key_value.bias"]
    out = np.zeros_like(x)
    windows = {}
    for i in range(h):
        for j in range(w):
            place = (i + shift) // window, (j + shift) // window
            windows.setdefault(place, []).append((i, j))
    for pixels in windows.values():
        for image in range(n):
            for head in range(heads):
                mine = slice(head * c // heads, (head + 1) * c // heads)
                tokens = np.stack([qkv[image, i, j] for i, j in pixels])
                q, k, v = (a[:, mine] for a in np.split(tokens, 3, axis=-1))
                bias = np.array(
                    [
                        [
                            p["position_bias"][
                                i - i2 + window - 1, j - j2 + window - 1, head
                            ]
                            for i2, j2 in pixels
                        ]
                        for i, j in pixels
                    ]
                )
                weights = special.softmax(q @ k.T / np.sqrt(c / heads) + bias, axis=-1)
                for (i, j), value in zip(pixels, weights @ v):
                    out[image, i, j, mine] = value
    return out @ p["project.kernel"] + p["project.bias"]


def average_pool(x, wh, ww):
    n, h, w, c = x.shape
    out = np.zeros((n, -(-h // wh), -(-w // ww), c))
    for i in range(out.shape[1]):
        for j in range(out.shape[2]):
            block = x[:, i * wh : (i + 1) * wh, j * ww : (j + 1) * ww]
            out[:, i, j] = block.mean(axis=(1, 2))
    return out


def dense_attention(x, p, *, pool, heads):
    h, w, c = x.shape[1:]
    wh, ww = min(pool, h), min(pool, w)
    coarse = average_pool(x, wh, ww)
    n, gh, gw, _ = coarse.shape
    qkv = coarse @ p["query_key_value.kernel"] + p["query_key_value.bias"]
    query, key, value = np.split(qkv.reshape(n, gh * gw, 3 * c), 3, axis=-1)
    out = np.zeros_like(value)
    for head in range(heads):
        mine = slice(head * c // heads, (head + 1) * c // heads)
        logits = query[..., mine] @ key[..., mine].transpose(0, 2, 1)
        weights = special.softmax(logits / np.sqrt(c / heads), axis=-1)
        out[..., mine] = weights @ value[..., mine]
    out = out.reshape(n, gh, gw, c) @ p["project.kernel"] + p["project.bias"]
    return out.repeat(wh, axis=1).repeat(ww, axis=2)[:, :h, :w]


def spp(x, p, pools):
    h, w = x.shape[1:3]
    scales = [x]
    for i, pool in enumerate(pools):
        wh, ww = min(pool, h), min(pool, w)
        y = conv(
            average_pool(x, wh, ww), p[f"branches.{i}.kernel"], p[f"branches.{i}.bias"]
        )
        y = np.maximum(y, 0).repeat(wh, axis=1).repeat(ww, axis=2)
        scales.append(y[:, :h, :w])
    return conv(np.concatenate(scales, axis=-1), p["merge.kernel"], p["merge.bias"])


def within(params, prefix):
    """The params whose dotted name begins with `prefix.`, without it."""
    return {
        name.removeprefix(prefix + "."): value
        for name, value in params.items()
        if name.startswith(prefix + ".")
    }


def block(x, p):
    """An AGLF-ViT block with channel attention (Fig. 4)."""
    y = layer_norm(x, p["norm.scale"], p["norm.bias"])
    x = (
        x
        + p["alpha"] * channel_attention(y, within(p, "global_branch"))
        + p["beta"] * local_branch(y, within(p, "local_branch"))
    )
    y = layer_norm(x, p["feed_forward_norm.scale"], p["feed_forward_norm.bias"])
    return x + feed_forward(y, within(p, "feed_forward"))


def pixel_unshuffle(x, factor):
    n, h, w, c = x.shape
    out = np.zeros((n, h // factor, w // factor, factor * factor * c))
    for dy in range(factor):
        for dx in range(factor):
            place = (dy * factor + dx) * c
            out[..., place : place + c] = x[:, dy::factor, dx::factor]
    return out


def pixel_shuffle(x, factor):
    n, h, w, c = x.shape
    c //= factor**2
    out = np.zeros((n, h * factor, w * factor, c))
    for dy in range(factor):
        for dx in range(factor):
            place = (dy * factor + dx) * c
            out[:, dy::factor, dx::factor] = x[..., place : place + c]
    return out


def encoder(image, p, *, num_blocks, stem_stride, final_norm):
    h, w = image.shape[1:3]
    padding = ((0, 0), (0, -h % stem_stride), (0, -w % stem_stride), (0, 0))
    x = pixel_unshuffle(np.pad(image, padding, mode="edge"), stem_stride)
    x = conv(x, p["stem.kernel"], p["stem.bias"])
    x = spatial_attention(x, within(p, "spatial_attention"))
    for i in range(num_blocks):
        x = block(x, within(p, f"blocks.{i}"))
    if not final_norm:
        return x
    return layer_norm(x, p["final_norm.scale"], p["final_norm.bias"])


def image_decoder(features, image, p, *, pools, stem_stride, skip, residual):
    h, w = image.shape[1:3]
    x = pixel_shuffle(spp(features, within(p, "spp"), pools), stem_stride)[:, :h, :w]
    if skip:
        x = np.concatenate([x, conv(image, p["skip.kernel"], p["skip.bias"])], axis=-1)
    if skip or stem_stride > 1:
        x = x + local_branch(x, within(p, "local_block"))
    x = conv(x, p["to_image.kernel"], p["to_image.bias"])
    return image + x if residual else x


def classifier(features, p, *, pools):
    pooled = spp(features, within(p, "spp"), pools).mean(axis=(1, 2))
    return (pooled @ p["to_score.kernel"] + p["to_score.bias"])[:, 0]


def channel_first(x):
    """Channels of 2x2 pixels from (pixel, channel) to PyTorch's (channel, pixel)."""
    *shape, c = x.shape
    return x.reshape(*shape, 4, c // 4).swapaxes(-1, -2).reshape(*shape, c)


def channel_last(x):
    *shape, c = x.shape
    return x.reshape(*shape, c // 4, 4).swapaxes(-1, -2).reshape(*shape, c)


def restormer(image, p, *, num_blocks, num_refinement_blocks):
    """Zamir et al. 2022, Fig. 2, without the last convolution."""

    def blocks(x, name, count):
        for i in range(count):
            x = restormer_block(x, within(p, f"{name}.{i}"))
        return x

    scales = len(num_blocks)
    h, w = image.shape[1:3]
    multiple = 2 ** (scales - 1)
    padding = ((0, 0), (0, -h % multiple), (0, -w % multiple), (0, 0))
    x = conv(np.pad(image, padding, mode="reflect"), p["stem.kernel"])
    skips = []
    for i, count in enumerate(num_blocks):
        x = blocks(x, f"down_blocks.{i}", count)
        if i < scales - 1:
            skips.append(x)
            x = channel_first(pixel_unshuffle(conv(x, p[f"downs.{i}.kernel"]), 2))
    for i, count in enumerate(reversed(num_blocks[:-1])):
        x = pixel_shuffle(channel_last(conv(x, p[f"ups.{i}.kernel"])), 2)
        x = np.concatenate([x, skips.pop()], axis=-1)
        if skips:
            x = x @ p[f"merges.{i}.kernel"]
        x = blocks(x, f"up_blocks.{i}", count)
    return blocks(x, "refinement", num_refinement_blocks)


def restormer_block(x, p):
    y = layer_norm(x, p["norm.scale"], p["norm.bias"], 1e-5)
    x = x + channel_attention(y, within(p, "attention"))
    y = layer_norm(x, p["feed_forward_norm.scale"], p["feed_forward_norm.bias"], 1e-5)
    p = within(p, "feed_forward")
    y = depthwise(y @ p["expand.kernel"], p["depthwise.kernel"])
    gate, value = np.split(y, 2, axis=-1)
    gelu = gate * 0.5 * (1 + special.erf(gate / np.sqrt(2)))
    return x + (gelu * value) @ p["project.kernel"]


def nafnet(image, p, *, down_blocks, middle_blocks, up_blocks):
    """Chen et al. 2022, Figs. 2 and 3, without the last convolution."""

    def blocks(x, name, count):
        for i in range(count):
            x = naf_block(x, within(p, f"{name}.{i}"))
        return x

    h, w = image.shape[1:3]
    multiple = 2 ** len(down_blocks)
    padding = ((0, 0), (0, -h % multiple), (0, -w % multiple), (0, 0))
    x = conv(np.pad(image, padding), p["stem.kernel"], p["stem.bias"])
    skips = []
    for i, count in enumerate(down_blocks):
        x = blocks(x, f"down_blocks.{i}", count)
        skips.append(x)
        tiles = pixel_unshuffle(x, 2)  # a 2x2 convolution of stride 2 reads whole tiles
        kernel = p[f"downs.{i}.kernel"]
        x = tiles @ kernel.reshape(-1, kernel.shape[-1]) + p[f"downs.{i}.bias"]
    x = blocks(x, "middle", middle_blocks)
    for i, count in enumerate(up_blocks):
        x = pixel_shuffle(channel_last(x @ p[f"ups.{i}.kernel"]), 2) + skips.pop()
        x = blocks(x, f"up_blocks.{i}", count)
    return x


def naf_block(x, p):
    def linear(y, name):
        return y @ p[f"{name}.kernel"] + p[f"{name}.bias"]

    def gate(y):
        one, other = np.split(y, 2, axis=-1)
        return one * other

    y = linear(layer_norm(x, p["norm.scale"], p["norm.bias"]), "expand")
    y = gate(depthwise(y, p["depthwise.kernel"], p["depthwise.bias"]))
    y = y * linear(y.mean(axis=(1, 2), keepdims=True), "channel_attention")
    x = x + linear(y, "project") * p["beta"]
    y = layer_norm(x, p["feed_forward_norm.scale"], p["feed_forward_norm.bias"])
    y = linear(gate(linear(y, "feed_forward_expand")), "feed_forward_project")
    return x + y * p["gamma"]
