"""The command line: from typed words to a verb or a checked config."""
