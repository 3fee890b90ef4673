"""A trace as `uhyve-c --trace` writes it (uhyve-c/cli/trace.h), read back. All times are ns."""

import json
import re
from dataclasses import dataclass, field

# The two processes of the file.
VCPUS = 1
TASKS = 2

RUNNABLE = "runnable"
WAITS = "waits"


class Wrong(Exception):
    """What keeps us from showing the trace, in a sentence."""


@dataclass
class Slice:
    begin: int
    end: int
    what: str  # of a vCPU: task, "spins", "parked"; of a task: vCPU, "runnable", reason of a wait

    def inside(self, begin, end):
        """How much of it lies between the two."""
        return max(0, min(self.end, end) - max(self.begin, begin))


@dataclass
class Mark:
    time: int
    vcpu: str
    task: str
    source: str = ""  # where a stolen task was


@dataclass
class Arrow:
    """From the task that wakes another one to where that runs next."""

    begin: int
    end: int
    waker: str
    woken: str


@dataclass
class Vcpu:
    name: str
    runs: list = field(default_factory=list)
    spins: list = field(default_factory=list)
    parks: list = field(default_factory=list)


@dataclass
class Task:
    name: str
    runs: list = field(default_factory=list)
    runnable: list = field(default_factory=list)
    waits: list = field(default_factory=list)

    def is_thread(self):
        return self.name.startswith("thread ")

    def first(self):
        return min(s[0].begin for s in (self.runs, self.runnable, self.waits) if s)


@dataclass
class Trace:
    vcpus: list
    tasks: list
    preemptions: list
    steals: list
    arrows: list
    end: int
    overwritten: int

    def task(self, name):
        return next((task for task in self.tasks if task.name == name), None)


def number_in(name):
    """So that "thread 10" comes after "thread 9"."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", name)]


def ns(event, member):
    return round(event[member] * 1000)


def join(slices):
    """Sorted; what follows without a gap and means the same is one."""
    joined = []
    for piece in sorted(slices, key=lambda s: (s.begin, s.end)):
        last = joined[-1] if joined else None
        if last and last.end == piece.begin and last.what == piece.what:
            last.end = piece.end
        elif piece.end > piece.begin:
            joined.append(piece)
    return joined


def after_runs(states, runs):
    """A task may be woken while it still runs: its state begins when the run has ended."""
    kept, index = [], 0
    for state in states:
        while index < len(runs) and runs[index].end <= state.begin:
            index += 1
        if index < len(runs) and runs[index].begin <= state.begin:
            state.begin = min(runs[index].end, state.end)
        if state.end > state.begin:
            kept.append(state)
    return kept


class Reader:
    """Takes the file's events one by one."""

    def __init__(self):
        self.names = {}  # of tracks
        self.slices = []
        self.instants = []
        self.flows = {}

    def take(self, event):
        phase, track = event["ph"], (event["pid"], event["tid"])
        if phase == "M":
            if event["name"] == "thread_name":
                self.names[track] = event["args"]["name"]
        elif phase == "X":
            self.slices.append((track, event))
        elif phase == "i":
            self.instants.append((track, event))
        elif phase in "sf":
            self.flows.setdefault(event["id"], {})[phase] = (track, ns(event, "ts"))

    def name(self, track):
        return self.names.get(track, f"track {track[1]}")

    def take_slices(self, vcpus, tasks):
        for track, event in self.slices:
            begin = ns(event, "ts")
            piece = Slice(begin, begin + ns(event, "dur"), event["name"])
            if track[0] == VCPUS:
                vcpu = vcpus[self.name(track)]
                if piece.what == "spins":
                    vcpu.spins.append(piece)
                elif piece.what == "parked":
                    vcpu.parks.append(piece)
                else:
                    vcpu.runs.append(piece)
                    task = tasks.setdefault(piece.what, Task(piece.what))
                    task.runs.append(Slice(piece.begin, piece.end, vcpu.name))
                continue
            task = tasks[self.name(track)]
            if piece.what == RUNNABLE:
                task.runnable.append(piece)
            else:
                piece.what = piece.what.removeprefix(WAITS + ": ")
                task.waits.append(piece)

    def marks(self, name):
        return [
            Mark(ns(event, "ts"), self.name(track), event["args"]["task"],
                 event["args"].get("from", ""))
            for track, event in self.instants if event["name"] == name
        ]

    def arrows(self, vcpus):
        found = []
        for flow in self.flows.values():
            if len(flow) != 2:
                continue
            (from_track, begin), (to_track, end) = flow["s"], flow["f"]
            waker = running(vcpus[self.name(from_track)], begin)
            woken = running(vcpus[self.name(to_track)], end)
            if waker and woken:
                found.append(Arrow(begin, end, waker, woken))
        return sorted(found, key=lambda arrow: arrow.begin)


def running(vcpu, time):
    """What runs there: of two slices that meet, the one that begins."""
    for piece in reversed(vcpu.runs):
        if piece.begin <= time <= piece.end:
            return piece.what
    return None


def build(document):
    reader = Reader()
    for event in document["traceEvents"]:
        reader.take(event)
    vcpus = {name: Vcpu(name) for (process, _), name in reader.names.items() if process == VCPUS}
    # Tasks that had one name after the other are one here.
    tasks = {name: Task(name) for (process, _), name in reader.names.items() if process == TASKS}
    reader.take_slices(vcpus, tasks)
    for vcpu in vcpus.values():
        vcpu.runs.sort(key=lambda s: s.begin)
        vcpu.spins, vcpu.parks = join(vcpu.spins), join(vcpu.parks)
    for task in tasks.values():
        task.runs.sort(key=lambda s: s.begin)
        task.runnable = after_runs(join(task.runnable), task.runs)
        task.waits = after_runs(join(task.waits), task.runs)
    shown = [task for task in tasks.values() if task.runs or task.runnable or task.waits]
    ends = [ns(e, "ts") + ns(e, "dur") for _, e in reader.slices]
    ends += [ns(e, "ts") for _, e in reader.instants]
    return Trace(
        vcpus=sorted(vcpus.values(), key=lambda vcpu: number_in(vcpu.name)),
        tasks=sorted(shown, key=lambda task: (not task.is_thread(), number_in(task.name)
                                              if task.is_thread() else [task.first()])),
        preemptions=reader.marks("pre-empted"),
        steals=reader.marks("steals"),
        arrows=reader.arrows(vcpus),
        end=max(ends, default=0),
        overwritten=document.get("otherData", {}).get("overwritten", 0))


def read(path):
    try:
        with open(path, encoding="utf-8") as file:
            document = json.load(file)
    except OSError as error:
        raise Wrong(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise Wrong(f"{path} is not JSON: write it with uhyve-c --trace=sched:FILE") from error
    try:
        trace = build(document)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise Wrong(f"{path} is not a trace of uhyve-c --trace=sched:FILE") from error
    if not trace.vcpus:
        raise Wrong(f"{path} is not a trace of uhyve-c --trace=sched:FILE")
    return trace
