"""Methods by name, one file each: a composition of a source, an objective and heads, with settings and needs."""

from typing import TYPE_CHECKING

from clsp.registry import Registry

if TYPE_CHECKING:
    from clsp.methods.base import Method

METHODS: "Registry[Method]" = Registry("method", "clsp.methods", "clsp.methods.base:Method")
