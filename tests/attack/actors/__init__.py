"""Those who use the system in an attack: one module for each kind."""
