"""The engine: what both trainings share: batches, checkpoints, logging, the Lightning trainer, stages."""
