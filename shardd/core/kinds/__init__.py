"""The event types that the fold understands, one file each; `default.py` puts them together."""
