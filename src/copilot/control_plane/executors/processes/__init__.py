"""Runs a pod's containers as processes of this machine, by the kubelet's rules.

``machine`` decides and is pure, ``launcher`` starts and signals processes, ``runner`` joins the two. ``supervisor`` is the
small detached program that does it for one pod of the process executor; the kubelet of the Kubernetes API double uses the same.
"""
