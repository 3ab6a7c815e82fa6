"""What a teacher nearly said, kept: captured once, read by every training that asks for it again."""
