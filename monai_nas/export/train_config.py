"""configs/train.json: standard MONAI training."""

import math
from typing import Any

from monai_nas.data.transforms import augmentation, class_indices, preprocessing
from monai_nas.export.finished_run import FinishedRun
from monai_nas.export.inference_config import AMP, DEVICE, compose, load_weights, sliding_window
from monai_nas.plans.plan import Plan

MAX_EPOCHS = 300
VAL_INTERVAL = 5  # epochs
CACHE_SHARE = 0.25  # of the plan's memory for preprocessed cases; feature maps may take half of it (plans/rules.py)
SEED_EVERYTHING = "$monai.utils.set_determinism(seed=@seed)"
IMPORTS = [
    "$import pathlib",
    "$from monai_nas.data.spacing import warn_of_other_spacing",
    "$from monai_nas.data.spacing import warn_of_published_plan",
    "$from monai_nas.tasks.splits import make_folds",
    "$from monai_nas.tasks.splits import training_cases",
]
MEAN_DICE = {
    "_target_": "monai.handlers.MeanDice",
    "include_background": False,
    "output_transform": "$monai.handlers.from_engine(['pred', 'label'])",
}


def train_config(run: FinishedRun) -> dict[str, Any]:
    """Return the training workflow; the best validated weights go to ckpt_dir/model.pt, never over the shipped ones."""
    return {
        "imports": IMPORTS,
        "bundle_root": ".",
        "dataset_dir": "$@bundle_root + '/data'",
        "output_dir": "$@bundle_root + '/eval'",
        "ckpt_dir": "$@bundle_root + '/runs/train'",
        "ckpt_path": "$@bundle_root + '/models/model.pt'",
        "load_pretrain": False,
        "device": DEVICE,
        "amp": AMP,
        "seed": run.facts.get("seed", 0),
        "fold_seed": run.fold_seed,
        "fold": run.facts.get("fold") or 0,
        "max_epochs": MAX_EPOCHS,
        "val_interval": VAL_INTERVAL,
        "cache_rate": cache_rate(run.plan),
        "planned_cases": run.plan.fingerprint.num_cases,
        "planned_spacing_mm": list(run.plan.fingerprint.median_spacing_mm),
        "learning_rate": 0.001,
        "cases": "$training_cases(pathlib.Path(@dataset_dir))",
        "folds": "$make_folds([case.name for case in @cases], @fold_seed)",
        "network_def": dict(run.network_def),
        "network": "$@network_def.to(@device)",
        "loss": {"_target_": "monai.losses.DiceCELoss", "to_onehot_y": True, "softmax": True},
        "optimizer": {
            "_target_": "torch.optim.AdamW",
            "params": "$@network.parameters()",
            "lr": "@learning_rate",
            "weight_decay": 0.0001,
        },
        "lr_scheduler": {
            "_target_": "torch.optim.lr_scheduler.PolynomialLR",
            "optimizer": "@optimizer",
            "total_iters": "@max_epochs",
            "power": 0.9,
        },
        "train": _train_section(run),
        "validate": _validate_section(run),
        "initialize": [SEED_EVERYTHING],
        "run": [
            "$warn_of_published_plan(@planned_cases)",
            "$warn_of_other_spacing(@train::dataset::data, @planned_spacing_mm)",
            "$@train::trainer.run()",
        ],
    }


def _train_section(run: FinishedRun) -> dict[str, Any]:
    task, plan = run.plan.task, run.plan
    transforms = [
        *preprocessing(task, plan, ("image", "label")),
        *class_indices(task),
        *augmentation(task, plan),
    ]
    return {
        "preprocessing": compose(transforms),
        "dataset": {
            "_target_": "monai.data.CacheDataset",
            "data": pairs("not in"),
            "transform": "@train::preprocessing",
            "cache_rate": "@cache_rate",
            "num_workers": 1,
            "progress": False,
        },
        "dataloader": {
            "_target_": "monai.data.DataLoader",
            "dataset": "@train::dataset",
            "batch_size": plan.batch_size,
            "shuffle": True,
            "num_workers": 0,
        },
        "inferer": {"_target_": "monai.inferers.SimpleInferer"},
        "postprocessing": compose(_one_hot(run)),
        "key_metric": {"train_mean_dice": MEAN_DICE},
        "handlers": [
            {**load_weights("@ckpt_path"), "_disabled_": "$not @load_pretrain"},
            {"_target_": "monai.handlers.LrScheduleHandler", "lr_scheduler": "@lr_scheduler", "print_lr": False},
            {
                "_target_": "monai.handlers.ValidationHandler",
                "validator": "@validate::evaluator",
                "epoch_level": True,
                "interval": "@val_interval",
            },
            {
                "_target_": "monai.handlers.StatsHandler",
                "tag_name": "train_loss",
                "output_transform": "$monai.handlers.from_engine(['loss'], first=True)",
            },
            {
                "_target_": "monai.handlers.TensorBoardStatsHandler",
                "log_dir": "@output_dir",
                "tag_name": "train_loss",
                "output_transform": "$monai.handlers.from_engine(['loss'], first=True)",
            },
        ],
        "trainer": {
            "_target_": "monai.engines.SupervisedTrainer",
            "max_epochs": "@max_epochs",
            "device": "@device",
            "train_data_loader": "@train::dataloader",
            "network": "@network",
            "loss_function": "@loss",
            "optimizer": "@optimizer",
            "inferer": "@train::inferer",
            "postprocessing": "@train::postprocessing",
            "key_train_metric": "@train::key_metric",
            "train_handlers": "@train::handlers",
            "amp": "@amp",
        },
    }


def _validate_section(run: FinishedRun) -> dict[str, Any]:
    return {
        "preprocessing": compose(preprocessing(run.plan.task, run.plan, ("image", "label"))),
        "dataset": {
            "_target_": "monai.data.CacheDataset",
            "data": pairs("in"),
            "transform": "@validate::preprocessing",
            "cache_rate": "@cache_rate",
            "num_workers": 1,
            "progress": False,
        },
        "dataloader": {
            "_target_": "monai.data.DataLoader",
            "dataset": "@validate::dataset",
            "batch_size": 1,
            "shuffle": False,
            "num_workers": 0,
        },
        "inferer": sliding_window(run),
        "postprocessing": compose(_one_hot(run)),
        "key_metric": {"val_mean_dice": MEAN_DICE},
        "handlers": [
            {"_target_": "monai.handlers.StatsHandler", "iteration_log": False},
            {"_target_": "monai.handlers.TensorBoardStatsHandler", "log_dir": "@output_dir", "iteration_log": False},
            {
                "_target_": "monai.handlers.CheckpointSaver",
                "save_dir": "@ckpt_dir",
                "save_dict": {"model": "@network"},
                "save_key_metric": True,
                "key_metric_filename": "model.pt",
            },
        ],
        "evaluator": {
            "_target_": "monai.engines.SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@validate::dataloader",
            "network": "@network",
            "inferer": "@validate::inferer",
            "postprocessing": "@validate::postprocessing",
            "key_val_metric": "@validate::key_metric",
            "val_handlers": "@validate::handlers",
            "amp": "@amp",
        },
    }


def cache_rate(plan: Plan) -> float:
    """Return the share of the preprocessed cases that fits into ``CACHE_SHARE`` of the plan's memory."""
    found = plan.fingerprint
    sizes = zip(found.median_shape, found.median_spacing_mm, plan.spacing_mm, strict=True)
    voxels = math.prod(length * spacing / target for length, spacing, target in sizes)
    case_bytes = voxels * (4 * plan.task.in_channels + 1)  # float32 images, uint8 labels
    num_cases = found.num_cases or plan.task.num_training
    return min(1.0, math.floor(100 * CACHE_SHARE * plan.memory_bytes / (case_bytes * num_cases)) / 100)


def pairs(relation: str) -> str:
    """Return the expression that lists the labelled cases ``relation`` ("in", "not in") the withheld fold."""
    return (
        "$[{'image': str(case.image), 'label': str(case.label)} for case in @cases"
        f" if case.name {relation} @folds[@fold]]"
    )


def _one_hot(run: FinishedRun) -> list[dict[str, Any]]:
    """Return the transforms of logits and labels into one channel per class, which the metrics compare."""
    classes = run.plan.task.num_classes
    return [
        {"_target_": "monai.transforms.AsDiscreted", "keys": ["pred"], "argmax": True, "to_onehot": classes},
        {"_target_": "monai.transforms.AsDiscreted", "keys": ["label"], "to_onehot": classes},
    ]
