"""configs/evaluate.json and configs/multi_gpu_train.json, which are laid over configs/train.json."""

from typing import Any

from monai_nas.data.transforms import postprocessing, preprocessing
from monai_nas.export.finished_run import FinishedRun
from monai_nas.export.inference_config import MISSING_WEIGHTS, REQUIRE_WEIGHTS, compose, load_weights
from monai_nas.export.train_config import IMPORTS, pairs

# Each process keeps cases of its own; what the plan's memory allows is that of all processes of a machine.
CACHE_RATE_OF_A_PROCESS = "$@cache_rate / int(os.environ.get('LOCAL_WORLD_SIZE', 1))"


def evaluate_config(run: FinishedRun) -> dict[str, Any]:
    """Return what turns training into scoring of models/model.pt on the withheld fold, on the labels' original grid."""
    task, plan = run.plan.task, run.plan
    inverse = [
        {**step, "transform": "@validate::preprocessing"} if "transform" in step else step
        for step in postprocessing(task, plan, "@output_dir")
    ]
    one_hot = {"_target_": "monai.transforms.AsDiscreted", "keys": ["pred", "label"], "to_onehot": task.num_classes}
    read_label = {"_target_": "monai.transforms.LoadImaged", "keys": ["label"], "ensure_channel_first": True}
    return {
        "imports": ["$import os", "$import sys", *IMPORTS],
        "missing_weights": MISSING_WEIGHTS,
        "validate::preprocessing": compose([*preprocessing(task, plan, ("image",)), read_label]),
        "validate::dataset": {
            "_target_": "monai.data.Dataset",
            "data": pairs("in"),
            "transform": "@validate::preprocessing",
        },
        "validate::postprocessing": compose([*inverse, one_hot]),
        "validate::handlers": [
            load_weights("@ckpt_path"),
            {"_target_": "monai.handlers.StatsHandler", "iteration_log": False},
            {
                "_target_": "monai.handlers.MetricsSaver",
                "save_dir": "@output_dir",
                "metrics": ["val_mean_dice"],
                "metric_details": ["val_mean_dice"],
                "batch_transform": "$lambda batch: [item['image'].meta for item in batch]",
                "summary_ops": "*",
            },
        ],
        "run": [REQUIRE_WEIGHTS, "$@validate::evaluator.run()"],
    }


def multi_gpu_config() -> dict[str, Any]:
    """Return what spreads training over the processes of torchrun: NCCL with GPUs, Gloo on the CPU."""
    return {
        "imports": ["$import os", "$import torch.distributed as dist", *IMPORTS],
        "device": "$torch.device(f'cuda:{os.environ[\"LOCAL_RANK\"]}' if torch.cuda.is_available() else 'cpu')",
        "network": {
            "_target_": "torch.nn.parallel.DistributedDataParallel",
            "module": "$@network_def.to(@device)",
            "device_ids": "$[@device] if @device.type == 'cuda' else None",
            "find_unused_parameters": True,  # a cell may leave one of its two inputs unread
        },
        "train::dataset::cache_rate": CACHE_RATE_OF_A_PROCESS,
        "train::sampler": {
            "_target_": "monai.data.DistributedSampler",
            "dataset": "@train::dataset",
            "even_divisible": True,
            "shuffle": True,
        },
        "train::dataloader::sampler": "@train::sampler",
        "train::dataloader::shuffle": False,
        # only the first process writes logs; the schedule and the validation run in all
        "train::trainer::train_handlers": "$@train::handlers[:-2 if dist.get_rank() > 0 else None]",
        "validate::dataset::cache_rate": CACHE_RATE_OF_A_PROCESS,
        "validate::sampler": {
            "_target_": "monai.data.DistributedSampler",
            "dataset": "@validate::dataset",
            "even_divisible": False,
            "shuffle": False,
        },
        "validate::dataloader::sampler": "@validate::sampler",
        "validate::evaluator::val_handlers": "$None if dist.get_rank() > 0 else @validate::handlers",
        "initialize": [
            "$dist.init_process_group(backend='nccl' if torch.cuda.is_available() else 'gloo')",
            "$torch.cuda.is_available() and torch.cuda.set_device(@device)",
            "$monai.utils.set_determinism(seed=@seed + dist.get_rank())",  # or all would augment alike
        ],
        # A process whose interpreter ends while a thread of Gloo's still lets go of the tensors gathered last is
        # aborted: the thread wants the interpreter's lock. The barrier has no tensors, and frees the lock.
        "finalize": ["$dist.barrier()", "$dist.destroy_process_group()"],
    }
