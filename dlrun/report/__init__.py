"""What a sweep's runs say together: statistics and tables, from its CSVs and nothing else."""
