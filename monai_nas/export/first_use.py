"""The part of the model card that tells how to train a bundle that has no weights, and what it needs."""

from monai_nas.export.finished_run import FinishedRun
from monai_nas.export.metadata import data_source, is_decathlon
from monai_nas.export.train_config import MAX_EPOCHS

FIRST_USE = """\
### First use

This bundle has no weights yet. Training it needs
{data},
the memory that it was planned for, {memory:.0f} GB (main memory, or a GPU's), and time. A GPU is not required; how long
the {epochs} epochs of the configuration take was not measured, with or without one; `--max_epochs N` shortens them.

{plan}In the bundle's folder, train it; the best validated weights go where inference looks for them:

```
python -m monai.bundle run --config_file configs/train.json --dataset_dir DIR --ckpt_dir models
```

### Every use

"""
NEW_PLAN = """\
The plan rests on published figures. Before anything else make it anew from the data, `--memory` being what your machine
has, and with it the bundle, in the folder above the bundle's:

```
monai-nas plan --data DIR --out plan.json --memory {memory:.0f}GB
monai-nas bundle --task {task} --plan plan.json --architecture {name}/configs/inference.json --out {name}
```

"""


def first_use(run: FinishedRun, name: str) -> str:
    """Return what to do with the bundle called ``name`` before its first inference; nothing where it has weights."""
    if run.weights is not None:
        return ""
    task, plan = run.plan.task, run.plan
    known, memory = is_decathlon(task), plan.memory_bytes / 1024**3
    anew = NEW_PLAN.format(memory=memory, task=task.name if known else "DIR/dataset.json", name=name)
    return FIRST_USE.format(
        data=f"the {task.num_training} labelled cases of {data_source(task)}",
        memory=memory,
        epochs=MAX_EPOCHS,
        plan="" if plan.fingerprint.num_cases else anew,
    )
