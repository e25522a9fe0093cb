"""Where theta starts: drawn layer by layer, scaled by what the network makes of the data, or from an earlier run."""
