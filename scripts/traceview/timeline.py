"""The trace as lines of text: a column is a span of time, and shows what took most of it."""

from .tables import us

SYMBOLS = "123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"


class Line:
    def __init__(self, begin, end, columns):
        self.begin, self.end, self.columns = begin, end, columns
        self.most = [(0, " ")] * columns

    def put(self, pieces, symbol):
        """`symbol` is a character, or tells it for a piece."""
        span = self.end - self.begin
        for piece in pieces:
            if not piece.inside(self.begin, self.end):
                continue
            first = max(0, (piece.begin - self.begin) * self.columns // span)
            last = min(self.columns - 1, (piece.end - self.begin) * self.columns // span)
            for column in range(first, last + 1):
                time = piece.inside(self.begin + column * span // self.columns,
                                    self.begin + (column + 1) * span // self.columns)
                if time > self.most[column][0]:
                    self.most[column] = (time, symbol(piece) if callable(symbol) else symbol)

    def mark(self, time, symbol):
        if self.begin <= time < self.end:
            column = (time - self.begin) * self.columns // (self.end - self.begin)
            self.most[column] = (0, symbol)

    def text(self):
        return "".join(symbol for _, symbol in self.most).rstrip()


def marks_of(trace, vcpu, begin, end, columns):
    line = Line(begin, end, columns)
    for mark in trace.preemptions:
        if mark.vcpu == vcpu.name:
            line.mark(mark.time, "!")
    for mark in trace.steals:
        if mark.vcpu == vcpu.name:
            line.mark(mark.time, "^")
    return line.text()


def timeline(trace, begin, end, columns):
    shown = [task for task in trace.tasks
             if any(piece.inside(begin, end) for piece in task.runs + task.runnable + task.waits)]
    symbols = {task.name: SYMBOLS[i] if i < len(SYMBOLS) else "+"
               for i, task in enumerate(shown)}
    names = [f"{symbols[task.name]} {task.name}" for task in shown]
    width = max(map(len, names + [vcpu.name for vcpu in trace.vcpus]))
    lines = []

    def add(name, text):
        lines.append(f"{name.ljust(width)} |{text}".rstrip())

    for vcpu in trace.vcpus:
        line = Line(begin, end, columns)
        line.put(vcpu.parks, ".")
        line.put(vcpu.spins, "~")
        line.put(vcpu.runs, lambda piece: symbols.get(piece.what, "+"))
        add(vcpu.name, line.text())
        marks = marks_of(trace, vcpu, begin, end, columns)
        if marks:
            add("", marks)
    lines.append("")
    for task, name in zip(shown, names):
        line = Line(begin, end, columns)
        line.put(task.waits, ".")
        line.put(task.runnable, "-")
        line.put(task.runs, "#")
        add(name, line.text())
    lines += ["", f"{us(begin)} us to {us(end)} us, {us((end - begin) // columns)} us a column",
              "vCPUs: ~ spins  . parked  ! pre-empted  ^ stolen    tasks: # runs  - runnable"
              "  . waits"]
    return "\n".join(lines) + "\n"
