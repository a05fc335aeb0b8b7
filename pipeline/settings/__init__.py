"""Every setting, typed, and how it is read from YAML files and the command line."""
