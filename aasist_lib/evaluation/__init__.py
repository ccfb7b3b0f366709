"""Score files and keys of any origin: read, matched and evaluated."""
