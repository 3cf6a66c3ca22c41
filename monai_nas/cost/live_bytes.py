"""The bytes of the tensors that live: at this moment, and the most so far. For real and for fake tensors alike."""

import weakref
from typing import Any

import torch
from torch import Tensor, UntypedStorage
from torch.utils._python_dispatch import TorchDispatchMode

GRANULES = {"cuda": 512}  # bytes; torch's caching allocator rounds each tensor up to a multiple


class LiveBytes(TorchDispatchMode):
    """Counts the storages that operators return while it is entered, each once, until nothing refers to them any more.

    Views share the storage of what they view. What an operator allocates and frees within itself is not seen. One
    thing differs from a run without it: where gradients of two readers meet, torch adds in place if nobody watches,
    so the peak that it reports may be one feature map too high.

    Example::

        with LiveBytes("cpu") as live:
            loss(network(image)).backward()
        print(live.peak)

    Args:
        device_type: of the tensors that count.
        allocator: the device type whose allocator's rounding applies; by default their own.
    """

    def __init__(self, device_type: str, *, allocator: str | None = None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.device_type = device_type
        self.granule = GRANULES.get(allocator or device_type, 1)
        self.now = 0
        self.peak = 0
        self._storages: dict[int, tuple[int, weakref.ref[UntypedStorage]]] = {}  # address -> bytes, and its end

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.ops.prim.device.default:  # of a fake tensor; asked for more often than all else
            return args[0].device
        result = func(*args, **(kwargs or {}))
        for item in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(item, Tensor):
                self.add(item)
        return result

    def add(self, tensor: Tensor) -> None:
        """Count a tensor that existed before; one that is known already counts only by what it has grown."""
        if tensor.device.type != self.device_type:
            return
        storage = tensor.untyped_storage()
        address, size = storage._cdata, self.size(tensor)
        known = self._storages.get(address)
        if known is None:
            self._storages[address] = size, weakref.ref(storage, lambda _: self._remove(address))
        elif known[0] != size:
            self._storages[address] = size, known[1]
        self.now += size - (known[0] if known else 0)
        self.peak = max(self.peak, self.now)

    def size(self, tensor: Tensor) -> int:
        """Return the bytes of a tensor's storage, as they count."""
        return -(-tensor.untyped_storage().nbytes() // self.granule) * self.granule

    def _remove(self, address: int) -> None:
        self.now -= self._storages.pop(address)[0]
