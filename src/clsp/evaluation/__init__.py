"""Evaluation: frozen features, linear probe, kNN."""
