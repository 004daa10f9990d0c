"""``copilot exec`` and ``copilot probe``: what runs beside a task in its own container. Little of the standard library, no more.

The exit code file tells the sidecar how the task ended, and when, to the millisecond.
"""
