"""Adapters of PodApi: local processes, Kubernetes."""
