"""Diffusion: the unconditional model, its training, and the feature-interpolation sampler."""
