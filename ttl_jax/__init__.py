"""Task transfer learning for image deraining in JAX.

import ttl_jax

restorer = ttl_jax.load()
restored = restorer.restore(image)  # an array, see `Restorer.restore`
"""

import os
import pathlib

__version__ = "0.2.0"


def load(checkpoint: str | os.PathLike | None = None):
    """Returns a `ttl_jax.inference.restorer.Restorer`.

    Args:
      checkpoint: A run's folder, "best" in it, or a packed run; None and "shipped" mean
        the weights that come with the package.

    Raises:
      ValueError: If there is no checkpoint, or it does not restore images.
    """
    # Imported here, so that `import ttl_jax` alone, as in worker processes that only
    # decode images, does not start JAX.
    from ttl_jax.inference import restorer

    return restorer.Restorer.from_checkpoint(
        None if checkpoint is None else pathlib.Path(checkpoint)
    )
