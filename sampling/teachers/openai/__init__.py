"""Any OpenAI-compatible server as a teacher."""
