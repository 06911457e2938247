"""Search by short codes: ``clsp index``, ``clsp search``."""
