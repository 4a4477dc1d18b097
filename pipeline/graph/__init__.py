"""A network as data: traced, exported, audited, interpreted, optimised. Does not import the bundle."""
