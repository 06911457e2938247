"""Labelled sets of real pictures that come in packages of Debian and PyPI, each with a fixed split."""
