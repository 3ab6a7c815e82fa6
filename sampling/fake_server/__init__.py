"""A fake of an OpenAI-compatible server, with the habits of real ones: `stillroom fake-server`."""
