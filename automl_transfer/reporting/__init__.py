"""What a study found: ranking, intervals, tables. No torch."""
