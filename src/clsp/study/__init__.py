"""Studies: arms and seeds on the same images, in one layout of folders, and the one table that they end in."""
