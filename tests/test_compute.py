"""One place decides how to compute."""

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch import nn

from monai_nas import compute as module
from monai_nas.compute import Compute, choose_compute, device_name
from monai_nas.errors import UserError

FLOAT32 = Compute(torch.device("cpu"), torch.float32, channels_last=True, workers=0)


@pytest.mark.parametrize("has_bfloat16", [False, True])
def test_cpu_uses_16_bits_only_where_the_processor_has_them(
    has_bfloat16: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_cpu_multiplies_bfloat16", lambda: has_bfloat16)
    chosen = choose_compute(device="cpu")
    assert chosen.dtype == (torch.bfloat16 if has_bfloat16 else torch.float32)
    assert chosen.low_precision == has_bfloat16 and not chosen.needs_loss_scaling and chosen.workers == 0
    assert choose_compute(low_precision=False, device="cpu").dtype == torch.float32


@pytest.mark.parametrize(("capability", "dtype"), [((8, 0), torch.bfloat16), ((7, 0), torch.float16)])
def test_gpu_formats(capability: tuple[int, int], dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    current: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: capability)
    monkeypatch.setattr(torch.cuda, "set_device", current.append)
    chosen = choose_compute(device="cuda:1")
    assert (chosen.device, chosen.dtype) == (torch.device("cuda:1"), dtype)
    assert chosen.needs_loss_scaling == (dtype == torch.float16)
    assert current == [chosen.device]
    assert choose_compute(low_precision=False, device="cuda").dtype == torch.float32


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCAL_RANK", "2")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(UserError, match=r"process 3 on a machine of 2 GPUs: .*--nproc_per_node=2"):
        choose_compute(device="cpu")
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert choose_compute(device="cpu").device == torch.device("cpu")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_autocast_runs_convolutions_in_the_format(dtype: torch.dtype) -> None:
    compute = Compute(torch.device("cpu"), dtype, channels_last=True, workers=0)
    with compute.autocast():
        assert nn.Conv2d(1, 1, 1)(torch.zeros(1, 1, 4, 4)).dtype == dtype


def test_place_gives_the_layout() -> None:
    volume, image = torch.zeros(2, 3, 4, 5, 6), torch.zeros(2, 3, 4, 5)
    assert FLOAT32.place(volume).is_contiguous(memory_format=torch.channels_last_3d)
    assert FLOAT32.place(image, 2).is_contiguous(memory_format=torch.channels_last)
    contiguous = Compute(torch.device("cpu"), torch.float32, channels_last=False, workers=0)
    assert contiguous.layout(3) == contiguous.layout(2) == torch.contiguous_format
    weight = FLOAT32.place(nn.Conv3d(2, 3, 3)).weight
    assert weight.is_contiguous(memory_format=torch.channels_last_3d)


def test_a_batch_is_placed_without_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """A GPU's copies from pinned memory must not stop the process; here only what is asked of torch can be seen."""
    batch = {"image": torch.rand(2, 3, 4, 5, 6), "label": torch.zeros(2, 1, 4, 5, 6, dtype=torch.uint8)}
    asked: list[dict[str, Any]] = []
    move: Any = torch.Tensor.to

    def note(tensor: torch.Tensor, **kwargs: Any) -> Any:
        asked.append(kwargs)
        return move(tensor, **kwargs)

    monkeypatch.setattr(torch.Tensor, "to", note)
    image, label = FLOAT32.place_batch(batch)
    assert [kwargs["non_blocking"] for kwargs in asked] == [True, True]
    assert {kwargs["device"] for kwargs in asked} == {FLOAT32.device}
    assert torch.equal(image, batch["image"]) and image.is_contiguous(memory_format=torch.channels_last_3d)
    assert label is batch["label"]


def test_a_gpu_is_told_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    assert device_name(torch.device("cpu")) == "cpu"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device_name(torch.device("cuda")) == "cuda"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: f"GPU of {device}")
    assert device_name(torch.device("cuda:1")) == "GPU of cuda:1"


def test_patches_go_to_a_gpu_through_pinned_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    patches, pinned, asked = torch.rand(2, 3, 4, 5, 6), list[torch.Tensor](), list[dict[str, Any]]()
    move: Any = torch.Tensor.to

    def pin(tensor: torch.Tensor) -> torch.Tensor:
        pinned.append(tensor)
        return tensor.clone()

    def note(tensor: torch.Tensor, **kwargs: Any) -> Any:
        asked.append(kwargs)
        return move(tensor, **(kwargs | {"device": "cpu"}))

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin)
    monkeypatch.setattr(torch.Tensor, "to", note)
    gpu = Compute(torch.device("cuda"), torch.float16, channels_last=True, workers=0)
    for compute, times in ((FLOAT32, 0), (gpu, 1)):
        placed = compute.place_patches(patches)
        assert torch.equal(placed, patches) and placed.is_contiguous(memory_format=torch.channels_last_3d)
        assert len(pinned) == times and asked[-1]["non_blocking"] and asked[-1]["device"] == compute.device


@pytest.mark.skipif(sys.platform != "linux", reason="counts page faults and tunes glibc")
def test_freed_memory_is_kept() -> None:
    """In a process of its own: taking and freeing 40 MB again and again soon gives the same memory."""
    script = (
        "import resource, torch\n"
        "from monai_nas.compute import choose_compute\n"
        "choose_compute(device='cpu')\n"
        "faults = []\n"
        "for _ in range(40):\n"
        "    torch.ones(10_000_000)\n"
        "    faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)\n"
        "print(faults[-1] - faults[-11])\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 1000  # else 97,660, one every 4 KiB
