"""How a dataset will be read and trained: derived by rules from its fingerprint, never tuned for a task."""

from collections.abc import Mapping
from dataclasses import MISSING, asdict, astuple, dataclass, fields
from pathlib import Path
from typing import Any

from monai_nas.errors import UserError
from monai_nas.files import read_json, write_json
from monai_nas.plans.fingerprint import ChannelStatistics, Fingerprint
from monai_nas.plans.records import are_counts, are_positive, check_keys, is_index, is_number, lists, tuples
from monai_nas.plans.rules import (
    BROKEN_FIRST_EXTENT,
    choose_batch_size,
    choose_crop,
    choose_patch,
    choose_separate_axis,
    choose_spacing,
    choose_width,
    level_sizes,
    shape_at_spacing,
    stride_product,
)
from monai_nas.tasks import SegTask
from monai_nas.tasks.modality import is_ct

FORMAT = 1
DEFAULT_MEMORY_BYTES = 8 * 1024**3


@dataclass(frozen=True)
class IntensityRule:
    """How one channel is normalised; the numbers are of the training set's foreground."""

    kind: str  # "ct": clip to lower..upper, subtract mean, divide by std; "mri": z-score of each image by itself
    lower: float  # percentile 0.5
    upper: float  # percentile 99.5
    mean: float
    std: float

    def __post_init__(self) -> None:
        if self.kind not in ("ct", "mri"):
            raise ValueError(f"intensity kind must be 'ct' or 'mri', got {self.kind!r}")
        if not all(map(is_number, astuple(self)[1:])) or self.std <= 0 or self.lower > self.upper:
            raise ValueError(f"intensity must have finite numbers, lower <= upper and std > 0, got {self}")


@dataclass(frozen=True)
class FingerprintSummary:
    """The few numbers of a fingerprint that the plan rests on. Axes in RAS order."""

    num_cases: int
    median_shape: tuple[int, int, int]  # voxels at the cases' own spacing
    median_spacing_mm: tuple[float, float, float]
    class_voxels: tuple[int, ...]  # background first


@dataclass(frozen=True)
class Plan:
    """Everything tunable of a task. Axes in RAS order, to which every image is turned first."""

    task: SegTask
    fingerprint: FingerprintSummary
    spacing_mm: tuple[float, float, float]  # to which every image is resampled
    patch_size: tuple[int, int, int]  # voxels at spacing_mm; per axis a multiple of the product of the strides
    batch_size: int
    strides: tuple[tuple[int, int, int], ...]  # one per down-sampling, finest first
    width: int  # stem channels, a multiple of 4
    intensity: tuple[IntensityRule, ...]  # one per channel
    memory_bytes: int  # the budget that patch, batch and width fit
    reasons: tuple[tuple[str, str], ...]  # (field, the rule with its numbers)
    crop_to_nonzero: bool = False  # each case to the box of its non-zero voxels, before it is resampled
    resample_separately: int | None = None  # axis resampled by itself to the nearest slice, as slices are thick
    keep_largest: tuple[int, ...] = ()  # classes of which only the largest connected component is kept; ascending

    def __post_init__(self) -> None:
        if not are_counts(self.patch_size, 3):
            raise ValueError(f"patch_size must be 3 whole numbers from 1 on, got {self.patch_size}")
        if not isinstance(self.strides, tuple) or not self.strides or not all(are_counts(s, 3) for s in self.strides):
            raise ValueError(f"strides must be 3 whole numbers from 1 on for each level, got {self.strides}")
        if not are_counts((self.batch_size, self.width, self.memory_bytes), 3):
            raise ValueError(
                "batch_size, width and memory_bytes must be whole numbers from 1 on, got "
                f"{self.batch_size}, {self.width} and {self.memory_bytes}"
            )
        if self.width % 4:
            raise ValueError(f"width must be a multiple of 4, got {self.width}")
        if not are_positive(self.spacing_mm, 3):
            raise ValueError(f"spacing_mm must be 3 positive numbers, got {self.spacing_mm}")
        self._check_levels()
        if len(self.intensity) != self.task.in_channels:
            raise ValueError(f"intensity must have {self.task.in_channels} rules, got {len(self.intensity)}")
        if type(self.crop_to_nonzero) is not bool:
            raise ValueError(f"crop_to_nonzero must be true or false, got {self.crop_to_nonzero!r}")
        if self.resample_separately is not None and not is_index(self.resample_separately, 3):
            raise ValueError(f"resample_separately must be an axis, 0 to 2, or null, got {self.resample_separately!r}")
        self._check_keep_largest()

    def _check_keep_largest(self) -> None:
        """Refuse what is no ascending list of foreground classes."""
        classes, count = self.keep_largest, self.task.num_classes
        if not isinstance(classes, tuple) or not all(is_index(value, count) and value > 0 for value in classes):
            raise ValueError(f"keep_largest must be classes from 1 to {count - 1}, got {classes!r}")
        if list(classes) != sorted(set(classes)):
            raise ValueError(f"keep_largest must name each class once, in ascending order, got {classes}")

    def _check_levels(self) -> None:
        """Refuse a patch that the strides do not divide, or whose levels a network cannot be trained on."""
        product = stride_product(self.strides)
        if any(size % step for size, step in zip(self.patch_size, product, strict=True)):
            raise ValueError(f"patch_size {self.patch_size} must be multiples of the strides' product {product}")
        for level, size in enumerate(level_sizes(self.patch_size, self.strides)):
            if size[0] == BROKEN_FIRST_EXTENT:
                raise ValueError(
                    f"patch_size {self.patch_size} and strides {self.strides} give level {level} a first axis of "
                    f"{BROKEN_FIRST_EXTENT} voxels, where gradients in 16 bits are wrong (docs/decisions/0004): take "
                    "another patch_size or fewer strides"
                )
            if max(size) == 1:
                raise ValueError(
                    f"patch_size {self.patch_size} and strides {self.strides} leave level {level} one voxel, which "
                    "instance norm turns into 0: take a larger patch_size or fewer strides"
                )

    def to_record(self) -> dict[str, Any]:
        """Return the plan as plain JSON values; :meth:`from_record` reads it back."""
        return {
            "format": FORMAT,
            **{key: lists(value) for key, value in asdict(self).items()},
            "reasons": dict(self.reasons),
        }

    @classmethod
    def from_record(cls, record: Any, source: str = "plan") -> "Plan":
        """Return the plan of a JSON record.

        Args:
            record: as :meth:`to_record` writes it.
            source: named in the error, usually the file.

        Raises:
            UserError: when the record is no plan, has an unknown key, lacks one, or contradicts itself.
        """
        remedy = "make it again with monai-nas plan"
        names = {field.name for field in fields(cls)} | {"format"}
        optional = {field.name for field in fields(cls) if field.default is not MISSING}
        check_keys(record, names, source, remedy, optional)
        if record["format"] != FORMAT:
            raise UserError(f"{source}: plan format {record['format']!r}, this version reads {FORMAT}: {remedy}")
        if not isinstance(record["intensity"], list) or not isinstance(record["reasons"], Mapping):
            raise UserError(f"{source}: 'intensity' must be a list and 'reasons' an object: {remedy}")
        summary = record["fingerprint"]
        check_keys(summary, {field.name for field in fields(FingerprintSummary)}, f"{source}: fingerprint", remedy)
        task = SegTask.from_record(record["task"], source)
        plain = {key: tuples(value) for key, value in record.items() if key not in ("format", "task", "reasons")}
        try:
            for rule in record["intensity"]:
                check_keys(rule, {field.name for field in fields(IntensityRule)}, f"{source}: intensity", remedy)
            plain["intensity"] = tuple(IntensityRule(**rule) for rule in record["intensity"])
            plain["fingerprint"] = FingerprintSummary(**{key: tuples(value) for key, value in summary.items()})
            return cls(task=task, reasons=tuple(record["reasons"].items()), **plain)
        except (ValueError, TypeError) as error:
            raise UserError(f"{source}: {error}: correct it, or {remedy}") from error

    def save(self, path: Path) -> None:
        """Write the plan as JSON, whole or not at all."""
        write_json(path, self.to_record())

    @classmethod
    def load(cls, path: Path) -> "Plan":
        """Return the plan stored in a JSON file; raises UserError naming the file."""
        return cls.from_record(read_json(path), source=str(path))


def make_plan(task: SegTask, fingerprint: Fingerprint, memory_bytes: int = DEFAULT_MEMORY_BYTES) -> Plan:
    """Derive a plan from what was measured, by the rules of ``plans/rules.py`` alone.

    Args:
        task: what is to be segmented.
        fingerprint: of the labelled cases.
        memory_bytes: what a training may take, of GPU or main memory.

    Raises:
        UserError: when the memory does not suffice for the smallest patch.
    """
    spacing, spacing_reason = choose_spacing(fingerprint.spacings_mm)
    separate_axis, separate_reason = choose_separate_axis(spacing, fingerprint.median_spacing_mm)
    crop, crop_reason = choose_crop(fingerprint.shapes, fingerprint.nonzero_shapes)
    shapes = fingerprint.nonzero_shapes if crop else fingerprint.shapes
    shape = shape_at_spacing(shapes, fingerprint.spacings_mm, spacing)
    width, width_reason = choose_width(shape, memory_bytes)
    patch, strides, patch_reason, stride_reason = choose_patch(shape, spacing, width, memory_bytes)
    batch_size, batch_reason = choose_batch_size()
    intensity = tuple(
        _intensity_rule(modality, channel)
        for modality, channel in zip(task.modalities, fingerprint.channels, strict=True)
    )
    kinds = ", ".join(f"{modality}: {rule.kind}" for modality, rule in zip(task.modalities, intensity, strict=True))
    return Plan(
        task=task,
        fingerprint=FingerprintSummary(
            num_cases=len(fingerprint.shapes),
            median_shape=fingerprint.median_shape,
            median_spacing_mm=fingerprint.median_spacing_mm,
            class_voxels=fingerprint.class_voxels,
        ),
        spacing_mm=spacing,
        patch_size=patch,
        batch_size=batch_size,
        strides=strides,
        width=width,
        intensity=intensity,
        memory_bytes=memory_bytes,
        reasons=(
            ("spacing_mm", spacing_reason),
            ("patch_size", patch_reason),
            ("batch_size", batch_reason),
            ("strides", stride_reason),
            ("width", width_reason),
            (
                "intensity",
                "Hounsfield units mean the same in every scan, so CT is clipped to the foreground's percentiles 0.5 "
                "and 99.5 and normalised with the foreground's mean and std; other units do not, so each image by "
                f"itself: {kinds}.",
            ),
            ("crop_to_nonzero", crop_reason),
            ("resample_separately", separate_reason),
        ),
        crop_to_nonzero=crop,
        resample_separately=separate_axis,
    )


def _intensity_rule(modality: str, channel: ChannelStatistics) -> IntensityRule:
    """Return the rule of one channel: CT's where the modality's name says so, else each image by itself."""
    return IntensityRule(
        kind="ct" if is_ct(modality) else "mri",
        lower=channel.percentile_00_5,
        upper=channel.percentile_99_5,
        mean=channel.mean,
        std=max(channel.std, 1e-6),  # a foreground of one value would otherwise divide by 0
    )
