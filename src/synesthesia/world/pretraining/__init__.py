"""How the miniature models were made: `make pretrain` (minutes on a GPU, hours on a CPU).

1. `questions`: a shared miniature Qwen2 learns the ten-option question on text alone (match words to an option).
2. `perceive`: clips of other seeds than any study's are rendered, coded, decoded and turned into the models' inputs.
3. Each encoder learns to tell all kinds apart (stands for broad pretraining).
4. Projector and language model learn to name everything that is heard or seen.
5. `unlearn`: some labels are partly unlearnt, others for each sense, until the original models' accuracies on clips of
   a further seed are near the paper's. What distillation later yields has no part in this.
6. `pann`: the switch's network learns to tag sounds that are not among the study's labels.
"""
