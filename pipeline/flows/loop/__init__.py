"""A model that distils itself, round after round."""
