"""An image and a text encoder side by side: ``clsp text``, ``clsp zeroshot``."""
