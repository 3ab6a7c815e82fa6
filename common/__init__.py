"""What every room needs: records, the registry, files, text, statistics, models."""
