"""What `dev.py` runs: the environment, a real ComfyUI as a child process, a client for it, the demo, the checks.

Nothing in here is needed by users of the pack.
"""
