"""How many requests a server is sent: its limits found out, and kept."""
