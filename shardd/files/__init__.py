"""The files of a server's directory, and the ways in which files are written, locked and synced."""
