"""Memory and time of a step of a training, told before the first one."""
