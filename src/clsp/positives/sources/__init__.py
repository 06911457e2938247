"""Sources of positives by name, one file each: where the other image, or the other embedding, comes from."""

from typing import TYPE_CHECKING

from clsp.registry import Registry

if TYPE_CHECKING:
    from clsp.positives.source import Source

SOURCES: "Registry[Source]" = Registry("positives", "clsp.positives.sources", "clsp.positives.source:Source")
