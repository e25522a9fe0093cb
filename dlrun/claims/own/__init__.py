"""What only some claims measure: functions of a run's folder, by theme, that a claim's YAML names."""
