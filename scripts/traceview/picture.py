"""The trace as a picture (SVG): a lane for each vCPU, and below one for each thread or task."""

from html import escape

WIDTH = 1200
LEFT, RIGHT = 96, 16
VCPU_HEIGHT, VCPU_STEP = 30, 46
TASK_HEIGHT, TASK_STEP = 18, 32
CHARACTER = 6.2  # the width of one, more or less
ARROWS = 60  # more of them would hide what is below

COLOURS = ["#4e79a7", "#f28e2b", "#59a14f", "#b07aa1", "#edc948", "#76b7b2", "#9c755f", "#ff9da7",
           "#86bc86", "#a0cbe8", "#d37295", "#8c8c3e"]
DARK_TEXT = {"#edc948", "#ff9da7", "#a0cbe8", "#f28e2b", "#86bc86", "#76b7b2"}
PREEMPTED, STOLEN, INK, PALE = "#c9252d", "#6a3d9a", "#333", "#777"

STYLE = """\
text{font:11px 'DejaVu Sans',Verdana,sans-serif;fill:#333}
.t{font-size:15px;font-weight:bold}.l{font-weight:bold}.s{font-size:10px;fill:#777}
.m{text-anchor:middle}.e{text-anchor:end}.w{fill:#fff}.g{stroke:#e4e4e4}
.k{fill:#d9d9d9}.h{fill:url(#spin)}.r{fill:#fde9c9;stroke:#d9a441;stroke-width:.6}
.z{stroke:#b5b5b5;stroke-width:2}.a{fill:none;stroke:#444;stroke-width:.9;marker-end:url(#tip)}
"""

DEFINITIONS = """\
<defs>
<pattern id="spin" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">
<rect width="6" height="6" fill="#fff"/><rect width="2" height="6" fill="#bbb"/></pattern>
<marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="6" markerHeight="6" orient="auto">
<path d="M0 0L8 4L0 8z" fill="#444"/></marker>
</defs>
"""


def short(number):
    return f"{number:.1f}".rstrip("0").rstrip(".")


class Picture:
    def __init__(self, trace, begin, end, zero, lanes):
        self.trace, self.begin, self.end, self.zero = trace, begin, end, zero
        self.parts = []
        self.scale = (WIDTH - LEFT - RIGHT) / (end - begin)
        shown = [task for task in trace.tasks if any(
            piece.inside(begin, end) for piece in task.runs + task.runnable + task.waits)]
        busiest = sorted(shown, key=lambda task: -sum(p.inside(begin, end) for p in task.runs))
        kept = {task.name for task in busiest[:lanes]}
        self.left_out = len(shown) - len(kept)
        self.tasks = [task for task in shown if task.name in kept]
        self.colours = {task.name: COLOURS[i % len(COLOURS)] for i, task in enumerate(self.tasks)}

    # ---- elements ----

    def x(self, time):
        return LEFT + (min(max(time, self.begin), self.end) - self.begin) * self.scale

    def add(self, text):
        self.parts.append(text)

    def text(self, x, y, words, kind=""):
        attribute = f' class="{kind}"' if kind else ""
        self.add(f'<text x="{short(x)}" y="{short(y)}"{attribute}>{escape(words)}</text>')

    def box(self, x, y, width, height, look):
        self.add(f'<rect x="{short(x)}" y="{short(y)}" width="{short(max(width, .6))}" '
                 f'height="{short(height)}" {look}/>')

    def visible(self, pieces):
        """With their places; of those that fall into the same half of a pixel, the first."""
        last = None
        for piece in pieces:
            if not piece.inside(self.begin, self.end):
                continue
            x, right = self.x(piece.begin), self.x(piece.end)
            place = (int(x * 2), int(right * 2))
            if place != last:
                last = place
                yield piece, x, right - x

    # ---- lanes ----

    def axis(self, y, bottom):
        span = self.end - self.begin
        step = 10 ** (len(str(span)) - 1)
        for finer in (2, 5, 10, 20):
            if span // step < 7:
                step = 10 ** (len(str(span)) - 1) // finer or 1
        unit, name = (10 ** 6, "ms") if span >= 5 * 10 ** 6 else (1000, "µs")
        time = -(-(self.begin - self.zero) // step) * step
        while time + self.zero <= self.end:
            x = self.x(time + self.zero)
            self.add(f'<path class="g" d="M{short(x)} {y + 4}V{bottom}"/>')
            words = f"{time / unit:g}"
            self.text(x, y, f"{words} {name}" if x > WIDTH - RIGHT - step * self.scale else words,
                      "s m" if x < WIDTH - RIGHT - 12 else "s e")
            time += step

    def run(self, piece, x, width, y, height, label):
        colour = self.colours.get(piece, "#aaa")
        self.box(x, y, width, height, f'fill="{colour}"')
        if label and width > CHARACTER * len(label) + 3:
            self.text(x + width / 2, y + height / 2 + 4, label,
                      "m" if colour in DARK_TEXT else "m w")

    def vcpu_lane(self, vcpu, y):
        self.text(LEFT - 10, y + VCPU_HEIGHT / 2 + 4, vcpu.name, "l e")
        for piece, x, width in self.visible(vcpu.parks):
            self.box(x, y + 11, width, 8, 'class="k"')
            if width > 60:
                self.text(x + width / 2, y + 8, "parked", "s m")
        for piece, x, width in self.visible(vcpu.spins):
            self.box(x, y + 6, width, VCPU_HEIGHT - 12, 'class="h"')
        for piece, x, width in self.visible(vcpu.runs):
            name = piece.what
            brief = name.split()[-1] if name.startswith("thread ") else ""
            self.run(name, x, width, y, VCPU_HEIGHT,
                     name if width > CHARACTER * len(name) + 3 else brief)

    def marks(self, marks, vcpu, y, look):
        for mark in marks:
            if mark.vcpu == vcpu.name and self.begin <= mark.time <= self.end:
                self.add(look(self.x(mark.time), y))

    @staticmethod
    def preempted(x, y):
        return (f'<path d="M{short(x - 4)} {y - 9}h8l-4 8z" fill="{PREEMPTED}"/>')

    @staticmethod
    def stolen(x, y):
        bottom = y + VCPU_HEIGHT
        return (f'<path d="M{short(x - 4)} {bottom + 9}h8l-4 -8z" fill="{STOLEN}"/>')

    def task_lane(self, task, y):
        colour = self.colours[task.name]
        self.box(8, y + 4, 10, 10, f'fill="{colour}"')
        name = task.name if len(task.name) < 12 else task.name.removeprefix("task ")
        self.text(LEFT - 10, y + 13, name[-12:], "l e")
        middle = y + TASK_HEIGHT / 2
        for piece, x, width in self.visible(task.waits):
            self.add(f'<path class="z" d="M{short(x)} {short(middle)}h{short(max(width, .6))}"/>')
            if width > CHARACTER * len(piece.what) + 6:
                self.text(x + width / 2, middle - 3, piece.what, "s m")
        for piece, x, width in self.visible(task.runnable):
            self.box(x, y + 3, width, TASK_HEIGHT - 6, 'class="r"')
        for piece, x, width in self.visible(task.runs):
            where = piece.what.split()[-1] if len(self.trace.vcpus) > 1 else ""
            self.run(task.name, x, width, y, TASK_HEIGHT, where)

    def arrows(self, tops):
        shown = [arrow for arrow in self.trace.arrows
                 if self.begin <= arrow.begin and arrow.end <= self.end
                 and arrow.waker in tops and arrow.woken in tops and arrow.waker != arrow.woken]
        if len(shown) > ARROWS:
            return False
        for arrow in shown:
            down = tops[arrow.waker] < tops[arrow.woken]
            y = tops[arrow.waker] + (TASK_HEIGHT if down else 0)
            to = tops[arrow.woken] + (0 if down else TASK_HEIGHT)
            x, right = self.x(arrow.begin), self.x(arrow.end)
            bend = (to - y) * .5
            self.add(f'<path class="a" d="M{short(x)} {y}C{short(x)} {short(y + bend)} '
                     f'{short(right)} {short(to - bend)} {short(right)} {to}"/>')
        return bool(shown)

    def legend(self, y, arrows):
        x = LEFT
        for words, draw in [
            ("runs (colour: which)" if len(self.trace.vcpus) < 2
             else "runs (number below: on which vCPU)",
             lambda x: self.box(x, y - 10, 22, 12, f'fill="{COLOURS[0]}"')),
            ("spins", lambda x: self.box(x, y - 10, 22, 12, 'class="h" stroke="#bbb"')),
            ("parked", lambda x: self.box(x, y - 8, 22, 8, 'class="k"')),
            ("runnable", lambda x: self.box(x, y - 10, 22, 12, 'class="r"')),
            ("waits", lambda x: self.add(f'<path class="z" d="M{x} {y - 4}h22"/>')),
            ("pre-empted", lambda x: self.add(self.preempted(x + 16, y + 1))),
            ("stolen", lambda x: self.add(self.stolen(x + 16, y - VCPU_HEIGHT - 9))),
        ] + ([("wakes", lambda x: self.add(f'<path class="a" d="M{x} {y - 4}h22"/>'))]
             if arrows else []):
            draw(x)
            self.text(x + 28, y, words)
            x += 28 + CHARACTER * len(words) * 1.06 + 20

    # ---- all of it ----

    def draw(self, title):
        top = 42 if title else 20
        y = top + 24
        task_top = y + VCPU_STEP * len(self.trace.vcpus) + 12
        bottom = task_top + TASK_STEP * len(self.tasks)
        height = bottom + (34 if not self.left_out else 52)
        if title:
            self.text(LEFT, 22, title, "t")
        self.axis(top, bottom - 6)
        for vcpu in self.trace.vcpus:
            self.vcpu_lane(vcpu, y)
            self.marks(self.trace.preemptions, vcpu, y, self.preempted)
            self.marks(self.trace.steals, vcpu, y, self.stolen)
            y += VCPU_STEP
        tops = {task.name: task_top + TASK_STEP * i for i, task in enumerate(self.tasks)}
        for task in self.tasks:
            self.task_lane(task, tops[task.name])
        arrows = self.arrows(tops)
        if self.left_out:
            self.text(LEFT, bottom + 10, f"... and {self.left_out} that ran for less", "s")
        self.legend(height - 12, arrows)
        return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
                f'width="{WIDTH}" height="{height}">\n<style>{STYLE}</style>\n{DEFINITIONS}'
                f'<rect width="{WIDTH}" height="{height}" fill="#fff"/>\n'
                + "\n".join(self.parts) + "\n</svg>\n")


def picture(trace, begin, end, *, zero=0, title="", lanes=24):
    """`zero` is what the time axis counts from; `lanes`, how many threads and tasks at most."""
    return Picture(trace, begin, end, zero, lanes).draw(title)
