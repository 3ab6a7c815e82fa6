"""Finds and loads models: on the hub, in a folder, in a package."""
