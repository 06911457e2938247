"""Settings: typed dataclasses that check their own ranges, and what all of them share."""

from clsp.settings.types import Count, Fraction, Incidental, NonNegative, Positive, settings

__all__ = ["Count", "Fraction", "Incidental", "NonNegative", "Positive", "settings"]
