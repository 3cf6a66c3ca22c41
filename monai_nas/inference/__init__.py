"""From a network or a bundle to label maps on the images' own grids."""

from monai_nas.inference.bundle_predictor import BundlePredictor, write_labels
from monai_nas.inference.predictor import mirrored_probabilities, predict_probabilities

__all__ = ["BundlePredictor", "mirrored_probabilities", "predict_probabilities", "write_labels"]
