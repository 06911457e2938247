"""Methods: named compositions of a source, an objective and heads, one file each."""
