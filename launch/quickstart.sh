#!/usr/bin/env bash
# Creates the environment, trains all four stages on the sample photographs (source
# `sample`, with rendered rain), and restores and scores the held-out ones. This only
# demonstrates the whole chain: it uses few photographs and takes minutes on two cores.
# Started again, it resumes.
#
#   bash launch/quickstart.sh
set -euo pipefail
cd "$(dirname "$0")/.."
source launch/environment.sh
make_environment

# Four blocks instead of nine compile and train in half the time. The first three stages get
# few updates, so that most of the time is left for rain removal.
python -m ttl_jax.main --config=configs/four_stages.py:tiny --workdir=runs/quickstart \
  --config.recog.num_steps=60 \
  --config.recon.num_steps=60 \
  --config.distill.num_steps=60 \
  --config.derain.num_steps=1200 \
  --config.encoder.num_blocks=4 \
  --config.crop_size=48 \
  --config.color_jitter=True \
  --config.ema_decay=0.99 \
  --config.derain.eval_pairs="()" \
  --config.eval_every=1000 \
  --config.checkpoint_every=50
python -m ttl_jax.evaluate --checkpoint runs/quickstart/derain --data sample/test \
  --output runs/quickstart --sheets 4
echo "Scores: runs/quickstart/scores.json; before/after pictures: runs/quickstart/sheets"
echo "Your own photograph: python -m ttl_jax.derain PHOTO --output restored --checkpoint runs/quickstart/derain"
