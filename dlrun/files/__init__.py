"""Files that may be a stranger's: opened, parsed and replaced."""
