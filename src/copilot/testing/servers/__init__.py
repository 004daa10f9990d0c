"""Real servers for tests, started from what PyPI, Debian and npm install. Importable without pytest."""
