"""The config file: YAML with positions in, frozen settings models out."""
