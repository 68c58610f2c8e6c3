"""Stock git and stock ssh against the real server."""
