"""The one component that checks lease and epoch and moves heads, and the ledgers that it keeps them in."""
