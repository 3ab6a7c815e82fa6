"""The lint before training: finds what fails silently elsewhere, on rows rendered as the trainer feeds them."""
