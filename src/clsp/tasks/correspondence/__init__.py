"""Which point of one image is which point of another: ``clsp dense``, ``clsp correspond``."""
