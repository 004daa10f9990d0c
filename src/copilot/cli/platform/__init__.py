"""The commands of those who run the platform: the server, its tokens, manifests, installation."""
