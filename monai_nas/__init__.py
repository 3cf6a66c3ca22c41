"""Neural architecture search for 3D medical image segmentation on MONAI. Names load when first used (PEP 562)."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from monai_nas.architecture import Architecture
    from monai_nas.compute import Compute, choose_compute
    from monai_nas.errors import UserError
    from monai_nas.export import write_bundle
    from monai_nas.inference import BundlePredictor
    from monai_nas.metrics import dice, surface_dice
    from monai_nas.networks import build_network
    from monai_nas.plans import Plan, make_plan, measure_fingerprint
    from monai_nas.tasks import SegTask, load_task

__version__ = "0.1.0"

__all__ = [
    "Architecture",
    "BundlePredictor",
    "Compute",
    "Plan",
    "SegTask",
    "UserError",
    "build_network",
    "choose_compute",
    "dice",
    "load_task",
    "make_plan",
    "measure_fingerprint",
    "surface_dice",
    "write_bundle",
]

_HOMES = {
    "Architecture": "architecture",
    "BundlePredictor": "inference",
    "Compute": "compute",
    "Plan": "plans",
    "SegTask": "tasks",
    "UserError": "errors",
    "build_network": "networks",
    "choose_compute": "compute",
    "dice": "metrics",
    "load_task": "tasks",
    "make_plan": "plans",
    "measure_fingerprint": "plans",
    "surface_dice": "metrics",
    "write_bundle": "export",
}


def __getattr__(name: str) -> Any:
    """Import a public name from its home when it is first asked for, so that light parts stay free of torch."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
