"""The page on which a person looks through their images: a map, neighbours, candidates, and what was found.

``content`` is what the page shows, ``found`` and ``neighbours`` search it, ``projection`` draws the map, ``sprites``
the pictures, and ``page`` writes all of it into one HTML file.
"""

from clsp.explorer.content import Content, limited
from clsp.explorer.found import Found, read_found, search_found
from clsp.explorer.page import Written, write_page

__all__ = ["Content", "Found", "Written", "limited", "read_found", "search_found", "write_page"]
