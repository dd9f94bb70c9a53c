"""What the plugin goes through, from enabled to disabled."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum


class State(Enum):
    OFF = "off"
    STARTING = "starting"
    RUNNING = "running"
    LEAVING = "leaving"
    FAILED = "failed"


class Event(Enum):
    START = "start"
    RUNS = "runs"
    FAILS = "fails"
    LEAVE = "leave"
    ENDED = "ended"


#: What is not in the table changes nothing.
NEXT: Mapping[tuple[State, Event], State] = {
    (State.OFF, Event.START): State.STARTING,
    (State.FAILED, Event.START): State.STARTING,
    (State.STARTING, Event.RUNS): State.RUNNING,
    (State.STARTING, Event.FAILS): State.FAILED,
    (State.RUNNING, Event.FAILS): State.FAILED,
    (State.STARTING, Event.ENDED): State.FAILED,
    (State.RUNNING, Event.ENDED): State.FAILED,
    (State.STARTING, Event.LEAVE): State.LEAVING,
    (State.RUNNING, Event.LEAVE): State.LEAVING,
    (State.FAILED, Event.LEAVE): State.LEAVING,
    (State.LEAVING, Event.ENDED): State.OFF,
}
