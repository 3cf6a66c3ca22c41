"""Networks made by hand go the same way as searched ones: two steps of training on phantoms, then a bundle."""

import dataclasses
from pathlib import Path

import pytest
import torch

from monai_nas.compute import choose_compute
from monai_nas.export import write_bundle
from monai_nas.files import read_json
from monai_nas.inference import BundlePredictor
from monai_nas.networks import load_architecture
from monai_nas.pipelines.train import train
from monai_nas.plans.fingerprint import measure_fingerprint
from monai_nas.plans.plan import make_plan
from monai_nas.tasks.splits import training_cases
from monai_nas.tasks.task import load_task


@pytest.mark.parametrize(("name", "paper"), [("res_unet", "Attention U-Net"), ("dynunet", "nnU-Net")])
def test_training_and_bundle(name: str, paper: str, phantoms: Path, tmp_path: Path) -> None:
    task = load_task(None, phantoms)
    plan = make_plan(task, measure_fingerprint(training_cases(phantoms), task))
    strides = ((2, 2, 2), (1, 2, 2))
    plan = dataclasses.replace(plan, width=4, patch_size=(12, 12, 12), strides=strides, batch_size=4)
    compute = choose_compute(low_precision=False, device="cpu")
    train(
        phantoms,
        tmp_path / "run",
        task=task,
        architecture=load_architecture(name),
        plan=plan,
        init=None,
        fold=0,
        seed=0,
        minutes=None,
        epochs=1,
        compute=compute,
    )
    assert read_json(tmp_path / "run" / "run.json")["steps"] == 2
    assert read_json(tmp_path / "run" / "architecture.json")["space"] == name

    bundle = tmp_path / "bundle"
    write_bundle(tmp_path / "run", bundle)
    network = BundlePredictor(bundle, compute=compute).network
    image = torch.randn(1, 1, 12, 12, 12, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        scripted = torch.jit.load(str(bundle / "models" / "model.ts")).eval()
        torch.testing.assert_close(scripted(image), network(image), rtol=1e-4, atol=1e-4)
    card = (bundle / "docs" / "README.md").read_text()
    assert f"made by hand ({name})" in card and paper in card
    assert f"{sum(weight.numel() for weight in network.parameters()):,} parameters" in card
    metadata = read_json(bundle / "configs" / "metadata.json")
    assert f"made by hand ({name})" in metadata["description"]
    assert "neural architecture search" not in card.partition("## Data")[0] + metadata["description"]
