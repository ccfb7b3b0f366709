"""Read, match and evaluate score files and keys of any origin."""
