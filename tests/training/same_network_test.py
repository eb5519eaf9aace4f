"""Weights fit the network that they were trained in, or one with other sums."""

import types

import pytest

from ttl_jax.training import origins

SAVED = {
    "factory": "make_encoder",
    "width": 48,
    "global_branch": "channel",
    "alpha_init": 1.0,
}


def check(saved, wanted, *, is_trained=True):
    stage = types.SimpleNamespace(
        describe_module=lambda name: wanted,
        init_from={"encoder": origins.Origin("x", "encoder", "")},
        run="y",
        trainable=("encoder",) if is_trained else (),
    )
    loaded = origins.Loaded({}, saved, {"run": "x", "module": "encoder"})
    origins.check_fits(loaded, stage, "encoder", {})


def test_a_trained_module_may_take_other_sums_and_says_so(caplog):
    check(SAVED, SAVED | {"attention_cell": 64, "attention_radius": 1})
    assert "trained further: attention_cell was None, is 64" in caplog.text


def test_a_frozen_module_keeps_its_sums():
    wanted = SAVED | {"attention_cell": 64, "attention_radius": 1}
    with pytest.raises(ValueError, match="attention_cell was None, is 64"):
        check(SAVED, wanted, is_trained=False)


@pytest.mark.parametrize(
    ("saved", "wanted"),
    [
        # Older descriptions know no sums: they run over the image.
        (SAVED, SAVED | {"attention_cell": 0, "attention_radius": 1}),
        # Attention within windows has none.
        (
            SAVED | {"global_branch": "window"},
            SAVED | {"global_branch": "window", "attention_cell": 64},
        ),
        (SAVED, SAVED | {"remat": True, "alpha_init": 0.5}),
    ],
)
def test_fields_without_effect_may_differ(saved, wanted, caplog):
    check(saved, wanted, is_trained=False)
    assert not caplog.text


def test_any_other_field_is_rejected_by_name():
    wanted = SAVED | {"global_branch": "window", "attention_cell": 64}
    with pytest.raises(ValueError, match="global_branch was 'channel', is 'window'"):
        check(SAVED, wanted)
