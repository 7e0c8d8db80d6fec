"""The mathematics: tensors in, tensors out; no state, no input or output.

Hyperparameters are keyword-only and their defaults are the paper's. C is the number of classes.
"""

from longtail.functional.classifiers import class_means, tau_normalized
from longtail.functional.counting import correct_counts, per_class_scores, predicted_classes, top_k_hits
from longtail.functional.difficulty import (
    TauRule,
    difficulty_shift,
    difficulty_weights,
    dynamic_tau,
    performance_bias,
    resolve_tau,
)
from longtail.functional.frequency import (
    difficulty_probabilities,
    effective_number_weights,
    power_law_probabilities,
    power_law_weights,
    progressive_probabilities,
)
from longtail.functional.logits import class_temperatures, log_prior, shifted_cross_entropy
from longtail.functional.losses import focal_loss, hinge_loss, mse_loss, sigmoid_focal_loss
from longtail.functional.margins import ldam_loss, ldam_margins
from longtail.functional.measures import (
    Measure,
    add_class_sums,
    class_performance,
    class_sums,
    shrinkage_strength,
    shrunk_performance,
    sums_shape,
)
from longtail.functional.meta import directional_derivatives, mean_one, mean_one_gradient
from longtail.functional.rivals import seesaw_loss, sigmoid_equalization_loss, softmax_equalization_loss

__all__ = [
    "Measure",
    "TauRule",
    "add_class_sums",
    "class_means",
    "class_performance",
    "class_sums",
    "class_temperatures",
    "correct_counts",
    "difficulty_probabilities",
    "difficulty_shift",
    "difficulty_weights",
    "directional_derivatives",
    "dynamic_tau",
    "effective_number_weights",
    "focal_loss",
    "hinge_loss",
    "ldam_loss",
    "ldam_margins",
    "log_prior",
    "mean_one",
    "mean_one_gradient",
    "mse_loss",
    "per_class_scores",
    "performance_bias",
    "power_law_probabilities",
    "power_law_weights",
    "predicted_classes",
    "progressive_probabilities",
    "resolve_tau",
    "seesaw_loss",
    "shifted_cross_entropy",
    "shrinkage_strength",
    "shrunk_performance",
    "sigmoid_equalization_loss",
    "sigmoid_focal_loss",
    "softmax_equalization_loss",
    "sums_shape",
    "tau_normalized",
    "top_k_hits",
]
