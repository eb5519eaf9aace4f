"""Stage 3: one student takes over both teachers' knowledge (Eqs. 3-5)."""

import functools

import jax
import jax.numpy as jnp

from ttl_jax import losses, models
from ttl_jax.stages.stage import Source, Stage, check_teachers, run_name


def make_stage(config) -> Stage:
    """Returns the distillation: E_stu learns on rainy photographs from frozen teachers.

    `config.teachers` names the teachers; one alone gives a row of Table 3. With
    `config.projections`, the student is compared through a 1x1 projection per teacher,
    and Eq. 4 decodes the projected features.
    """
    teachers = check_teachers(config.teachers)
    losses.check_kind(config.feature_loss, "config.feature_loss")
    compared = losses.standardize if config.normalize_features else lambda x: x
    # A student of its own for each teacher, or another distance, has another optimum.
    has_floor = config.feature_loss == "mse" and not config.projections

    def terms_of(features, modules, image, targets):
        """Terms of Eqs. 3 and 4 for the student's features, weighted, by name."""
        student, decoded = {}, {}
        for name in teachers:
            student[name] = (
                modules[f"{name}_projection"](features)
                if config.projections
                else features
            )
            decoded[name] = _decode(modules, name, student[name], image)
        direct = losses.distillation(
            {name: compared(student[name]) for name in teachers},
            {name: compared(targets["features"][name]) for name in teachers},
            kind=config.feature_loss,
        )
        indirect = losses.distillation(
            decoded, targets["decoded"], kind=config.feature_loss
        )
        return {
            **{f"direct_{name}": term for name, term in direct.items()},
            **{f"indirect_{name}": term for name, term in indirect.items()},
        }

    def weighted(terms):
        return {name: config.term_weights[name] * term for name, term in terms.items()}

    def loss_fn(modules, batch, key):
        del key
        image = batch["image"]
        targets = _teach(modules, teachers, image)
        terms = terms_of(modules["encoder"](image), modules, image, targets)
        return sum(weighted(terms).values()), terms  # Eq. 5

    def eval_image(modules, image):
        """Terms, floor, sizes and gradients for one image [H, W, 3]."""
        image = image[None]
        targets = _teach(modules, teachers, image)
        features = modules["encoder"](image)
        terms = terms_of(features, modules, image, targets)
        scalars = {
            **terms,
            "loss": sum(weighted(terms).values()),
            "rms_student": _rms(features),
        }
        if has_floor:
            scalars["direct_floor"] = losses.direct_floor(
                {name: compared(targets["features"][name]) for name in teachers}
            )
        for name in teachers:
            scalars[f"rms_{name}"] = _rms(targets["features"][name])
        for name in terms:
            gradient = jax.grad(
                lambda x, name=name: terms_of(x, modules, image, targets)[name]
            )(features)
            scalars[f"feature_gradient_{name}"] = jnp.linalg.norm(gradient)
        return scalars

    def eval_fn(modules, batch, key):
        del key
        return jax.lax.map(lambda image: eval_image(modules, image), batch["image"])

    encoder = functools.partial(models.make_encoder, **config.encoder)
    modules = {"encoder": encoder}
    init_from = {}
    for name in teachers:
        modules[f"{name}_encoder"] = encoder
        modules[f"{name}_decoder"] = _teacher_decoder(config, name)
        for part in ("encoder", "decoder"):
            init_from[f"{name}_{part}"] = Source(
                run=name,
                module=part,
                command=f"--config=configs/{name}.py:{config.preset}",
            )
    trainable = ["encoder"]
    if config.projections:
        for name in teachers:
            modules[f"{name}_projection"] = functools.partial(
                models.make_projection, width=config.encoder.width
            )
            trainable.append(f"{name}_projection")
    return Stage(
        run=run_name("distill", teachers),
        modules=modules,
        trainable=tuple(trainable),
        learning_rates=dict.fromkeys(trainable, config.learning_rate),
        init_from=init_from,
        loss_fn=loss_fn,
        eval_fn=eval_fn,
    )


def _teacher_decoder(config, name) -> functools.partial:
    if name == "recog":
        return functools.partial(
            models.make_classifier,
            width=config.encoder.width,
            pools=config.decoder.pools,
            pool_width=config.decoder.pool_width,
        )
    return functools.partial(
        models.make_image_decoder,
        width=config.encoder.width,
        stem_stride=config.encoder.stem_stride,
        **config.recon_decoder,
    )


def _decode(modules, name, features, image):
    decoder = modules[f"{name}_decoder"]
    return decoder(features) if name == "recog" else decoder(features, image)


def _teach(modules, teachers, image):
    """What the frozen teachers make of an image, without gradient."""
    features = {name: modules[f"{name}_encoder"](image) for name in teachers}
    decoded = {name: _decode(modules, name, features[name], image) for name in teachers}
    return jax.lax.stop_gradient({"features": features, "decoded": decoded})


def _rms(features):
    return jnp.sqrt(jnp.mean(jnp.square(features)))
