"""Pod templates: the YAML files that teams edit, and how they and a task's own template are merged, strictly."""
