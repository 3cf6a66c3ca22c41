"""configs/inference.json: from scans to label maps with ``monai.*`` classes only, but for the network."""

from typing import Any

from monai_nas.data.transforms import postprocessing, preprocessing
from monai_nas.export.finished_run import FinishedRun
from monai_nas.tasks.splits import IMAGE_ENDINGS

DEVICE = "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')"
AMP = "$torch.cuda.is_available()"
PATCHES_AT_ONCE = "$4 if @device.type == 'cuda' else 1"  # as of monai_nas.inference.predictor
OVERLAP = 0.5  # likewise
GPU_VOXELS = 50_000_000  # of volumes whose sums are held on a GPU; larger ones go to main memory, patch by patch

# A run without weights ends here, in one line. CheckpointLoader alone would also stop it, but with a long traceback.
REQUIRE_WEIGHTS = "$os.path.isfile(@ckpt_path) or sys.exit('error: ' + @ckpt_path + @missing_weights)"
MISSING_WEIGHTS = (
    ": no such file: train it with `python -m monai.bundle run --config_file configs/train.json --dataset_dir DIR"
    " --ckpt_dir models` in the bundle's folder, or from another folder pass --bundle_root"
)
# An asterisk leaves hidden files out. MONAI would end an inference of no image as if all were done.
IMAGES = f"$sorted(p for p in glob.glob(glob.escape(@images_dir) + '/*') if p.lower().endswith({IMAGE_ENDINGS}))"
REQUIRE_IMAGES = "$len(@datalist) > 0 or sys.exit('error: ' + @images_dir + @missing_images)"
MISSING_IMAGES = (
    f": no image ({', '.join(IMAGE_ENDINGS)}): put scans there, or name the folder above imagesTs with --dataset_dir"
)


def inference_config(run: FinishedRun) -> dict[str, Any]:
    """Return the inference workflow: every image in imagesTs under dataset_dir becomes a label map in output_dir.

    Images are .nii.gz, .nii, .nrrd or .mha; label maps are .nii.gz.
    """
    return {
        "imports": ["$import glob", "$import os", "$import sys"],
        "bundle_root": ".",
        "dataset_dir": "$@bundle_root + '/data'",
        "output_dir": "$@bundle_root + '/eval'",
        "ckpt_path": "$@bundle_root + '/models/model.pt'",
        "missing_weights": MISSING_WEIGHTS,
        "images_dir": "$os.path.join(@dataset_dir, 'imagesTs')",
        "missing_images": MISSING_IMAGES,
        "device": DEVICE,
        "amp": AMP,
        "datalist": IMAGES,
        "network_def": dict(run.network_def),
        "network": "$@network_def.to(@device)",
        "preprocessing": compose(preprocessing(run.plan.task, run.plan, ("image",))),
        "dataset": {
            "_target_": "monai.data.Dataset",
            "data": "$[{'image': path} for path in @datalist]",
            "transform": "@preprocessing",
        },
        "dataloader": {
            "_target_": "monai.data.DataLoader",
            "dataset": "@dataset",
            "batch_size": 1,
            "shuffle": False,
            "num_workers": 0,
        },
        "inferer": sliding_window(run),
        "postprocessing": compose(postprocessing(run.plan.task, run.plan, "@output_dir")),
        "handlers": [
            load_weights("@ckpt_path"),
            {"_target_": "monai.handlers.StatsHandler", "iteration_log": False},
        ],
        "evaluator": {
            "_target_": "monai.engines.SupervisedEvaluator",
            "device": "@device",
            "val_data_loader": "@dataloader",
            "network": "@network",
            "inferer": "@inferer",
            "postprocessing": "@postprocessing",
            "val_handlers": "@handlers",
            "amp": "@amp",
        },
        "run": [REQUIRE_WEIGHTS, REQUIRE_IMAGES, "$@evaluator.run()"],
    }


def compose(transforms: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the configuration of a chain of transforms."""
    return {"_target_": "monai.transforms.Compose", "transforms": transforms}


def sliding_window(run: FinishedRun) -> dict[str, Any]:
    """Return the configuration of the inferer over whole volumes."""
    return {
        "_target_": "monai.inferers.SlidingWindowInferer",
        "roi_size": list(run.plan.patch_size),
        "sw_batch_size": PATCHES_AT_ONCE,
        "overlap": OVERLAP,
        "mode": "gaussian",
        "cpu_thresh": GPU_VOXELS,
    }


def load_weights(path: str) -> dict[str, Any]:
    """Return the handler that loads the weights when its engine starts, and raises where they are missing."""
    return {
        "_target_": "monai.handlers.CheckpointLoader",
        "load_path": path,
        "load_dict": {"model": "@network"},
        "map_location": "@device",
    }
