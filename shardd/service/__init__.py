"""The daemon: configuration, SSH listener, authentication, relayed hooks."""
