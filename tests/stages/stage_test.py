"""Stages as values: invalid ones are refused, and each loss trains its modules."""

import ast
import functools
import math
import shlex

import jax
import numpy as np
import pytest

from configs import adapt, degradations, derain, distill, recog, recon
from ttl_jax import config_files, models
from ttl_jax import derain as derain_command
from ttl_jax.metrics import image_quality
from ttl_jax.stages import distill as distill_stage
from ttl_jax.stages.stage import Origin, Stage, make_stage
from ttl_jax.weights import flat_params

CONFIGS = {
    "recog": recog,
    "recon": recon,
    "distill": distill,
    "derain": derain,
    "adapt": adapt,
    "degradations": degradations,
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
        "init_from": {"teacher": Origin("recog", "encoder", "command")},
    }
    return Stage(**{**fields, **changes})


@pytest.mark.parametrize("teachers", [("recog", "recon"), ("recog",)])
def test_the_next_command_trains_the_next_stage_or_restores(teachers):
    def next_command(config):
        return shlex.split(
            make_stage(config).next_command.format(run="a/run", workdir="a")
        )

    for name, following in (
        ("recog", "recon"), ("recon", "distill"), ("distill", "derain")
    ):  # fmt: skip
        config = CONFIGS[name].get_config("tiny")
        if name == "distill":
            config.teachers = teachers
        program, *flags = next_command(config)
        fields = dict(flag.split("=", 1) for flag in flags)
        after = config_files.load(fields["--config"])
        assert (program, after.stage, fields["--workdir"]) == ("main", following, "a")
    after.teachers = ast.literal_eval(fields.get("--config.teachers", str(teachers)))
    assert make_stage(after).init_from["encoder"].run == make_stage(config).run
    program, *flags = next_command(after)
    assert program == "derain"
    assert derain_command._make_parser().parse_args(flags).checkpoint == "a/run"


def test_the_next_command_names_a_run_whatever_its_characters():
    config = distill.get_config("tiny")
    config.run = "my {run}"
    command = make_stage(config).next_command.format(run="a/run", workdir="a")
    assert shlex.split(command)[-1] == "--config.student_run=my {run}"


def trained_by(command):
    """Name of the run, and its stage, that the flags of a command train."""
    flags = dict(flag.split("=", 1) for flag in shlex.split(command))
    config = config_files.load(flags.pop("--config"))
    for flag, value in flags.items():
        field = flag.removeprefix("--config.")
        config[field] = ast.literal_eval(value) if field == "teachers" else value
    return config.run or make_stage(config).run, config.stage


@pytest.mark.parametrize(
    ("name", "changes", "stage"),
    [
        ("derain", {}, "distill"),
        ("derain", {"student_run": "distill_both_seed1"}, "distill"),
        ("derain", {"student_run": "mine", "teachers": ("recog",)}, "distill"),
        ("distill", {"teachers": ("recog",)}, "recog"),
        ("distill", {"teachers": ("recon",)}, "recon"),
        (
            "distill",
            {"teacher_runs.recog": "my recog", "teachers": ("recog",)},
            "recog",
        ),
        (
            "distill",
            {
                "teacher_runs.recog": "degradations",
                "teachers": ("recog",),
                "num_classes": 13,
            },
            "degradations",
        ),
    ],
)
def test_the_command_for_a_missing_run_trains_that_run(name, changes, stage):
    config = CONFIGS[name].get_config("smoke")
    config.update_from_flattened_dict(changes)
    for source in make_stage(config).init_from.values():
        assert trained_by(source.command) == (source.run, stage)


def test_no_command_is_known_for_a_run_that_is_a_path():
    config = derain.get_config("smoke")
    config.student_run = "elsewhere/distill"
    assert make_stage(config).init_from["encoder"].command == ""


def batch_for(config):
    size = config.crop_size + 2 * config.get("crop_margin", 0)
    image = np.random.default_rng(0).uniform(size=(4, size, size, 3)).astype("float32")
    if config.dataset in ("pairs", "unpaired"):
        return {"rainy": image, "clean": image[::-1]}
    label = np.array([1, 0, 1, 0], np.float32)
    return {"image": image} | ({"label": label} if config.dataset == "couples" else {})


def random_params(stage):
    """Structure and random params of every module of a stage."""
    graphs, params = {}, {}
    rng = np.random.default_rng(0)
    for name, make in sorted(stage.modules.items()):
        graphs[name], shapes = flat_params.split_factory(make)
        params[name] = {
            leaf: np.float32(
                0.2 * rng.normal(size=shape.shape) + leaf.endswith("scale")
            )
            for leaf, shape in shapes.items()
        }
    return graphs, params


def apply(function, params, graphs, *arguments):
    """Calls a function of a stage with modules of the given params."""
    modules = {
        name: flat_params.merge_module(graphs[name], params[name]) for name in params
    }
    return function(modules, *arguments)


def gradients(config, key):
    """Gradient of the loss by module, as if every module were trained."""
    stage, batch = make_stage(config), batch_for(config)
    graphs, params = random_params(stage)

    def loss(params):
        return apply(stage.loss_fn, params, graphs, batch, key)[0]

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
        "init_from": {"encodr": Origin("recog", "encoder", "command")},
    }
    with pytest.raises(ValueError, match="encodr"):
        make(**{field: wrong[field]})


def test_each_trained_module_needs_a_learning_rate_above_zero():
    with pytest.raises(ValueError, match="give one for each"):
        make(learning_rates={})
    with pytest.raises(ValueError, match="'encoder' is 0.0; it must be greater"):
        make(learning_rates={"encoder": 0.0})
    with pytest.raises(ValueError, match="'encoder' is inf; it must .* finite"):
        make(learning_rates={"encoder": float("inf")})


@pytest.mark.parametrize(
    "factory",
    [
        lambda *, rngs: models.make_projection(width=4, rngs=rngs),
        functools.partial(models.make_projection, width=np.float32(4)),
    ],
)
def test_a_factory_that_no_checkpoint_could_describe_is_rejected(factory):
    with pytest.raises(ValueError, match="cannot save the factory of 'encoder'"):
        make(modules={"encoder": factory, "teacher": NETWORK})


def test_a_stage_file_without_make_stage_is_named():
    config = recog.get_config("smoke")
    config.stage = "ttl_jax.losses"
    with pytest.raises(ValueError, match="losses.py has no function make_stage"):
        make_stage(config)


@pytest.mark.parametrize("stage", ["", "stage", ".x", "a b"])
def test_a_stage_that_is_no_module_is_named(stage):
    config = recog.get_config("smoke")
    config.stage = stage
    with pytest.raises(ValueError, match=f"config.stage='{stage}' names no module"):
        make_stage(config)


@pytest.mark.parametrize("name", ["recog", "recon", "distill", "derain", "adapt"])
def test_a_dataset_that_the_stage_does_not_read_is_named(name):
    config = CONFIGS[name].get_config("smoke")
    reads = config.dataset
    config.dataset = "unpaired" if name != "adapt" else "pairs"
    fault = f"dataset='{config.dataset}': stage '{name}' reads .*{reads}"
    with pytest.raises(ValueError, match=fault):
        make_stage(config)


def test_recognition_of_more_than_one_class_names_the_other_task():
    config = recog.get_config("smoke")
    config.num_classes = 13
    with pytest.raises(ValueError, match="num_classes=13; this task has 1.*degradat"):
        make_stage(config)


@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf, 0.0])
def test_weights_of_terms_that_cannot_be_summed_are_named(value):
    config = CONFIGS["distill"].get_config("smoke")
    config.teachers = ("recog",)
    config.term_weights.update(direct_recog=value, indirect_recog=0.0)
    with pytest.raises(ValueError, match=f"config.term_weights: .*: {value}.* must be"):
        make_stage(config)


@pytest.mark.parametrize("name", ["recog", "recon", "derain", "adapt"])
def test_loss_reaches_every_leaf_of_every_trained_module(name, key):
    config = CONFIGS[name].get_config("smoke")
    assert_reaches(gradients(config, key), make_stage(config).trainable)


def assert_reaches(grads, modules):
    for module in modules:
        for leaf, grad in grads[module].items():
            if leaf.startswith("spp.branches"):
                continue  # one channel behind a ReLU, which may be off as a whole
            assert np.abs(grad).max() > 0, f"{module}/{leaf}"


def distillation_with_projections():
    config = distill.get_config("smoke")
    config.projections = True
    return config


@functools.cache
def gradients_of_distillation():
    """Gradients of each term of the distillation, as if every module were trained."""
    config = distillation_with_projections()
    stage, batch = make_stage(config), batch_for(config)
    graphs, params = random_params(stage)

    def terms(params):
        return apply(stage.loss_fn, params, graphs, batch, jax.random.key(0))[1]

    return jax.jit(jax.jacrev(terms))(params)


def test_distillation_reaches_the_student_and_no_encoder_of_a_teacher():
    grads = jax.tree.map(
        lambda *parts: sum(parts), *gradients_of_distillation().values()
    )
    trainable = make_stage(distillation_with_projections()).trainable
    assert trainable == ("encoder", "recog_projection", "recon_projection")
    assert_reaches(grads, trainable)
    for name in ("recog_encoder", "recon_encoder"):
        assert norm_of(grads[name]) == 0


def test_indirect_terms_alone_train_the_student():
    # The decoders that Eq. 4 passes through are not trained.
    assert make_stage(distill.get_config("smoke")).trainable == ("encoder",)
    for teacher in ("recog", "recon"):
        grads = gradients_of_distillation()[f"indirect_{teacher}"]
        assert norm_of(grads["encoder"]) > 0


def test_direct_terms_alone_leave_the_decoders_out():
    for teacher in ("recog", "recon"):
        grads = gradients_of_distillation()[f"direct_{teacher}"]
        assert norm_of(grads["recog_decoder"]) == norm_of(grads["recon_decoder"]) == 0


def test_standardized_features_count_in_deviations_of_the_teacher(key):
    """Eq. 3 then does not depend on the scale of a teacher's and the student's channels."""
    config = distill.get_config("smoke")
    config.update(teachers=("recog",), projections=True, standardize=True)
    batch = batch_for(config)
    graphs, params = random_params(make_stage(config))

    def make_direct(stage):
        def direct(scale):
            # The final norm's scale and the projection scale all features, by channel.
            scaled = jax.tree.map(lambda leaf: leaf, params)
            for module, ends in (
                ("recog_encoder", ("final_norm.scale", "final_norm.bias")),
                ("recog_projection", ("kernel", "bias")),
            ):
                for leaf, value in params[module].items():
                    if leaf.endswith(ends):
                        scaled[module][leaf] = value * scale
            return apply(stage.loss_fn, scaled, graphs, batch, key)[1]["direct_recog"]

        return jax.jit(direct)

    direct = make_direct(make_stage(config))
    assert direct(1.0) > 0.1
    np.testing.assert_allclose(direct(5.0), direct(1.0), rtol=1e-3)
    config.standardize = False
    direct = make_direct(make_stage(config))
    assert direct(5.0) > 10 * direct(1.0)


def test_a_teacher_is_left_out_with_its_probability_and_never_all():
    teachers, kept = ("recog", "recon"), []
    for seed in range(400):
        weights = distill_stage._keep_teachers(teachers, 0.25, jax.random.key(seed))
        kept.append([float(weights[name]) for name in teachers])
    kept = np.array(kept)
    assert set(np.unique(kept)) == {0.0, 1.0} and kept.max(axis=1).min() == 1
    # Left out alone: 0.25 * 0.75; within five standard deviations of 400 draws.
    np.testing.assert_allclose(1 - kept.mean(axis=0), 0.1875, atol=0.1)


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
        name: Origin("shipped", name, "") for name in ("encoder", "decoder")
    }


@pytest.mark.parametrize(
    "changes",
    [{"student_run": "distill"}, {"from_student": False}, {"teachers": ("recog",)}],
)
def test_two_origins_of_the_same_weights_are_rejected(changes):
    config = derain.get_config("smoke")
    config.update({"start_from": "shipped"} | changes)
    with pytest.raises(ValueError, match="start_from='shipped' gives"):
        make_stage(config)


@pytest.mark.parametrize("changes", [{"student_run": "mine"}, {"teachers": ("recon",)}])
def test_random_weights_with_a_student_are_rejected(changes):
    config = derain.get_config("smoke")
    config.update({"from_student": False} | changes)
    with pytest.raises(ValueError, match="from_student=False starts from random"):
        make_stage(config)


def test_a_single_teacher_cannot_be_left_out():
    config = distill.get_config("smoke")
    config.update({"teachers": ("recog",), "teacher_dropout": 0.25})
    with pytest.raises(ValueError, match=r"teacher_dropout=0.25 .*\('recog',\); use 0"):
        make_stage(config)


@pytest.mark.parametrize(
    ("name", "field", "value"),
    [
        ("recog", "masked_share", 1.5),
        ("recon", "masked_share", -0.3),
        ("recon", "gradient_weight", -1.0),
        ("distill", "masked_share", 1.5),
        ("distill", "teacher_dropout", 1.5),
        ("derain", "gradient_weight", float("nan")),
        ("adapt", "gradient_weight", -1.0),
        ("adapt", "clean_weight", float("inf")),
        ("degradations", "masked_share", 1.5),
    ],
)
def test_a_number_out_of_range_is_named(name, field, value):
    config = CONFIGS[name].get_config("smoke")
    config[field] = value
    with pytest.raises(ValueError, match=f"^config.{field}={value} "):
        make_stage(config)


def test_unknown_teacher_is_rejected():
    config = distill.get_config("smoke")
    config.teachers = ("recog", "rain")
    with pytest.raises(ValueError, match="name one or both"):
        make_stage(config)


@pytest.mark.parametrize(
    ("changes", "has_floor"),
    [
        ({}, True),
        ({"projections": True}, False),
        ({"feature_loss": "l1"}, False),
    ],
)
def test_floor_is_reported_only_where_it_holds(changes, has_floor, key):
    config = distill.get_config("smoke")
    config.update(changes)
    stage = make_stage(config)

    graphs, params = random_params(stage)

    def evaluate(params, image):
        return apply(stage.eval_fn, params, graphs, {"image": image}, key)

    image = jax.ShapeDtypeStruct((2, 8, 8, 3), "float32")
    scalars = jax.eval_shape(evaluate, params, image)
    assert ("direct_floor" in scalars) == has_floor


@pytest.mark.parametrize(("name", "first"), [("derain", "rainy"), ("recon", "blurred")])
def test_images_shown_are_those_that_are_scored(name, first, key):
    config = CONFIGS[name].get_config("smoke")
    stage, batch = make_stage(config), batch_for(config)
    graphs, params = random_params(stage)

    @jax.jit
    def evaluate(params):
        return [
            apply(function, params, graphs, batch, key)
            for function in (stage.eval_fn, stage.images_fn)
        ]

    scores, images = evaluate(params)
    assert set(images) == {first, "restored", "clean"}
    for image, score in ((first, "psnr_input"), ("restored", "psnr")):
        shown, clean = np.clip(images[image], 0, 1), images["clean"]
        psnr = image_quality.psnr(np.asarray(shown), np.asarray(clean), "y_uint8")
        np.testing.assert_allclose(scores[score], psnr, rtol=1e-4)


def test_distillation_weights_its_terms_and_reports_them_beside_their_floor(key):
    config = distill.get_config("smoke")
    config.term_weights.update(direct_recog=0.0, direct_recon=0.5, indirect_recog=3.0)
    stage, batch = make_stage(config), batch_for(config)
    graphs, params = random_params(stage)

    @jax.jit
    def compute(params):
        return [
            apply(function, params, graphs, batch, key)
            for function in (stage.eval_fn, stage.loss_fn)
        ]

    scalars, (loss, terms) = compute(params)
    expected = sum(config.term_weights[name] * term for name, term in terms.items())
    np.testing.assert_allclose(loss, expected, rtol=1e-5)
    for name, term in terms.items():
        np.testing.assert_allclose(scalars[name].mean(), term, rtol=1e-4)
    np.testing.assert_allclose(scalars["loss"].mean(), loss, rtol=1e-4)
    direct = scalars["direct_recog"] + scalars["direct_recon"]
    assert np.all(direct >= scalars["direct_floor"])


def test_a_dependency_that_a_stage_lacks_is_not_taken_for_the_stage(
    tmp_path, monkeypatch
):
    """The name of the stage's package begins with that of the missing module."""
    (tmp_path / "torchlab").mkdir()
    (tmp_path / "torchlab" / "own.py").write_text("import torchla")
    monkeypatch.syspath_prepend(tmp_path)
    config = recog.get_config("smoke")
    config.stage = "torchlab.own"
    with pytest.raises(ModuleNotFoundError, match="'torchla'"):
        make_stage(config)
