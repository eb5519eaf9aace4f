"""The AGLF-ViT block with channel attention in PyTorch, features [N, C, H, W].

In memory the channels are last, which is its fastest layout for such convolutions.
"""

from collections.abc import Callable, Mapping

import numpy as np
import torch
import torch.nn.functional as F

from ttl_jax.models import aglf_vit
from ttl_jax.weights import flat_params

_EPSILON = 1e-6  # of norms and lengths, as in ttl_jax.models

Weights = Mapping[str, torch.Tensor]


def make(
    block: aglf_vit.AGLFViTBlock, features: np.ndarray
) -> tuple[Callable, Callable]:
    """Functions as `block.make_jax` makes them, on a GPU where PyTorch finds one.

    Raises:
      ValueError: If the block's global branch is not channel attention.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    params = flat_params.split_module(block)[1]
    if "global_branch.temperature" not in params:
        raise ValueError("PyTorch's block has channel attention only.")
    weights = {
        name: torch.tensor(np.asarray(leaf), device=device, requires_grad=True)
        for name, leaf in params.items()
    }
    # A view of channels that are last in memory.
    x = torch.tensor(features, device=device).permute(0, 3, 1, 2).requires_grad_()

    def forward() -> torch.Tensor:
        with torch.no_grad():
            return _finish(_block(weights, x)).permute(0, 2, 3, 1)

    def update() -> tuple[dict[str, torch.Tensor], torch.Tensor]:
        loss = _block(weights, x).square().sum() / 2
        *of_weights, of_x = torch.autograd.grad(loss, [*weights.values(), x])
        return dict(zip(weights, of_weights)), _finish(of_x).permute(0, 2, 3, 1)

    return forward, update


def _finish(result: torch.Tensor) -> torch.Tensor:
    if result.is_cuda:
        torch.cuda.synchronize()
    return result


def _block(weights: Weights, x: torch.Tensor) -> torch.Tensor:
    y = _norm(weights, "norm", x)
    x = (
        x
        + weights["alpha"] * _channel_attention(_inner(weights, "global_branch"), y)
        + weights["beta"] * _local_branch(_inner(weights, "local_branch"), y)
    )
    y = _norm(weights, "feed_forward_norm", x)
    return x + _feed_forward(_inner(weights, "feed_forward"), y)


def _inner(weights: Weights, module: str) -> dict[str, torch.Tensor]:
    return {
        name.removeprefix(f"{module}."): leaf
        for name, leaf in weights.items()
        if name.startswith(f"{module}.")
    }


def _channel_attention(weights: Weights, x: torch.Tensor) -> torch.Tensor:
    n, _, h, w = x.shape
    heads = len(weights["temperature"])
    x = _depthwise(weights, "depthwise", _pointwise(weights, "query_key_value", x))
    query, key, value = x.reshape(n, 3, heads, -1, h * w).unbind(1)
    lengths = [
        (side.square().sum(-1, keepdim=True) + _EPSILON).sqrt() for side in (query, key)
    ]
    products = query @ key.mT / (lengths[0] * lengths[1].mT)
    attention = (products * weights["temperature"]).softmax(-1)
    return _pointwise(weights, "project", (attention @ value).reshape(n, -1, h, w))


def _local_branch(weights: Weights, x: torch.Tensor) -> torch.Tensor:
    x = _norm(weights, "norm", _depthwise(weights, "depthwise", x))
    x = F.gelu(_pointwise(weights, "expand", x), approximate="tanh")
    return _pointwise(weights, "project", x)


def _feed_forward(weights: Weights, x: torch.Tensor) -> torch.Tensor:
    gate, value = _pointwise(weights, "expand", x).chunk(2, dim=1)
    return _pointwise(weights, "project", F.gelu(gate, approximate="tanh") * value)


def _norm(weights: Weights, name: str, x: torch.Tensor) -> torch.Tensor:
    scale, bias = weights[f"{name}.scale"], weights[f"{name}.bias"]
    x = F.layer_norm(x.permute(0, 2, 3, 1), scale.shape, scale, bias, _EPSILON)
    return x.permute(0, 3, 1, 2)


def _pointwise(weights: Weights, name: str, x: torch.Tensor) -> torch.Tensor:
    kernel = weights[f"{name}.kernel"].T[:, :, None, None]  # out in 1 1
    return F.conv2d(x, kernel, weights[f"{name}.bias"])


def _depthwise(weights: Weights, name: str, x: torch.Tensor) -> torch.Tensor:
    kernel = weights[f"{name}.kernel"].permute(2, 0, 1)[:, None]  # c 1 kh kw
    padding = [side // 2 for side in kernel.shape[2:]]
    return F.conv2d(
        x, kernel, weights[f"{name}.bias"], padding=padding, groups=len(kernel)
    )
