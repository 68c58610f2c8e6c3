"""What every implementation of an interface does."""
