"""How long evidence is kept, and what happens to it meanwhile."""
