"""The rules, pure: no I/O, no clock, no randomness. What varies is an argument."""
