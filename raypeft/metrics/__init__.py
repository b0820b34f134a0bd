"""The metrics, one file each. A new one is its file and its line here."""

from raypeft.metrics import exact_match, functional
from raypeft.metrics.codebleu import metric as codebleu
from raypeft.metrics.metric import Metric

METRICS: dict[str, Metric] = {each.METRIC.name: each.METRIC for each in (exact_match, codebleu, functional)}
"""By name. A trial is scored by those that its dataset's `judged_by` allows, in this order."""
