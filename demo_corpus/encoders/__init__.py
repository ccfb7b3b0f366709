"""The demo's encoder."""
