"""Processes killed at every point, disks that are full, files that are gone: what is promised holds all the same."""
