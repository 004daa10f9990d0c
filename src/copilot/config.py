"""Configuration as frozen values. The only reader of the environment and of configuration files."""
