"""Training: the one loop for all methods."""
