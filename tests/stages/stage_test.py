"""Stages as values: invalid ones are refused, and each loss trains its modules."""

import functools

import jax
import numpy as np
import pytest
from flax import nnx

from configs import adapt, derain, distill, recog, recon, scratch
from ttl_jax import models
from ttl_jax.metrics import image_quality
from ttl_jax.stages.stage import Source, Stage, make_stage
from ttl_jax.weights import flat_params

CONFIGS = {
    "recog": recog,
    "recon": recon,
    "distill": distill,
    "derain": derain,
    "scratch": scratch,
    "adapt": adapt,
}
NETWORK = functools.partial(models.make_projection, width=4)


def make(**changes):
    fields = {
        "run": "test",
        "modules": {"encoder": NETWORK, "teacher": NETWORK},
        "trainable": ("encoder",),
        "learning_rates": {"encoder": 1e-3},
        "loss_fn": lambda modules, batch, key: (0.0, {}),
        "eval_fn": lambda modules, batch, key: {},
        "init_from": {"teacher": Source("recog", "encoder", "command")},
    }
    return Stage(**{**fields, **changes})


def batch_for(config, key):
    size = config.crop_size + 2 * config.get("crop_margin", 0)
    image = jax.random.uniform(key, (4, size, size, 3))
    if config.dataset in ("pairs", "unpaired"):
        return {"rainy": image, "clean": image[::-1]}
    label = np.array([1, 0, 1, 0], np.float32)
    return {"image": image} | ({"label": label} if config.dataset == "couples" else {})


def gradients(stage, batch, key):
    """Gradient of the loss by module, as if every module were trained."""
    graphs, params = {}, {}
    for i, (name, factory) in enumerate(sorted(stage.modules.items())):
        graphs[name], params[name] = flat_params.split_module(factory(rngs=nnx.Rngs(i)))
        # D_dr's last layer starts at zero, which would hide gradients behind it.
        keys = jax.random.split(key, len(params[name]))
        params[name] = {
            leaf: value + 0.1 * jax.random.normal(k, value.shape)
            for k, (leaf, value) in zip(keys, params[name].items())
        }

    def loss(params):
        modules = {
            name: flat_params.merge_module(graphs[name], params[name])
            for name in params
        }
        return stage.loss_fn(modules, batch, key)[0]

    return jax.jit(jax.grad(loss))(params)


def norm_of(tree):
    return sum(float(np.abs(leaf).sum()) for leaf in jax.tree.leaves(tree))


def test_frozen_module_without_source_is_an_error():
    with pytest.raises(ValueError, match=r"freezes \['teacher'\], which nothing loads"):
        make(init_from={})


@pytest.mark.parametrize("field", ["trainable", "learning_rates", "init_from"])
def test_unknown_module_name_is_an_error(field):
    wrong = {
        "trainable": ("encoder", "encodr"),
        "learning_rates": {"encodr": 1e-3},
        "init_from": {"encodr": Source("recog", "encoder", "command")},
    }
    with pytest.raises(ValueError, match="encodr"):
        make(**{field: wrong[field]})


def test_each_trained_module_needs_a_learning_rate_above_zero():
    with pytest.raises(ValueError, match="give one to each"):
        make(learning_rates={})
    with pytest.raises(ValueError, match="'encoder' is 0.0; it must be greater"):
        make(learning_rates={"encoder": 0.0})


@pytest.mark.parametrize(
    "factory",
    [
        lambda *, rngs: models.make_projection(width=4, rngs=rngs),
        functools.partial(models.make_projection, width=np.float32(4)),
    ],
)
def test_a_factory_that_no_checkpoint_could_describe_is_refused(factory):
    with pytest.raises(ValueError, match="cannot save how 'encoder' is made"):
        make(modules={"encoder": factory, "teacher": NETWORK})


def test_a_stage_file_without_make_stage_is_named():
    config = recog.get_config("smoke")
    config.stage = "ttl_jax.losses"
    with pytest.raises(ValueError, match="losses.py has no function make_stage"):
        make_stage(config)


def test_unknown_stage_says_where_stages_live():
    config = recog.get_config("smoke")
    config.stage = "recgo"
    with pytest.raises(ValueError, match="ttl_jax/stages"):
        make_stage(config)


@pytest.mark.parametrize("name", CONFIGS)
def test_loss_reaches_every_leaf_of_every_trained_module(name, key):
    config = CONFIGS[name].get_config("smoke")
    stage = make_stage(config)
    grads = gradients(stage, batch_for(config, key), key)
    for module in stage.trainable:
        for leaf, grad in grads[module].items():
            if leaf.startswith("spp.branches"):
                continue  # one channel behind a ReLU, which may be off as a whole
            assert np.abs(grad).max() > 0, f"{module}/{leaf}"


def test_distillation_gradients_reach_the_student_and_no_encoder_of_a_teacher(key):
    config = distill.get_config("smoke")
    grads = gradients(make_stage(config), batch_for(config, key), key)
    assert norm_of(grads["encoder"]) > 0
    for name in ("recog_encoder", "recon_encoder"):
        assert norm_of(grads[name]) == 0


def test_indirect_terms_alone_train_the_student(key):
    config = distill.get_config("smoke")
    for name in ("direct_recog", "direct_recon"):
        config.term_weights[name] = 0.0
    stage = make_stage(config)
    assert stage.trainable == ("encoder",)  # the decoders Eq. 4 passes through are not
    grads = gradients(stage, batch_for(config, key), key)
    assert norm_of(grads["encoder"]) > 0


def test_direct_terms_alone_leave_the_decoders_out(key):
    config = distill.get_config("smoke")
    for name in ("indirect_recog", "indirect_recon"):
        config.term_weights[name] = 0.0
    grads = gradients(make_stage(config), batch_for(config, key), key)
    for name in ("recog_decoder", "recon_decoder"):
        assert norm_of(grads[name]) == 0


def test_projections_are_trained_beside_the_student(key):
    config = distill.get_config("smoke")
    config.projections = True
    stage = make_stage(config)
    assert stage.trainable == ("encoder", "recog_projection", "recon_projection")
    grads = gradients(stage, batch_for(config, key), key)
    for name in stage.trainable:
        assert norm_of(grads[name]) > 0


@pytest.mark.parametrize("teacher", ["recog", "recon"])
def test_one_teacher_gives_runs_of_their_own_name(teacher):
    config = distill.get_config("smoke")
    config.teachers = (teacher,)
    stage = make_stage(config)
    assert stage.run == f"distill_{teacher}"
    assert set(stage.modules) == {"encoder", f"{teacher}_encoder", f"{teacher}_decoder"}
    config = derain.get_config("smoke")
    config.teachers = (teacher,)
    stage = make_stage(config)
    assert stage.run == f"derain_{teacher}"
    assert stage.init_from["encoder"].run == f"distill_{teacher}"


def test_student_starts_from_a_teachers_encoder_and_still_learns():
    config = distill.get_config("smoke")
    config.student_init = "recog"
    stage = make_stage(config)
    assert stage.init_from["encoder"] == stage.init_from["recog_encoder"]
    assert stage.trainable == ("encoder",)


@pytest.mark.parametrize("name", ["recgo", "recog"])
def test_student_starts_from_no_encoder_but_a_teachers(name):
    config = distill.get_config("smoke")
    config.teachers = ("recon",)
    config.student_init = name
    with pytest.raises(ValueError, match=rf"student_init='{name}'.*\('recon',\)"):
        make_stage(config)


def test_training_weights_further_is_a_run_of_its_own():
    config = derain.get_config("smoke")
    config.start_from = "shipped"
    stage = make_stage(config)
    assert stage.run == "tuned"
    assert stage.init_from == {
        name: Source("shipped", name, "") for name in ("encoder", "decoder")
    }


@pytest.mark.parametrize(
    "changes",
    [{"student_run": "distill"}, {"from_student": False}],
)
def test_two_origins_of_the_same_weights_are_refused(changes):
    config = derain.get_config("smoke")
    config.update({"start_from": "shipped"} | changes)
    with pytest.raises(ValueError, match="start_from='shipped' gives"):
        make_stage(config)


def test_unknown_teacher_is_refused():
    config = distill.get_config("smoke")
    config.teachers = ("recog", "rain")
    with pytest.raises(ValueError, match="name one or both"):
        make_stage(config)


def test_fine_tuning_has_two_learning_rates_and_scratch_has_one():
    stage = make_stage(derain.get_config("paper"))
    assert stage.learning_rates == {"encoder": 4e-5, "decoder": 4e-4}
    stage = make_stage(scratch.get_config("paper"))
    assert stage.learning_rates == {"encoder": 4e-4, "decoder": 4e-4}
    assert not stage.init_from


@pytest.mark.parametrize(
    ("changes", "has_floor"),
    [
        ({}, True),
        ({"projections": True}, False),
        ({"feature_loss": "l1"}, False),
    ],
)
def test_floor_is_reported_only_where_it_is_one(changes, has_floor, key):
    config = distill.get_config("smoke")
    config.update(changes)
    stage = make_stage(config)

    def evaluate(image):
        modules = {
            name: factory(rngs=nnx.Rngs(i))
            for i, (name, factory) in enumerate(stage.modules.items())
        }
        return stage.eval_fn(modules, {"image": image}, key)

    scalars = jax.eval_shape(evaluate, jax.ShapeDtypeStruct((2, 8, 8, 3), "float32"))
    assert ("direct_floor" in scalars) == has_floor


@pytest.mark.parametrize(("name", "first"), [("derain", "rainy"), ("recon", "blurred")])
def test_images_shown_are_those_that_are_scored(name, first, key):
    stage = make_stage(CONFIGS[name].get_config("smoke"))
    modules = {
        module: factory(rngs=nnx.Rngs(i))
        for i, (module, factory) in enumerate(stage.modules.items())
    }
    batch = batch_for(CONFIGS[name].get_config("smoke"), key)
    scores = stage.eval_fn(modules, batch, key)
    images = stage.images_fn(modules, batch, key)
    assert list(images) == [first, "restored", "clean"]
    for image, score in ((first, "psnr_input"), ("restored", "psnr")):
        shown, clean = np.clip(images[image], 0, 1), images["clean"]
        psnr = image_quality.psnr(np.asarray(shown), np.asarray(clean), "y_uint8")
        np.testing.assert_allclose(scores[score], psnr, rtol=1e-4)


def test_distillation_evaluation_reports_its_terms_beside_their_floor(key):
    config = distill.get_config("smoke")
    stage = make_stage(config)
    modules = {
        name: factory(rngs=nnx.Rngs(i))
        for i, (name, factory) in enumerate(stage.modules.items())
    }
    batch = batch_for(config, key)
    scalars = jax.jit(lambda batch: stage.eval_fn(modules, batch, key))(batch)
    loss, terms = stage.loss_fn(modules, batch, key)
    for name, term in terms.items():
        np.testing.assert_allclose(scalars[name].mean(), term, rtol=1e-4)
    np.testing.assert_allclose(scalars["loss"].mean(), loss, rtol=1e-4)
    direct = scalars["direct_recog"] + scalars["direct_recon"]
    assert np.all(direct >= scalars["direct_floor"])
