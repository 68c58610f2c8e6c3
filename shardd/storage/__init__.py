"""I/O without a server: git, logs, authorities, indexes, access files."""
