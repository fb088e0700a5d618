"""A real ComfyUI: started and ended as a child process, and spoken to over its own HTTP API."""

from .client import (
    ComfyUIClient,
    ComfyUIError,
    PromptFailedError,
    PromptInterruptedError,
    PromptRefusedError,
    PromptResult,
    PromptTimeoutError,
    SavedPicture,
    UnexpectedReplyError,
    UnreachableError,
)
from .hosts import Hosts
from .process import ComfyUIProcess, HostDiedError, treat_termination_as_interrupt

__all__ = [
    "ComfyUIClient",
    "ComfyUIError",
    "ComfyUIProcess",
    "HostDiedError",
    "Hosts",
    "PromptFailedError",
    "PromptInterruptedError",
    "PromptRefusedError",
    "PromptResult",
    "PromptTimeoutError",
    "SavedPicture",
    "UnexpectedReplyError",
    "UnreachableError",
    "treat_termination_as_interrupt",
]
