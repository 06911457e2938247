"""Comparison: a grid of arms and seeds, and the one table it ends in."""
