"""Objectives: pure functions of embeddings, weights and targets."""
