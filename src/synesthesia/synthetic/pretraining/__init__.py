"""Pretraining of the tiny models: `synesthesia pretrain` or `make pretrain` (minutes on a GPU, hours on a CPU).

1. `shared_lm`: a shared tiny Qwen2 learns the ten-option question on text alone (match a name to an option).
2. `model_inputs`: clips of seeds that no study uses are rendered, encoded, decoded and turned into model inputs.
3. `training.pretrain_encoder`: each encoder learns to classify all classes (stands for broad pretraining).
4. `training.train`: projector and language model learn to name every class.
5. `unlearn`: each model unlearns some labels, different ones per modality, until the accuracies of the original models
   on clips of another seed are near the paper's. Results of the distillation play no part in this.
6. `pann`: the switch's network learns to tag sounds that are not among the study's labels.

The weights in the repository come from two runs. On two H200 GPUs, 444 s: all but the unlearning
(`--clips 230 --codec-fraction 0.7 --workers 26 --naming-steps 5000`). On two CPU cores, minutes: the unlearning with
40 training clips per class (`clips --clips 40 --eval-clips 20`, then `unlearn --batch-size 64 --only qwen2-audio`, and
qwen2-vl with `--unlearning-lr 2e-4`). Time limits end some steps, so another run gives models of the same kind, not
the same bytes. On the evaluation seed their accuracies were 77.5 % (audio), 87.7 % (visual) and 95.8 % (audio-visual,
which unlearns nothing).
"""
