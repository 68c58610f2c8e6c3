"""What holds for every value: by hypothesis."""
