"""The YAML registry and the configs: read, explained, refused."""
