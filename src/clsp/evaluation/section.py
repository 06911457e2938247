"""The section ``evaluate`` of a recipe: the protocol, and a section for every evaluator that has settings of its own."""

from __future__ import annotations

from clsp.evaluation.config import EvaluateConfig
from clsp.evaluation.evaluators import EVALUATORS
from clsp.settings.types import extended, sections

EvaluateSection = extended(
    EvaluateConfig,
    sections((name, made.Settings) for name, made in EVALUATORS.items() if made.Settings is not EvaluateConfig),
)
