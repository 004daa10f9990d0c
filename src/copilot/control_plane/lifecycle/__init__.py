"""An attempt's life: claimed, made into a pod, observed, judged, recorded."""
