"""Stage 3: one student encoder learns the features of both teachers (Eqs. 3-5)."""

import functools
import math
import shlex
from typing import Any

import jax
import jax.numpy as jnp

from ttl_jax import losses
from ttl_jax.stages import networks
from ttl_jax.stages.stage import Origin, Stage, check_dataset, check_shares
from ttl_jax.stages.teachers import (
    check_teachers,
    run_name,
    teachers_flag,
    train_command,
)


def make_stage(config) -> Stage:
    """Returns the distillation: E_stu learns on rainy photographs from frozen teachers.

    `config.teachers` names the teachers; a single one gives a row of Table 3. The student
    starts from random weights, or from the encoder of the teacher `config.student_init`.
    With `config.projections`, a 1x1 projection per teacher maps the student's features
    before Eqs. 3 and 4. With `config.standardize`, Eq. 3 divides each channel by its
    standard deviation in the teacher's features. In each update, a teacher is left out
    with probability `config.teacher_dropout`; if all would be left out, none is.
    Note: with micro-batches, teachers are left out of each micro-batch separately, and
    Eq. 3 divides by the standard deviation within each micro-batch.
    """
    teachers = check_teachers(config.teachers)
    losses.check_kind(config.feature_loss, "config.feature_loss")
    check_dataset(config, "rainy", "clean")
    check_shares(config, "masked_share", "teacher_dropout")
    _check_term_weights(config, teachers)
    if config.teacher_dropout and len(teachers) == 1:
        raise ValueError(
            f"config.teacher_dropout={config.teacher_dropout} leaves out one of two "
            f"teachers, but config.teachers={config.teachers!r}; use 0.0."
        )
    if config.student_init not in ("", *teachers):
        raise ValueError(
            f"config.student_init={config.student_init!r}: leave it empty for random "
            f"weights, or name a teacher of this distillation, one of {teachers}."
        )

    def loss_fn(modules, batch, key):
        mask_key, dropout_key = jax.random.split(key)
        image = batch["image"]
        targets = _teach(modules, teachers, image)
        masked = networks.mask_patches(image, config.masked_share, mask_key)
        terms = _compare(config, modules, modules["encoder"](masked), image, targets)
        kept = _keep_teachers(teachers, config.teacher_dropout, dropout_key)
        return _sum_terms(config, terms, kept), terms  # Eq. 5

    def eval_fn(modules, batch, key):
        del key
        evaluate = functools.partial(_evaluate, config, teachers, modules)
        return jax.lax.map(lambda image: evaluate(image[None]), batch["image"])

    modules, init_from = _make_modules(config, teachers)
    trainable = tuple(name for name in modules if name not in init_from)
    if config.student_init:
        init_from["encoder"] = init_from[f"{config.student_init}_encoder"]
    student = ""
    if config.run:  # its braces are no fields of `next_command`
        quoted = shlex.quote(config.run).replace("{", "{{").replace("}", "}}")
        student = f" --config.student_run={quoted}"
    return Stage(
        run=run_name("distill", teachers),
        modules=modules,
        trainable=trainable,
        learning_rates={name: config.learning_rate for name in trainable},
        init_from=init_from,
        loss_fn=loss_fn,
        eval_fn=eval_fn,
        next_command=f"main --config=derain:{config.preset} --workdir={{workdir}}"
        f"{teachers_flag(teachers)}{student}",
    )


def _check_term_weights(config, teachers) -> None:
    names = [f"{kind}_{name}" for kind in ("direct", "indirect") for name in teachers]
    weights = {name: config.term_weights[name] for name in names}
    values = weights.values()
    if not all(0 <= value < math.inf for value in values) or not any(values):
        raise ValueError(
            f"config.term_weights: {weights} must be zero or more, finite, and not all "
            "zero."
        )


def _make_modules(config, teachers):
    """Returns the factories of all modules, and the sources of the teachers' modules."""
    encoder = networks.encoder(config)
    decoders = {
        "recog": networks.classifier(config),
        "recon": networks.image_decoder(config, config.recon_decoder),
    }
    modules, init_from = {"encoder": encoder}, {}
    for name in teachers:
        run = config.teacher_runs[name]
        is_finer = name == "recog" and config.num_classes > 1
        task = "degradations" if is_finer else name
        command = train_command(task, config.preset, run, task)
        for part, make in (("encoder", encoder), ("decoder", decoders[name])):
            modules[f"{name}_{part}"] = make
            init_from[f"{name}_{part}"] = Origin(run, part, command)
        if config.projections:
            modules[f"{name}_projection"] = networks.projection(config)
    return modules, init_from


def _teach(modules, teachers, image):
    """Returns the features and decoded features of the frozen teachers, as constants."""
    features = {name: modules[f"{name}_encoder"](image) for name in teachers}
    decoded = {name: _decode(modules, name, features[name], image) for name in teachers}
    return jax.lax.stop_gradient({"features": features, "decoded": decoded})


def _compare(config, modules, features, image, targets):
    """Returns the terms of Eqs. 3 and 4 for the student's features, by name."""
    student: dict = dict.fromkeys(targets["features"], features)
    if config.projections:
        student = {name: modules[f"{name}_projection"](features) for name in student}
    decoded = {name: _decode(modules, name, x, image) for name, x in student.items()}
    kind, teachers = config.feature_loss, targets["features"]
    if config.standardize:
        student, teachers = _standardize(student, teachers)
    direct = losses.distillation(student, teachers, kind=kind)
    indirect = losses.distillation(decoded, targets["decoded"], kind=kind)
    named = {"direct": direct, "indirect": indirect}
    return {
        f"{kind}_{name}": term for kind in named for name, term in named[kind].items()
    }


def _standardize(student, teachers):
    """Returns features divided by the standard deviation of the teacher's, by channel."""
    scales = {
        name: jnp.std(features, axis=(0, 1, 2), keepdims=True) + 1e-6
        for name, features in teachers.items()
    }
    return tuple(
        {name: features[name] / scales[name] for name in scales}
        for features in (student, teachers)
    )


def _keep_teachers(teachers, dropout: float, key) -> dict[str, Any]:
    """Returns the weight of each teacher: 0 if left out, else 1; never 0 for all."""
    if not dropout:
        return dict.fromkeys(teachers, 1.0)
    kept = jax.random.bernoulli(key, 1 - dropout, (len(teachers),))
    kept = jnp.where(kept.any(), kept, True)
    return {name: kept[i].astype(jnp.float32) for i, name in enumerate(teachers)}


def _sum_terms(config, terms, kept) -> Any:
    """Returns Eq. 5; terms are named direct_TEACHER and indirect_TEACHER."""
    return sum(
        config.term_weights[name] * kept[name.partition("_")[2]] * term
        for name, term in terms.items()
    )


def _evaluate(config, teachers, modules, image):
    """Returns terms, their floor, feature sizes and gradients of an image [1, H, W, 3]."""
    targets = _teach(modules, teachers, image)
    features = modules["encoder"](image)

    def compare(features):
        return _compare(config, modules, features, image, targets)

    terms = compare(features)
    everyone = dict.fromkeys(teachers, 1.0)
    scalars = {**terms, "loss": _sum_terms(config, terms, everyone)}
    for name, x in {"student": features, **targets["features"]}.items():
        scalars[f"rms_{name}"] = jnp.sqrt(jnp.mean(jnp.square(x)))
    for name in terms:
        gradient = jax.grad(lambda x, name=name: compare(x)[name])(features)
        scalars[f"feature_gradient_{name}"] = jnp.linalg.norm(gradient)
    # The floor holds only for this distance and these features.
    plain = not (config.projections or config.standardize)
    if config.feature_loss == "mse" and plain:
        scalars["direct_floor"] = losses.direct_floor(targets["features"])
    return scalars


def _decode(modules, name, features, image):
    decoder = modules[f"{name}_decoder"]
    return decoder(features) if name == "recog" else decoder(features, image)
