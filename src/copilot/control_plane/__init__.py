"""The control plane: takes runs, wraps pods, schedules and watches them. The only room with asyncio."""
