"""Everything that is shown: tables, plots, pages."""
