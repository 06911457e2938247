"""Recipes: whole runs as small YAML files."""
