"""Stage 1: distinguish rainy from rain-free photographs (Eq. 1)."""

from ttl_jax import losses
from ttl_jax.metrics import classification
from ttl_jax.stages import networks
from ttl_jax.stages.stage import Stage, check_dataset, check_shares

# In a couple, the rainy row is even and the clean row odd.
_SUMMARIES = {
    "auc": lambda m: classification.roc_auc(m["score"], m["label"]),
    "paired_accuracy": lambda m: classification.paired_accuracy(
        m["score"][0::2], m["score"][1::2]
    ),
    "score_rainy": lambda m: m["score"][m["label"] == 1].mean(),
    "score_clean": lambda m: m["score"][m["label"] == 0].mean(),
}


def make_stage(config) -> Stage:
    """Returns the recognition task: E_recog and D_recog from random weights.

    Batches consist of couples of a rainy and a rain-free photograph, in rows 2k and 2k + 1
    of a whole batch, as in evaluation. (Micro-batches separate them.)
    """
    check_dataset(config, "couples")
    if config.num_classes != 1:
        raise ValueError(
            f"config.num_classes={config.num_classes}; this task has 1. For 13, use "
            "--config=configs/degradations.py."
        )
    if config.recognition_loss != "cross_entropy":
        losses.check_kind(config.recognition_loss, "config.recognition_loss")
    check_shares(config, "masked_share")
    threshold = 0.0 if config.recognition_loss == "cross_entropy" else 0.5

    def loss_fn(modules, batch, key):
        image = networks.mask_patches(batch["image"], config.masked_share, key)
        scores = modules["decoder"](modules["encoder"](image))
        loss = losses.recognition(scores, batch["label"], config.recognition_loss)
        correct = (scores > threshold) == (batch["label"] == 1)
        return loss, {"accuracy": correct.mean()}

    def eval_fn(modules, batch, key):
        del key
        scores = modules["decoder"](modules["encoder"](batch["image"]))
        return {"score": scores, "label": batch["label"]}

    return Stage(
        run="recog",
        modules=networks.recognizer(config),
        trainable=("encoder", "decoder"),
        learning_rates=dict.fromkeys(("encoder", "decoder"), config.learning_rate),
        loss_fn=loss_fn,
        eval_fn=eval_fn,
        summaries=_SUMMARIES,
        next_command=f"main --config=recon:{config.preset} --workdir={{workdir}}",
    )
