"""What a network takes, without running it: parameters, FLOPs, and the peak memory of training and inference."""

from monai_nas.cost.calibration import UNMEASURED, Calibration, basis_text, memory_text
from monai_nas.cost.live_bytes import LiveBytes
from monai_nas.cost.memory import inference_memory, training_memory
from monai_nas.cost.network import Cost, architecture_cost, count_flops, network_cost

__all__ = [
    "UNMEASURED",
    "Calibration",
    "Cost",
    "LiveBytes",
    "architecture_cost",
    "basis_text",
    "count_flops",
    "inference_memory",
    "memory_text",
    "network_cost",
    "training_memory",
]
