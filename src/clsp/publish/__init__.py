"""Out into the world: what clsp made as folders that others load without it, with cards that say what was measured."""
