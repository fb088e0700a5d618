"""The queue of ordered faults, one per operation: each is used so many times, then service is normal again."""

from __future__ import annotations

import itertools
import threading
from dataclasses import dataclass, replace

from .faults import CREATING, OPERATIONS, Answer, Fault
from .runs import PENDING, RUNNING


@dataclass(frozen=True, slots=True)
class Where:
    """Limits a fault to certain requests; None means any.

    `run` counts runs from 1 in order of creation (poll, download), `result` counts the pictures of a run from 1
    (download), `status` is the true status a poll is about to show (poll).
    """

    run: int | None = None
    result: int | None = None
    status: str | None = None

    def matches(self, situation: Where) -> bool:
        """Whether a request in this situation is meant."""
        return (
            self.run in {None, situation.run}
            and self.result in {None, situation.result}
            and self.status in {None, situation.status}
        )


_LIMITS = {"poll": frozenset({"run", "status"}), "download": frozenset({"run", "result"})}
ANYWHERE = Where()


@dataclass(frozen=True, slots=True)
class OrderedFault:
    """An order and what became of it; `times` None means for ever."""

    number: int
    operation: str
    fault: Fault
    where: Where
    times: int | None
    happened: int

    @property
    def is_used(self) -> bool:
        """Whether it happened as often as ordered (for ever: at least once)."""
        return self.happened >= (1 if self.times is None else self.times)

    @property
    def is_left(self) -> bool:
        """Whether it can happen again."""
        return self.times is None or self.happened < self.times


class FaultQueue:
    """All ordered faults. Every method may be called from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._orders: list[OrderedFault] = []
        self._numbers = itertools.count()

    def order(self, operation: str, fault: Fault, times: int | None, where: Where) -> None:
        """Add an order; raise ValueError when it makes no sense."""
        _check(operation, fault, times, where)
        with self._lock:
            self._orders.append(OrderedFault(next(self._numbers), operation, fault, where, times, 0))

    def take(self, operation: str, situation: Where = ANYWHERE) -> OrderedFault | None:
        """Use up one time of the first order that fits this request."""
        with self._lock:
            for index, order in enumerate(self._orders):
                if order.operation == operation and order.is_left and _fits(order, situation):
                    self._orders[index] = replace(order, happened=order.happened + 1)
                    return self._orders[index]
        return None

    def give_back(self, taken: OrderedFault) -> None:
        """Undo a take: the fault could not happen to that request."""
        with self._lock:
            for index, order in enumerate(self._orders):
                if order.number == taken.number:
                    self._orders[index] = replace(order, happened=order.happened - 1)

    def withdraw(self) -> None:
        """Drop all orders."""
        with self._lock:
            self._orders.clear()

    @property
    def unused(self) -> tuple[OrderedFault, ...]:
        """The orders that did not happen as often as ordered."""
        with self._lock:
            return tuple(order for order in self._orders if not order.is_used)


def _fits(order: OrderedFault, situation: Where) -> bool:
    if order.fault.needs_ended_run and situation.status in {None, PENDING, RUNNING}:
        return False
    return order.where.matches(situation)


def _check(operation: str, fault: Fault, times: int | None, where: Where) -> None:
    problem = None
    if operation not in OPERATIONS:
        problem = f"unknown operation {operation!r}; there are {', '.join(OPERATIONS)}"
    elif operation not in fault.operations:
        problem = f"{fault!r} makes no sense for {operation}; only for {', '.join(sorted(fault.operations))}"
    elif isinstance(fault, Answer) and fault.accepted and operation not in CREATING:
        problem = f"accepted=True makes no sense for {operation}; only for {', '.join(sorted(CREATING))}"
    elif times is not None and times < 1:
        problem = "times must be at least 1"
    else:
        given = {name for name in ("run", "result", "status") if getattr(where, name) is not None}
        wrong = sorted(given - _LIMITS.get(operation, frozenset()))
        if wrong:
            problem = f"a fault of {operation} cannot be limited by {', '.join(wrong)}"
    if problem:
        raise ValueError(problem)
