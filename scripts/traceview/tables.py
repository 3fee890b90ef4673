"""Sums, per vCPU and per thread or task."""


def us(time):
    return f"{time / 1000:,.1f}"


def total(slices, begin, end, matching=lambda piece: True):
    return sum(piece.inside(begin, end) for piece in slices if matching(piece))


def begun(slices, begin, end):
    return sum(begin <= piece.begin < end for piece in slices)


def aligned(rows):
    """Text in columns: the first one to the left, numbers to the right, a remark at the end."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:])]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def vcpu_row(trace, vcpu, begin, end):
    threads = {task.name for task in trace.tasks if task.is_thread()}
    in_threads = total(vcpu.runs, begin, end, lambda piece: piece.what in threads)
    in_tasks = total(vcpu.runs, begin, end, lambda piece: piece.what not in threads)
    spins, parks = total(vcpu.spins, begin, end), total(vcpu.parks, begin, end)
    marks = [mark for mark in trace.steals if begin <= mark.time < end]
    return [
        vcpu.name, us(in_threads), us(in_tasks), us(spins), us(parks),
        us(end - begin - in_threads - in_tasks - spins - parks),
        str(begun(vcpu.runs, begin, end)),
        str(sum(mark.vcpu == vcpu.name and begin <= mark.time < end
                for mark in trace.preemptions)),
        str(sum(mark.vcpu == vcpu.name for mark in marks)),
        str(sum(mark.source == vcpu.name for mark in marks)),
        str(begun(vcpu.parks, begin, end)),
    ]


def vcpu_table(trace, begin, end):
    head = ["us", "threads", "tasks", "spinning", "parked", "other",
            "runs", "pre-empted", "stolen in", "out", "parks"]
    return aligned([head] + [vcpu_row(trace, vcpu, begin, end) for vcpu in trace.vcpus])


def reasons(task, begin, end):
    """ "futex 12.0 (3), read 4.1 (1)": time and number, the longest first."""
    sums = {}
    for piece in task.waits:
        if piece.inside(begin, end):
            time, count = sums.get(piece.what, (0, 0))
            sums[piece.what] = (time + piece.inside(begin, end), count + 1)
    order = sorted(sums.items(), key=lambda item: (-item[1][0], item[0]))
    return ", ".join(f"{what} {us(time)} ({count})" for what, (time, count) in order)


def migrations(task, begin, end):
    """Runs on another vCPU than the one before."""
    return sum(one.what != next_one.what and begin <= next_one.begin < end
               for one, next_one in zip(task.runs, task.runs[1:]))


def task_table(trace, begin, end):
    rows = [["us", "runs", "running", "runnable", "worst", "migrations"]]
    remarks = ["waiting"]
    for task in trace.tasks:
        waited = [piece.inside(begin, end) for piece in task.runnable]
        ran = total(task.runs, begin, end)
        remark = reasons(task, begin, end)
        if not (ran or any(waited) or remark):
            continue
        rows.append([task.name, str(begun(task.runs, begin, end)), us(ran), us(sum(waited)),
                     us(max(waited, default=0)), str(migrations(task, begin, end))])
        remarks.append(remark)
    lines = aligned(rows).split("\n")
    width = max(map(len, lines))
    return "\n".join(f"{line.ljust(width)}  {remark}".rstrip()
                     for line, remark in zip(lines, remarks))


def tables(trace, begin, end):
    text = f"{us(end - begin)} us, from {us(begin)} to {us(end)}"
    if trace.overwritten:
        text += f"; {trace.overwritten} older events were overwritten"
    return f"{text}\n\n{vcpu_table(trace, begin, end)}\n\n{task_table(trace, begin, end)}\n"
