"""Evaluation: what was trained, and data with named columns, become measures."""
