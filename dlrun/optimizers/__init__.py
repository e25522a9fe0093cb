"""Update rules on the parameter matrix theta; one file per family of papers."""
