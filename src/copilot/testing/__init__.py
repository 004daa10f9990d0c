"""Shipped test kit: contract suites and fakes for stores, providers and watchers of third parties."""
