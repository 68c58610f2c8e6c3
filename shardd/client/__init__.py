"""At the user's side."""
