"""Positives: where they come from (another view, the bank), and how the bank is made and measured."""
