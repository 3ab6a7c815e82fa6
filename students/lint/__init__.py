"""The lint before training: finds what fails silently elsewhere, on rows rendered exactly as the trainer feeds
them."""
