"""Everything that touches a repository: the git program, objects, refs, packs, reading a log."""
