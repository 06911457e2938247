"""The engine: what both trainings share: batches, the loop on Fabric, checkpoints, logging, stages."""
