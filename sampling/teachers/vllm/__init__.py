"""vLLM's engine in this process as a teacher."""
