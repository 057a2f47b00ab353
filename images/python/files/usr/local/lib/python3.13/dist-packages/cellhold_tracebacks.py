"""Shortens tracebacks before they are rendered: only the first and the last of repeated frames are shown.

IPython renders each frame with its source, and each call of a recursion is a frame. A recursion of 20,000 calls takes
it most of a minute, and a deeper one can take the cell to its deadline. Here frames are counted first, and about
thirty of them are rendered. Chains and groups of exceptions, long lines and long texts have limits too. A note at
each gap says how much is missing.

If the rendering fails, the cell still has an error output and a reply.
"""

import collections
import functools
import linecache
import re
import sys
import types

from IPython.core import interactiveshell, ultratb
from IPython.core.error import UsageError
from ipykernel.ipkernel import IPythonKernel
from ipykernel.zmqshell import ZMQInteractiveShell

REPEATS = 2           # times that a line of code is shown; later calls from it count as repeated
FIRST, LAST = 10, 20  # frames shown at both ends of a traceback
ENDS = 3              # last frames that are shown even if they are repeated
CHAIN = 5             # exceptions shown at both ends of a chain of causes
MEMBERS, NESTED = 15, 10  # exceptions shown of a group, and levels of nested groups: Python's own limits
LINE = 2000           # characters of one line
VALUE = 32 << 10      # characters of the text of an exception
TOTAL = 64 << 10      # characters of a traceback
SOURCE = 256 << 10    # characters of the longest source that IPython parses

# Frames of IPython and of the kernel are hidden, because they are not the user's code.
_HIDDEN = (ultratb.__file__.removesuffix("ultratb.py"), __file__.removesuffix("tracebacks.py"))
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


class LeftOut:
    """Stands for frames that are left out."""

    def __init__(self, entries):
        kinds = collections.Counter(map(_place, entries))
        one = dict(zip(map(_place, entries), entries))
        named = [f"{one[place].tb_frame.f_code.co_qualname[:200]} at line {one[place].tb_lineno} ({count} times)"
                 for place, count in kinds.most_common(3)]
        if len(kinds) > 3:
            named.append(f"and {len(kinds) - 3} other lines")
        self.text = f"[... {len(entries)} frames left out: {', '.join(named)}]\n"


def _place(entry):
    return id(entry.tb_frame.f_code), entry.tb_lasti


def fold(traceback):
    """Returns the parts of a traceback in order (list): short tracebacks, with a LeftOut for each gap."""
    entries = []
    while traceback is not None:
        entries.append(traceback)
        traceback = traceback.tb_next
    shown, seen, last = [], {}, len(entries) - ENDS
    for i, place in enumerate(map(_place, entries)):
        times = seen.get(place, 0)
        if times < REPEATS:
            seen[place] = times + 1
            shown.append(i)
        elif i >= last:
            shown.append(i)
    if len(shown) > FIRST + LAST:
        shown = shown[:FIRST] + shown[-LAST:]
    parts, run, next_one = [], [], 0
    for i in shown:
        if i == next_one + 1:  # a note about one frame would take as much space as the frame
            run.append(entries[next_one])
        elif i > next_one:
            parts += [run, LeftOut(entries[next_one:i])]
            run = []
        run.append(entries[i])
        next_one = i + 1
    parts.append(run)
    return [_linked(part) if isinstance(part, list) else part for part in parts if part]


def _linked(entries):
    """Returns a new traceback with copies of the entries."""
    traceback = None
    for entry in reversed(entries):
        traceback = types.TracebackType(traceback, entry.tb_frame, entry.tb_lasti, entry.tb_lineno)
    return traceback


def chain(value):
    """Returns the exception and its causes, the last exception first (list of pairs). A pair begins with an exception,
    or with the number of left out exceptions (int). Its bool is true for a __cause__ of the exception before."""
    links, seen, cause = [], set(), False
    while value is not None and id(value) not in seen:
        seen.add(id(value))
        links.append((value, cause))
        cause = value.__cause__ is not None
        value = value.__cause__ if cause else None if value.__suppress_context__ else value.__context__
    if len(links) > 2 * CHAIN:
        links[CHAIN:-CHAIN] = [(len(links) - 2 * CHAIN, False)]
    return links


def _chain_note(count):
    return f"\n[... {count} exceptions left out, each of which led to the next]\n"


# IPython's own rendering, with limits.

_get_records = ultratb.VerboseTB.get_records
_format_record = ultratb.VerboseTB.format_record
_format_list = ultratb.ListTB._format_list
_line_count = ultratb.get_line_number_of_frame


def _records(self, traceback, context, offset):
    records = []
    for part in fold(traceback):
        if isinstance(part, LeftOut):
            records.append(part)
            continue
        lines = {}
        entry = part
        while entry is not None:
            lines[id(entry.tb_frame)] = entry.tb_lineno
            entry = entry.tb_next
        for record in _get_records(self, part, context, offset):
            if (record.filename or "").startswith(_HIDDEN):
                continue
            if record._sd is None:  # IPython reads the frame's current line, which has changed
                record.lineno = lines.get(id(record.frame), record.lineno)
                record.raw_lines = [cut_middle(line, LINE) for line in record.raw_lines]
            records.append(record)
    return [_note(r) if isinstance(r, LeftOut) else r for r in records]


def _note(left):
    import stack_data
    note = ultratb.FrameInfo(left.text, None, None, None, None, sd=stack_data.RepeatedFrames([], []))
    note.left = True
    return note


def _record(self, record):
    if getattr(record, "left", False):
        return "    " + record.description
    return _format_record(self, record)


def _lines_of(frame):
    """Returns the number of lines in the frame's file. For a long source it is too high for IPython to parse the file."""
    if sum(map(len, linecache.getlines(frame.f_code.co_filename))) > SOURCE:
        return ultratb.FAST_THRESHOLD + 1
    return _line_count(frame)


def _exception(self, etype, evalue):
    """Renders the line with the type and the text of the exception, and the exception's notes (list of str)."""
    from IPython.utils.PyColorize import theme_table
    theme, token = theme_table[self._theme_name], ultratb.Token
    line = [(token.ExcName, str(etype)), (token, ": "), (token, text_of(evalue))]
    return [theme.format(line), *(theme.format([(token, note)]) for note in notes(evalue))]


def _verbose(self, etype, evalue, etb, tb_offset=None, context=5):
    """Renders the exception and its causes (list of str)."""
    parts = []
    for value, cause in chain(evalue):
        if isinstance(value, int):
            parts.append([_chain_note(value)])
        elif not parts:
            parts += self.format_exception_as_a_whole(etype, evalue, etb, context, tb_offset)
        else:
            parts += self.prepare_chained_exception_message(cause)
            parts += self.format_exception_as_a_whole(type(value), value, value.__traceback__, 3, 0)
    lines = [_rule(self)]
    for part in reversed(parts or self.format_exception_as_a_whole(etype, evalue, etb, context, tb_offset)):
        lines += part
    return lines


def _rule(self):
    from IPython.utils.PyColorize import theme_table
    theme = theme_table[self._theme_name]
    width = min(75, ultratb.get_terminal_size()[0])
    return theme.format([(ultratb.Token.Topline, theme.symbols["top_line"] * width)])


def _extracted(self, traceback):
    """Returns the frames for IPython's plain mode (list), with a LeftOut for each gap."""
    import traceback as tb
    frames = []
    for part in fold(traceback):
        frames += [part] if isinstance(part, LeftOut) else tb.extract_tb(part)
    return frames


def _listed(self, frames):
    lines, start = [], 0
    for i, frame in enumerate(frames):
        if isinstance(frame, LeftOut):
            lines += _format_list(self, frames[start:i]) + ["  " + frame.text]
            start = i + 1
    return lines + _format_list(self, frames[start:])


# IPython cannot render groups, or exceptions whose own code fails. These functions render them.

def plain(value):
    """Renders an exception as Python does (list of str). No exception can make it fail."""
    parts = []
    for link, cause in chain(value):
        if isinstance(link, int):
            parts.append(_chain_note(link))
            continue
        if parts:
            parts.append("\nThe above exception was the direct cause of the following exception:\n\n" if cause else
                         "\nDuring handling of the above exception, another exception occurred:\n\n")
        parts.append("".join(_plain_one(link, 0)))
    return ["".join(reversed(parts))]


def _plain_one(value, level):
    lines = []
    if value.__traceback__ is not None:
        lines.append("Traceback (most recent call last):\n")
    for part in fold(value.__traceback__):
        lines += ["  " + part.text] if isinstance(part, LeftOut) else _plain_frames(part)
    lines.append(type_and_text(value) + "\n")
    lines += [note + "\n" for note in notes(value)]
    if isinstance(value, BaseExceptionGroup):
        lines += _plain_members(value, level + 1)
    return lines


def _plain_frames(entry):
    while entry is not None:
        code = entry.tb_frame.f_code
        if not code.co_filename.startswith(_HIDDEN):
            line = linecache.getline(code.co_filename, entry.tb_lineno, entry.tb_frame.f_globals).strip()
            yield f"  {_file(code.co_filename)}, line {entry.tb_lineno}, in {code.co_name}\n"
            if line:
                yield f"    {cut_middle(line, LINE)}\n"
        entry = entry.tb_next


def _file(name):
    """Returns the name of a file for a traceback (str). Code of a cell has the cell's number."""
    shell = ultratb.get_ipython()
    cell = shell.compile.format_code_name(name) if shell is not None else None
    return " ".join(cell) if cell else f'File "{name}"'


def _plain_members(group, level):
    if level > NESTED:
        return [f"  [... groups nested deeper than {NESTED} left out]\n"]
    lines = []
    for number, member in enumerate(group.exceptions[:MEMBERS], 1):
        lines.append(f"  +---------------- {number} ----------------\n")
        for line in "".join(_plain_one(member, level)).splitlines():
            lines.append(f"  | {line}\n")
    if left := len(group.exceptions) - MEMBERS:
        lines += [f"  [... {left} exceptions of the group left out]\n"] if left > 0 else []
    lines.append("  +------------------------------------\n")
    return lines


def type_and_text(value):
    """Returns the type and the text of the exception, as on the last line of Python's tracebacks (str)."""
    text = text_of(value)
    return f"{type(value).__name__}: {text}" if text else type(value).__name__


def text_of(value):
    """Returns the text of an exception (str). A long text is cut, and a replacement is returned if its code fails."""
    try:
        return cut_middle(str(value), VALUE)
    except Exception:
        return f"<exception str() failed: {type(value).__name__}>"


def notes(value):
    found = getattr(value, "__notes__", None)
    if not isinstance(found, (list, tuple)):
        return []
    return [cut_middle(note, VALUE) for note in found if isinstance(note, str)]


def cut_middle(text, most):
    """Returns the text if it has at most that many characters, else its beginning and its end (str)."""
    if len(text) <= most:
        return text
    head = most * 2 // 3
    tail = most - head
    return f"{text[:head]}… {len(text) - most} characters left out …{text[-tail:]}"


def bounded(lines):
    """Returns the entries of a traceback, cut to the limits of a line and of the traceback (list of str)."""
    kept = [_bounded_entry(entry) for entry in lines if isinstance(entry, str)]
    if sum(map(len, kept)) <= TOTAL:
        return kept
    head, tail, room = [], [], TOTAL
    while kept and len(kept[-1]) <= room:  # the end has the exception itself
        if room < TOTAL // 3:
            break
        room -= len(kept[-1])
        tail.insert(0, kept.pop())
    while kept and len(kept[0]) <= room:
        room -= len(kept[0])
        head.append(kept.pop(0))
    return head + [f"[... {sum(map(len, kept))} characters of the traceback left out]\n"] * bool(kept) + tail


def _bounded_entry(entry):
    if len(entry) <= LINE:
        return entry
    lines = entry.splitlines(keepends=True)
    if len(entry) > TOTAL // 2 or max(map(len, lines)) > LINE:
        lines = [line if len(line) <= LINE else cut_middle(_ANSI.sub("", line), LINE) for line in lines]
    text = "".join(lines)
    return text if len(text) <= TOTAL // 2 else cut_middle(_ANSI.sub("", text), TOTAL // 2)


# The shell.

_showtraceback = interactiveshell.InteractiveShell.showtraceback
_send = ZMQInteractiveShell._showtraceback
_do_execute = IPythonKernel.do_execute


def _show(self, exc_tuple=None, filename=None, tb_offset=None, exception_only=False, running_compiled_code=False):
    etype, value, tb = exc_tuple or sys.exc_info()
    try:
        if etype is None or exception_only or issubclass(etype, (SyntaxError, UsageError)):
            return _showtraceback(self, exc_tuple, filename, tb_offset, exception_only, running_compiled_code)
        etype, value, tb = self._get_exc_info(exc_tuple)  # sets sys.last_exc and others; it can replace the exception of an interrupt
        self._showtraceback(etype, value, render(self, etype, value, tb, tb_offset))
    except (Exception, KeyboardInterrupt):  # a second interrupt can come while the first is rendered
        self._showtraceback(etype, value, plain(value))
    if self.call_pdb:
        self.debugger(force=True)


def render(shell, etype, value, tb, tb_offset=None):
    """Renders an exception (list of str)."""
    try:
        if hasattr(value, "_render_traceback_"):
            return bounded(value._render_traceback_())
        if not any(isinstance(link, BaseExceptionGroup) for link, _ in chain(value)):
            return bounded(shell.InteractiveTB.structured_traceback(etype, value, tb, tb_offset=tb_offset))
    except Exception:
        pass
    return bounded(plain(value))


class _Text:
    """The text of an exception as it is sent: str() does not fail for it."""

    def __init__(self, value):
        self.text = text_of(value)

    def __str__(self):
        return self.text


def _sent(self, etype, evalue, stb):
    return _send(self, etype, _Text(evalue), bounded(stb))


def _for_notebook(self, exception, filename=None, running_compiled_code=False):
    """Returns the fields that %notebook writes for an exception (dict). IPython would render it once more for this."""
    return {"ename": type(exception).__name__, "evalue": text_of(exception),
            "traceback": getattr(self, "_last_traceback", None) or []}


async def _execute(self, *args, **kwargs):
    try:
        reply = await _do_execute(self, *args, **kwargs)
    except Exception as e:  # the kernel could not read the text of the code's exception
        reply = _answer(self.shell, e)
    if isinstance(reply, dict) and isinstance(reply.get("evalue"), str):
        reply["evalue"] = cut_middle(reply["evalue"], VALUE)
    return reply


def _answer(shell, failure):
    """Returns the reply to a cell after the kernel failed to make one. If the cell shows no error, it shows the failure."""
    last = shell._last_traceback
    if not last:
        last = plain(failure)
        shell._showtraceback(type(failure), failure, last)
    value = getattr(sys, "last_value", None) or failure
    shell.payload_manager.clear_payload()
    return {"status": "error", "ename": type(value).__name__, "evalue": text_of(value), "traceback": last,
            "execution_count": shell.execution_count - 1, "user_expressions": {}, "payload": []}


def install():
    """Makes kernels of this process render tracebacks this way."""
    global _do_execute
    _do_execute = IPythonKernel.do_execute  # with the changes of modules that were installed before
    IPythonKernel.do_execute = functools.wraps(_do_execute)(_execute)
    ZMQInteractiveShell._showtraceback = _sent
    interactiveshell.InteractiveShell.showtraceback = _show
    interactiveshell.InteractiveShell._format_exception_for_storage = _for_notebook
    ultratb.get_line_number_of_frame = _lines_of
    ultratb.ListTB._extract_tb = _extracted
    ultratb.ListTB._format_list = _listed
    ultratb.ListTB._some_str = lambda self, value: text_of(value)
    ultratb.VerboseTB.format_exception = _exception
    ultratb.VerboseTB.get_records = _records
    ultratb.VerboseTB.format_record = _record
    ultratb.VerboseTB.structured_traceback = _verbose
