"""shardd: an append-only, totally ordered event log per space, kept in git, with one append authority at a time."""
