"""``copilot exec`` and ``copilot probe``: what runs beside a task, in its container. Only a little of the standard library.

The exit code file tells the sidecar how the task ended, and when, to the millisecond.
"""
