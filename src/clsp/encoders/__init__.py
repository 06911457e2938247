"""Encoders: backbones, stems, heads, averaged copies, memories, and their files."""
