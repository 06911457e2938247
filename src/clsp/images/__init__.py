"""Images: SOURCEs, conversion to uint8, the index, the quarantine, batched augmentation."""
