"""A classifier from labels of which some are wrong, and the list of those: ``clsp classify``, ``clsp predict``."""
