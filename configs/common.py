"""Fields that all stages share, and the presets `:smoke :tiny :small :base :paper`.

A preset is the argument after the colon of --config=configs/STAGE.py:PRESET. `paper` is
the faithful reading of the paper; the others are networks for use, by size. Without a
preset: small. A stage's config starts from `get_config(preset)` and changes fields;
--config.FIELD=VALUE changes any field after that.
"""

from ml_collections import ConfigDict

from ttl_jax.presets import DEFAULT_PRESET, PRESETS


def get_config(preset: str | None = None) -> ConfigDict:
    """Returns the shared fields of a preset.

    Args:
      preset: smoke, tiny, small, base or paper; none means small.

    Raises:
      ValueError: If the preset is unknown.
    """
    preset = preset or DEFAULT_PRESET
    if preset not in PRESETS:
        raise ValueError(f"Unknown preset {preset!r}; choose from {list(PRESETS)}.")
    config = ConfigDict()
    config.preset = preset
    config.stage = ""  # a file of ttl_jax/stages, or a dotted module of your own
    config.run = ""  # the run's folder in --workdir; empty: as its stage names it
    config.seed = 0
    _set_data(config)
    _set_networks(config)
    _set_optimizer(config)
    config.log_every = 50  # steps
    config.eval_every = 500
    config.checkpoint_every = 250
    config.keep_checkpoints = 2
    # A metric as pairs/psnr, or -photographs/loss, of which less is better: the step where
    # it is best is kept beside the last ones. Empty: off.
    config.best_metric = ""
    config.num_samples = 4  # results of each evaluation shown in TensorBoard
    if preset == "paper":
        _as_in_the_paper(config)
    if preset == "smoke":
        _for_tests(config)
    return config


def _set_data(config: ConfigDict) -> None:
    """Source names, see README, "Your own photographs"; crops and batches of them."""
    config.dataset = ""  # couples, clean, rainy, pairs or unpaired
    config.rainy = ("sample/train",)  # real rainy photographs
    config.clean = ("sample/train",)  # rain-free photographs
    config.pairs = ("sample/train",)  # synthetic rainy/clean pairs
    config.rainy_weights = ()  # shares of the sources; empty: photographs count alike
    config.clean_weights = ()
    config.pairs_weights = ()
    config.exclude = ()  # text files of photographs not to train on
    config.num_pairs = 0  # train on so many of the pairs, drawn by the seed; 0: all
    config.eval_rainy = ("sample/test",)
    config.eval_clean = ("sample/test",)
    config.eval_pairs = ("sample/test",)
    config.num_eval = 64  # elements of each evaluation set; 0: all
    config.batch_size = 8  # images of a global batch, over all devices
    config.eval_batch_size = 8
    config.crop_size = 64  # pixels
    config.crop_sizes = ()  # progressive: ((first_step, pixels), ...)
    # Drawn for each step: ((pixels, share of the steps), ...); then crop_size is that of
    # evaluation alone.
    config.crop_mix = ()
    config.whole_share = 0.0  # of pairs shown whole, reduced to the crop's size
    config.mirror = True  # left to right
    config.quarter_turns = False  # rain falls: turned, it is no rain there is
    config.color_jitter = False  # order of channels and gamma; for few photographs
    config.resave_pairs = False  # one in two scaled by 0.5 to 2 and compressed
    config.num_threads = 4  # that decode; in each worker
    config.num_workers = 0  # processes that decode; 0: threads of the main one
    config.prefetch = 16  # batches
    config.cache_gib = 2.0  # of decoded images in memory, per worker; 0.0: none
    config.max_replaced = 0.01  # share of images that could not be read any more


def _set_networks(config: ConfigDict) -> None:
    """Arguments of the factories in ttl_jax.models."""
    preset = PRESETS[config.preset]
    config.encoder = ConfigDict(preset["encoder"])
    config.decoder = ConfigDict(
        preset["decoder"]
    )  # D_dr; its SPP is the classifier's too
    config.recon_decoder = ConfigDict(preset["decoder"])  # D_recon


def _set_optimizer(config: ConfigDict) -> None:
    """Steps, learning rates, and what is done to gradients and weights."""
    config.num_steps = 1000
    config.learning_rate = 1e-3
    config.schedule = "cosine"  # plateau, cosine or constant
    config.warmup_steps = 50
    config.final_fraction = 0.01  # last learning rate over first (cosine)
    config.patience = 5  # windows (plateau)
    config.min_window = 1000  # updates; a window is an epoch, but at least this
    config.min_learning_rate = 1e-6  # (plateau)
    config.clip_norm = 1.0  # of the global gradient; 0.0: no clipping
    config.num_micro_batches = 1  # parts a batch is computed in, one after another
    config.ema_decay = 0.999  # of the weights' moving average; 0.0: none
    config.compute_dtype = "float32"  # or bfloat16
    # How many batches a run may skip whose loss or gradient is not finite; 0: it stops.
    config.skip_bad_batches = 0
    config.fsdp = False  # spread weights and optimizer state over the devices


def _as_in_the_paper(config: ConfigDict) -> None:
    """Section Training details; what it leaves open is a `Note:` where it is coded."""
    config.crop_size = 256
    config.mirror = False
    config.learning_rate = 4e-4
    config.schedule = "plateau"
    config.clip_norm = 0.0
    config.ema_decay = 0.0


def _for_tests(config: ConfigDict) -> None:
    config.crop_size = 32
    config.batch_size = 4
    config.eval_batch_size = 4
    config.num_eval = 4
    config.num_steps = 2
    config.warmup_steps = 0
    config.log_every = 1
    config.eval_every = 2
    config.num_samples = 0
    config.checkpoint_every = 2


def follow(stage: ConfigDict, pipeline: ConfigDict, fields: tuple[str, ...]) -> None:
    """Makes fields of a stage follow the pipeline's, until they are set on their own."""
    for field in fields:
        if field not in stage:
            continue
        if isinstance(pipeline[field], ConfigDict):
            follow(stage[field], pipeline[field], tuple(pipeline[field]))
        else:
            stage[field] = pipeline.get_oneway_ref(field)
