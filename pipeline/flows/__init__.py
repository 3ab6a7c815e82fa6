"""How each kind of recipe is run."""
