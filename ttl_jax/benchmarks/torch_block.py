"""The AGLF-ViT block with channel attention, in PyTorch; features [N, C, H, W]."""

import functools
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F

from ttl_jax.models import aglf_vit
from ttl_jax.training import checkpoint

_EPSILON = 1e-6  # of norms and lengths, as in Flax


def make(
    block: aglf_vit.AGLFViTBlock, features: np.ndarray
) -> tuple[Callable, Callable]:
    """As `block.make_jax`, with the block's weights, on a GPU where there is one.

    The results are NumPy arrays in the order of the features given.

    Raises:
      ValueError: If the block's global branch is another one.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    _, params = checkpoint.split_module(block)
    weights = {
        name: torch.tensor(np.asarray(leaf), device=device, requires_grad=True)
        for name, leaf in params.items()
    }
    if "global_branch/temperature" not in weights:
        raise ValueError("PyTorch's block has channel attention only.")
    x = torch.tensor(features, device=device).permute(0, 3, 1, 2).contiguous()
    x.requires_grad_()

    def forward() -> np.ndarray:
        with torch.no_grad():
            return _finish(compute(weights, x))

    def update() -> tuple[dict[str, np.ndarray], np.ndarray]:
        loss = compute(weights, x).square().sum() / 2
        grads = torch.autograd.grad(loss, [*weights.values(), x])
        *of_weights, of_features = map(_finish, grads)
        return dict(zip(weights, of_weights)), of_features

    return forward, update
