"""How the miniature models were made: `make pretrain` (minutes on a GPU, hours on a CPU).

1. `questions`: a shared miniature Qwen2 learns the ten-option question on text alone (match words to an option).
2. `perceive`: clips of other seeds than any study's are rendered, coded, decoded and turned into the models' inputs.
3. Each encoder learns to tell all kinds apart (stands for broad pretraining).
4. Projector and language model learn to name everything that is heard or seen.
5. `unlearn`: some labels are partly unlearnt, others for each sense, until the original models' accuracies on clips of
   a further seed are near the paper's. What distillation later yields has no part in this.
6. `pann`: the switch's network learns to tag sounds that are not among the study's labels.

The weights that come with the repository were made in two parts. On two H200 GPUs, 444 s: all but the unlearning
(`--clips 230 --coded 0.7 --workers 26 --naming 5000`). On two CPU cores, minutes: the unlearning, with 40 training
clips a kind (`clips --clips 40 --held 20`, then `forget --batch 64 --only qwen2-audio`, and for qwen2-vl with
`--forgetting-rate 2e-4`). The clock ends some steps, so a repetition gives models of the same kind, not the same bytes.
On the judging seed they then were right in 77.5 % (audio) and 87.7 % (visual), and 95.8 % (audio-visual, which unlearns
nothing).
"""
