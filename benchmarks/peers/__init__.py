"""Those who are compared."""
