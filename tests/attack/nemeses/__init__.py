"""What befalls the system in an attack: one module for each kind. None of it may cost an acknowledged event."""
