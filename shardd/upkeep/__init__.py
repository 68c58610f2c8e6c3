"""What an operator runs: doctor, verify, backup, restore."""
