"""The restoring network as an ONNX graph, written operation by operation.

Note: jax2onnx is not used. Its release 0.17.1 needs an older Orbax than training does, it
fixes the height and width of the images, and its graph takes twice the time. Here all three
axes of the images are free, so that one file restores every window of `windows.plan`.

Features are kept as tokens, [pixels, C], for norms and products, and as planes,
[N, C, h, w], for convolutions.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from flax import nnx
from onnx import helper, numpy_helper

from ttl_jax import models
from ttl_jax.models import attention, layers

INPUT, OUTPUT = "image", "restored"  # names of the two tensors

_OPSET = 20  # the first one with Gelu
_IR_VERSION = 10
_NORM_EPSILON = 1e-6  # of nnx.LayerNorm


def make(
    encoder: models.AGLFEncoder,
    decoder: models.ImageDecoder,
    *,
    dtype: type[np.floating],
    metadata: Mapping[str, str],
) -> onnx.ModelProto:
    """Returns the graph of an encoder and an image decoder.

    Its input and output are float32 [N, H, W, 3], RGB in [0, 1]. The output is not
    clipped. H and W must be multiples of the networks' grid.

    Args:
      encoder: Encoder with local sums.
      dtype: Type of weights and features, float32 or float16; sums of the attention are
        float32.
      metadata: Texts to store in the file.

    Raises:
      ValueError: If the encoder has another attention.
    """
    kinds = {type(block.global_branch) for block in encoder.blocks}
    if others := kinds - {attention.LocalChannelAttention}:
        raise ValueError(
            "ONNX needs channel attention with local sums (attention_cell > 0), not "
            f"{others.pop().__name__}; write .stablehlo instead"
        )
    graph = _Graph(dtype)
    image = graph.add("Transpose", INPUT, perm=(0, 3, 1, 2))
    restored = _decode(graph, decoder, _encode(graph, encoder, image), image)
    graph.add("Transpose", restored, perm=(0, 2, 3, 1), outputs=[OUTPUT])
    return graph.finish(metadata)


class _Graph:
    """Nodes and constants of a graph; tensors are named by strings."""

    def __init__(self, dtype: type[np.floating]):
        self.dtype = np.dtype(dtype)
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[Any, onnx.TensorProto] = {}

    def add(self, kind: str, *inputs: Any, outputs: Any = 1, **attributes: Any) -> Any:
        """Adds a node; returns the name of its output, or the names of several.

        Args:
          *inputs: Names of tensors, or arrays.
          outputs: Number of outputs, or their names.
        """
        names = [x if isinstance(x, str) else self.constant(x) for x in inputs]
        if isinstance(outputs, int):
            outputs = [f"{kind}_{len(self._nodes)}_{i}" for i in range(outputs)]
        self._nodes.append(helper.make_node(kind, names, outputs, **attributes))
        return outputs[0] if len(outputs) == 1 else outputs

    def constant(self, value: Any) -> str:
        """Returns the name of a constant; equal ones are stored once."""
        array = np.asarray(value)
        key = array.dtype.str, array.shape, array.tobytes()
        name = f"constant_{len(self._constants)}"
        tensor = self._constants.setdefault(key, numpy_helper.from_array(array, name))
        return tensor.name

    def weights(self, param: Any) -> np.ndarray:
        """Returns a param of a module in the type of the features."""
        return np.asarray(param[...], self.dtype)

    def cast(self, x: str, dtype: Any) -> str:
        """Converts a tensor between float32 and the graph's type, if they differ."""
        if self.dtype == np.float32:
            return x
        return self.add("Cast", x, to=helper.np_dtype_to_tensor_dtype(np.dtype(dtype)))

    def reshape(self, x: str, *shape: Any) -> str:
        """Reshapes to sizes, each a number (-1 for the rest) or the name of a tensor [1]."""
        if all(isinstance(size, int) for size in shape):
            return self.add("Reshape", x, np.array(shape))
        sizes = [np.array([s]) if isinstance(s, int) else s for s in shape]
        return self.add("Reshape", x, self.add("Concat", *sizes, axis=0))

    def size(self, x: str, axis: int) -> str:
        """Returns the size of an axis, [1]."""
        return self.add("Shape", x, start=axis, end=axis + 1)

    def finish(self, metadata: Mapping[str, str]) -> onnx.ModelProto:
        """Returns the model."""
        shape = ("n", "height", "width", 3)
        ends = [
            helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
            for name in (INPUT, OUTPUT)
        ]
        graph = helper.make_graph(
            self._nodes, "ttl_jax", ends[:1], ends[1:], [*self._constants.values()]
        )
        opsets = [helper.make_opsetid("", _OPSET)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=_IR_VERSION)
        helper.set_model_props(model, dict(metadata))
        onnx.checker.check_model(model, full_check=True)
        return model


@dataclasses.dataclass
class _Frame:
    """Sizes of planes and how tokens become planes.

    Attributes:
      n: Number of images, [1], as are the others.
    """

    graph: _Graph
    n: str
    h: str
    w: str

    @classmethod
    def of(cls, graph: _Graph, planes: str) -> "_Frame":
        """Returns the frame of planes."""
        return cls(graph, *(graph.size(planes, axis) for axis in (0, 2, 3)))

    def to_planes(self, tokens: str, width: int) -> str:
        """Turns [pixels, C] to [N, C, h, w]."""
        x = self.graph.reshape(tokens, self.n, self.h, self.w, width)
        return self.graph.add("Transpose", x, perm=(0, 3, 1, 2))


def _to_tokens(graph: _Graph, planes: str, width: int) -> str:
    x = graph.add("Transpose", planes, perm=(0, 2, 3, 1))
    return graph.reshape(x, -1, width)


# Layers


def _conv(graph: _Graph, layer: layers.Conv, x: str) -> str:
    kernel = graph.weights(layer.kernel).transpose(3, 2, 0, 1)
    pads = [side // 2 for side in kernel.shape[2:]] * 2
    return graph.add("Conv", x, kernel, graph.weights(layer.bias), pads=pads)


def _depthwise(graph: _Graph, layer: layers.DepthwiseConv, x: str) -> str:
    kernel = graph.weights(layer.kernel).transpose(2, 0, 1)[:, None]
    pads = [side // 2 for side in kernel.shape[2:]] * 2
    return graph.add(
        "Conv", x, kernel, graph.weights(layer.bias), pads=pads, group=len(kernel)
    )


def _linear(graph: _Graph, layer: nnx.Linear, tokens: str, part=slice(None)) -> str:
    """A product with a part of the output channels."""
    kernel, bias = graph.weights(layer.kernel), graph.weights(layer.bias)
    return graph.add("Gemm", tokens, kernel[:, part], bias[part])


def _norm(graph: _Graph, layer: nnx.LayerNorm, tokens: str) -> str:
    scale, bias = graph.weights(layer.scale), graph.weights(layer.bias)
    return graph.add(
        "LayerNormalization", tokens, scale, bias, axis=-1, epsilon=_NORM_EPSILON
    )


def _gelu(graph: _Graph, x: str) -> str:
    return graph.add("Gelu", x, approximate="tanh")


def _local_branch(
    graph: _Graph, branch: layers.LocalBranch, planes: str, width: int
) -> str:
    """Tokens from planes."""
    x = _to_tokens(graph, _depthwise(graph, branch.depthwise, planes), width)
    x = _linear(graph, branch.expand, _norm(graph, branch.norm, x))
    return _linear(graph, branch.project, _gelu(graph, x))


def _feed_forward(graph: _Graph, layer: layers.FeedForward, tokens: str) -> str:
    half = layer.project.in_features
    gate = _linear(graph, layer.expand, tokens, slice(half))
    value = _linear(graph, layer.expand, tokens, slice(half, None))
    return _linear(graph, layer.project, graph.add("Mul", _gelu(graph, gate), value))


# Networks


def _encode(graph: _Graph, encoder: models.AGLFEncoder, image: str) -> str:
    """Planes of features."""
    x = graph.cast(image, graph.dtype)
    if encoder.stem_stride > 1:
        x = graph.add("SpaceToDepth", x, blocksize=encoder.stem_stride)
    x = _conv(graph, encoder.stem, x)
    axes = np.array([1])
    summary = [graph.add(kind, x, axes) for kind in ("ReduceMean", "ReduceMax")]
    summary = graph.add("Concat", *summary, axis=1)
    scale = graph.add("Sigmoid", _conv(graph, encoder.spatial_attention.conv, summary))
    x = graph.add("Mul", x, scale)
    frame = _Frame.of(graph, x)
    sums: dict[Any, _LocalSums] = {}
    x = _to_tokens(graph, x, encoder.width)
    for block in encoder.blocks:
        branch: Any = block.global_branch  # a LocalChannelAttention, see `make`
        key = branch.cell, branch.radius
        sums[key] = sums.get(key) or _LocalSums(frame, *key)
        y = _norm(graph, block.norm, x)
        planes = frame.to_planes(y, encoder.width)
        for scale, change in (
            (block.alpha, _attention(graph, branch, planes, frame, sums[key])),
            (
                block.beta,
                _local_branch(graph, block.local_branch, planes, encoder.width),
            ),
        ):
            x = graph.add("Add", x, graph.add("Mul", change, graph.weights(scale)))
        y = _norm(graph, block.feed_forward_norm, x)
        x = graph.add("Add", x, _feed_forward(graph, block.feed_forward, y))
    if encoder.final_norm:
        x = _norm(graph, encoder.final_norm, x)
    return frame.to_planes(x, encoder.width)


def _decode(
    graph: _Graph, decoder: models.ImageDecoder, features: str, image: str
) -> str:
    """Planes of the restored image, float32."""
    scales = [features]
    for pool, branch in zip(decoder.spp.pools, decoder.spp.branches):
        sides = {"kernel_shape": (pool, pool), "strides": (pool, pool)}
        pooled = _conv(graph, branch, graph.add("AveragePool", features, **sides))
        scales.append(_repeat(graph, graph.add("Relu", pooled), pool))
    x = _conv(graph, decoder.spp.merge, graph.add("Concat", *scales, axis=1))
    if decoder.stem_stride > 1:
        x = graph.add("DepthToSpace", x, blocksize=decoder.stem_stride, mode="DCR")
    if decoder.skip:
        skip = _conv(graph, decoder.skip, graph.cast(image, graph.dtype))
        x = graph.add("Concat", x, skip, axis=1)
    if decoder.local_block:
        width = decoder.local_block.project.out_features
        change = _local_branch(graph, decoder.local_block, x, width)
        change = _Frame.of(graph, x).to_planes(change, width)
        x = graph.add("Add", x, change)
    x = graph.cast(_conv(graph, decoder.to_image, x), np.float32)
    return graph.add("Add", image, x) if decoder.residual else x


def _repeat(graph: _Graph, planes: str, factor: int) -> str:
    """Each pixel repeated along both axes."""
    scales = np.array([1, 1, factor, factor], np.float32)
    modes = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return graph.add("Resize", planes, "", scales, mode="nearest", **modes)


# Attention


class _LocalSums:
    """What `LocalChannelAttention` needs of the sizes of the planes, for all blocks.

    Attributes:
      cell: Side of a cell, in pixels of the planes.
      counts: Numbers of cells per column and per row, each [1].
      boxes: Ones where the box of a cell (row) includes a cell (column), by axis.
      row_weights: Linear weights of the maps for each row of pixels, [h, cells].
    """

    def __init__(self, frame: _Frame, cell: int, radius: int):
        graph = self._graph = frame.graph
        self.cell = cell
        self.counts = [
            graph.add("Div", side, np.array([cell])) for side in (frame.h, frame.w)
        ]
        self.boxes = [self._box_matrix(count, radius) for count in self.counts]
        self.row_weights = self._row_weights(frame.h, self.counts[0])

    def _range(self, count: str) -> str:
        """Whole numbers below a count [1], float32 [count]."""
        count = self._graph.add("Squeeze", count, np.array([0]))
        numbers = self._graph.add("Range", np.array(0), count, np.array(1))
        return self._graph.add("Cast", numbers, to=onnx.TensorProto.FLOAT)

    def _box_matrix(self, count: str, radius: int) -> str:
        """As `attention._box_matrix`."""
        add = self._graph.add
        cells = self._range(count)
        size = add("Min", count, np.array([2 * radius + 1]))
        size = add("Cast", size, to=onnx.TensorProto.FLOAT)
        number = add("Cast", count, to=onnx.TensorProto.FLOAT)
        first = add("Max", add("Sub", cells, np.float32(radius)), np.float32(0))
        first = add("Min", first, add("Sub", number, size))
        first = add("Unsqueeze", first, np.array([1]))
        after = add("Sub", cells, first)
        inside = add(
            "And",
            add("GreaterOrEqual", after, np.float32(0)),
            add("Less", after, size),
        )
        return add("Cast", inside, to=onnx.TensorProto.FLOAT)

    def _row_weights(self, height: str, count: str) -> str:
        """As `attention._weights_of_rows`."""
        add = self._graph.add
        place = add("Add", self._range(height), np.float32(0.5))
        place = add("Sub", add("Div", place, np.float32(self.cell)), np.float32(0.5))
        last = add("Cast", count, to=onnx.TensorProto.FLOAT)
        last = add("Sub", last, np.float32(1))
        place = add("Min", add("Max", place, np.float32(0)), last)
        place = add("Unsqueeze", place, np.array([1]))
        distance = add("Abs", add("Sub", place, self._range(count)))
        return add("Max", add("Sub", np.float32(1), distance), np.float32(0))


def _attention(
    graph: _Graph,
    layer: attention.LocalChannelAttention,
    planes: str,
    frame: _Frame,
    sums: _LocalSums,
) -> str:
    """Tokens from planes."""
    heads, d = layer.num_heads, layer.head_width
    kernel = graph.weights(layer.query_key_value.kernel).T[:, :, None, None]
    bias = graph.weights(layer.query_key_value.bias)
    x = _depthwise(graph, layer.depthwise, graph.add("Conv", planes, kernel, bias))
    query, key, value = graph.add("Split", x, axis=1, outputs=3, num_outputs=3)
    maps = _maps(graph, layer, query, key, sums)
    # [N, h, cells, heads * d * d]: maps of each row of pixels
    rows = graph.reshape(maps, frame.n, sums.counts[0], -1)
    rows = graph.add("MatMul", sums.row_weights, rows)
    rows = graph.reshape(rows, frame.n, frame.h, sums.counts[1], heads, d, d)
    out = _apply(graph, rows, value, frame, sums, (heads, d))
    return _linear(graph, layer.project, graph.reshape(out, -1, heads * d))


def _maps(
    graph: _Graph,
    layer: attention.LocalChannelAttention,
    query: str,
    key: str,
    sums: _LocalSums,
) -> str:
    """Maps of each cell, float32 [N, rows, columns, heads, d, d]."""
    heads, d, cell = layer.num_heads, layer.head_width, sums.cell
    rows, columns = sums.counts

    def to_cells(x: str) -> str:
        x = graph.reshape(x, -1, heads, d, rows, cell, columns, cell)
        x = graph.add("Transpose", x, perm=(0, 3, 5, 1, 2, 4, 6))
        x = graph.reshape(x, -1, rows, columns, heads, d, cell**2)
        return graph.cast(x, np.float32)

    query, key = to_cells(query), to_cells(key)
    turned = graph.add("Transpose", key, perm=(0, 1, 2, 3, 5, 4))
    products = graph.add("MatMul", query, turned)
    last = np.array([5])
    squares = [graph.add("ReduceSumSquare", x, last) for x in (query, key)]
    together = graph.add("Concat", products, *squares, axis=5)
    # Sums over boxes, along one axis after the other.
    x = graph.reshape(together, -1, rows, columns, heads * d * (d + 2))
    x = graph.add("MatMul", sums.boxes[1], x)
    across = graph.add("Transpose", x, perm=(0, 2, 1, 3))
    x = graph.add("MatMul", sums.boxes[0], across)
    x = graph.add("Transpose", x, perm=(0, 2, 1, 3))
    x = graph.reshape(x, -1, rows, columns, heads, d, d + 2)
    products, queries, keys = graph.add(
        "Split", x, np.array([d, 1, 1]), axis=5, outputs=3
    )
    lengths = [
        graph.add("Sqrt", graph.add("Add", x, np.float32(attention._EPSILON)))
        for x in (queries, keys)
    ]
    lengths[1] = graph.add("Transpose", lengths[1], perm=(0, 1, 2, 3, 5, 4))
    cosines = graph.add("Div", products, graph.add("Mul", *lengths))
    temperature = np.asarray(layer.temperature[...], np.float32)
    return graph.add("Softmax", graph.add("Mul", cosines, temperature), axis=-1)


def _apply(
    graph: _Graph,
    rows: str,
    value: str,
    frame: _Frame,
    sums: _LocalSums,
    sizes: tuple[int, int],
) -> str:
    """As `attention._apply_maps`; left and right maps are applied in one product.

    Args:
      rows: Maps of each row of pixels, [N, h, cells, heads, d, d].
      value: Planes [N, heads * d, h, w].
      sizes: heads and d.

    Returns:
      Array [N, h, w, heads * d].
    """
    (heads, d), cell = sizes, sums.cell
    before, after = cell - cell // 2, cell // 2
    rows = graph.cast(rows, graph.dtype)
    padded = graph.add("Pad", rows, np.array([1, 1]), "", np.array([2]), mode="edge")
    left = graph.add("Slice", padded, *map(np.array, ([0], [-1], [2])))
    right = graph.add("Slice", padded, *map(np.array, ([1], [2**31 - 1], [2])))
    maps = graph.add("Concat", left, right, axis=5)
    value = graph.add("Pad", value, np.array([before, after]), "", np.array([3]))
    groups = graph.add("Add", sums.counts[1], np.array([1]))
    value = graph.reshape(value, frame.n, heads, d, frame.h, groups, cell)
    value = graph.add("Transpose", value, perm=(0, 3, 4, 1, 2, 5))
    weight = ((np.arange(cell) + cell // 2 + 0.5) / cell - 0.5).astype(graph.dtype)
    both = [graph.add("Mul", value, share) for share in (1 - weight, weight)]
    out = graph.add("MatMul", maps, graph.add("Concat", *both, axis=4))
    out = graph.add("Transpose", out, perm=(0, 1, 2, 5, 3, 4))
    out = graph.reshape(out, frame.n, frame.h, -1, heads * d)
    end = graph.add("Add", frame.w, np.array([before]))
    return graph.add("Slice", out, np.array([before]), end, np.array([2]))
