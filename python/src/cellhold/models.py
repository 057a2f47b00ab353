# Generated from api/openapi.yaml by python/tools/generate.py. Do not edit.
"""The values of the HTTP API, as dataclasses. Sizes are in bytes, and durations in seconds.

A server can send fields that are not here; they are ignored. Text can come from untrusted code.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal


@dataclass(frozen=True, kw_only=True)
class AddKernel:
    spec: str
    """
    Name of the kernelspec. list-kernelspecs returns the available ones.
    """
    cwd: str | None = None
    """
    Working directory of the kernel: an absolute path of an existing directory. Absent means that of the session.
    """
    id: str | None = None
    """
    Id of the kernel in this session. Absent means an id made from the kernelspec's name.
    """


@dataclass(frozen=True, kw_only=True)
class AnswerInput:
    value: str
    """
    Text that input() returns, without a line break, at most 1 MiB.
    """
    request: int | None = None
    """
    Number of the input_request event. Absent means the open question.
    """


@dataclass(frozen=True, kw_only=True)
class CellFile:
    modified: datetime
    """
    Time of the last write.
    """
    path: str
    """
    Path in the sandbox. Bytes that are not UTF-8 are shown as U+FFFD.
    """
    size: int
    """
    Size at the end of the cell, in bytes.
    """
    escaped: str | None = None
    """
    Percent-encoded path, if the path is not valid UTF-8.
    """


@dataclass(frozen=True, kw_only=True)
class CheckCode:
    code: str
    """
    Code to check, at most 4 MiB. It does not run.
    """
    kernel: str | None = None
    """
    Kernel to ask. Absent means the session's first kernel.
    """


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    created: datetime
    """
    Time at which the checkpoint was made.
    """
    last: int
    """
    Number of the session's newest event at that time.
    """
    name: str
    """
    Name of the checkpoint, unique within the session.
    """
    size: int
    """
    Size on disk, in bytes.
    """


@dataclass(frozen=True, kw_only=True)
class CheckpointList:
    checkpoints: list[Checkpoint]
    """
    Checkpoints of the session, oldest first.
    """


@dataclass(frozen=True, kw_only=True)
class CommandOutput:
    bytes: int
    """
    Bytes that the command wrote.
    """
    text: str
    """
    The output. If bytes are omitted, only its beginning.
    """
    encoding: Literal["base64"] | None = None
    """
    base64 if the output is not valid UTF-8. Then text and tail are each encoded in base64.
    """
    omitted: int | None = None
    """
    Bytes that are omitted between text and tail.
    """
    tail: str | None = None
    """
    The end of the output, if bytes are omitted.
    """


@dataclass(frozen=True, kw_only=True)
class CompleteCode:
    code: str
    """
    Code to complete, at most 4 MiB.
    """
    cursor: int | None = None
    """
    Position of the cursor in the code, in Unicode characters. Absent means the end.
    """
    kernel: str | None = None
    """
    Kernel to ask. Absent means the session's first kernel.
    """


@dataclass(frozen=True, kw_only=True)
class Completeness:
    status: Literal["complete", "incomplete", "invalid", "unknown"]
    """
    complete: the code can run. incomplete: it needs more lines. invalid: it can never run. unknown: the kernel cannot tell.
    """
    indent: str | None = None
    """
    Spaces and tabs for the beginning of the next line, if the code is incomplete.
    """


@dataclass(frozen=True, kw_only=True)
class CompletionMatch:
    text: str
    """
    Text that replaces the code from start to end.
    """
    type: str | None = None
    """
    Kind of the named object, such as function, module or instance, if the kernel tells it.
    """


@dataclass(frozen=True, kw_only=True)
class Egress:
    hosts: list[str] | None = None
    """
    Hosts of an allowlist. example.org matches only that name; *.example.org matches its subdomains.
    """
    policy: Literal["none", "allowlist", "public"] | None = None
    """
    none: no network access. allowlist: only the named hosts. public: the internet, without private, local and metadata addresses.
    """


@dataclass(frozen=True, kw_only=True)
class EgressAttempt:
    decision: Literal["allowed", "refused", "failed"]
    """
    Result of the attempt.
    """
    host: str
    """
    Requested host name or address, in canonical form if it has one.
    """
    id: str
    """
    Attempt id, unique within the session.
    """
    port: int
    """
    Requested port.
    """
    time: datetime
    """
    Time of the attempt.
    """
    address: str | None = None
    """
    Address of the connection.
    """
    ended: datetime | None = None
    """
    Time at which the connection ended. Absent while the connection is open, if a restart of the server ended it, and in a fork that was made while it was open.
    """
    more: int | None = None
    """
    Number of attempts since the previous entry that are not listed, because there were too many.
    """
    reason: str | None = None
    """
    Why the attempt was refused, or the connection failed or broke off.
    """
    received: int | None = None
    """
    Bytes to the sandbox.
    """
    sent: int | None = None
    """
    Bytes from the sandbox.
    """


@dataclass(frozen=True, kw_only=True)
class Event:
    content: Any
    """
    Content, which depends on the type. Outputs have Jupyter's content.
    """
    seq: int
    """
    Number of the event within its session. Send it as after to read the next events.
    """
    time: datetime
    """
    Time of the event.
    """
    type: str
    """
    Type of the event. Ignore types that you do not know.
    """
    cell: str | None = None
    """
    Cell of the event.
    """
    command: str | None = None
    """
    Command of the event.
    """
    kernel: str | None = None
    """
    Kernel of the event.
    """


@dataclass(frozen=True, kw_only=True)
class EventPage:
    events: list[Event]
    """
    Events in order. Empty if there are none after the given number yet.
    """
    next: int
    """
    Send this as after to read the next page.
    """


@dataclass(frozen=True, kw_only=True)
class Figures:
    dpi: int | None = None
    """
    Resolution of bitmap figures in dots per inch. 100 is usual.
    """
    formats: list[Literal["png", "svg", "jpeg", "pdf"]] | None = None
    """
    Image formats. Each figure has all of them in one output.
    """


@dataclass(frozen=True, kw_only=True)
class FileChange:
    type: Literal["created", "modified", "removed", "overflow"]
    """
    Type of the change. overflow means that changes were missed: list the directory again.
    """
    directory: bool | None = None
    """
    True if the path is a directory.
    """
    escaped: str | None = None
    """
    Percent-encoded path, if the path is not valid UTF-8.
    """
    path: str | None = None
    """
    Path that changed.
    """


@dataclass(frozen=True, kw_only=True)
class FileInfo:
    mode: str
    """
    Permission bits in octal.
    """
    modified: datetime
    """
    Time of the last write.
    """
    path: str
    """
    Path in the sandbox. Bytes that are not UTF-8 are shown as U+FFFD.
    """
    size: int
    """
    Size of a regular file in bytes, otherwise 0.
    """
    type: Literal["file", "directory", "symlink", "other"]
    """
    Type of the file. other is a device, a pipe or a socket.
    """
    version: str
    """
    Version of the content. The download has it as ETag.
    """
    escaped: str | None = None
    """
    Percent-encoded path, if the path is not valid UTF-8. Requests accept every path in this form.
    """
    target: str | None = None
    """
    Target of a symbolic link.
    """


@dataclass(frozen=True, kw_only=True)
class FilesWritten:
    files: list[FileInfo]
    """
    Files in the order of the form.
    """


@dataclass(frozen=True, kw_only=True)
class ForkSession:
    checkpoint: str | None = None
    """
    Name of the checkpoint to start from. Absent means the present state of the session.
    """
    count: int | None = None
    """
    Number of forks. Absent means one.
    """


@dataclass(frozen=True, kw_only=True)
class Health:
    status: Literal["ok"]
    """
    Always ok. Any other state is an error.
    """


@dataclass(frozen=True, kw_only=True)
class HistoryEntry:
    cell: str
    """
    Cell that ran the code.
    """
    code: str
    """
    Submitted source code.
    """
    kernel: str
    """
    Kernel of the cell.
    """
    submitted: datetime
    """
    Time at which the server accepted the cell.
    """
    execution_count: int | None = None
    """
    Number in the kernel's prompt. Absent if the cell did not run.
    """


@dataclass(frozen=True, kw_only=True)
class HistoryList:
    history: list[HistoryEntry]
    """
    Code of the newest cells, the oldest of them first, at most 4 MiB.
    """


@dataclass(frozen=True, kw_only=True)
class ImportedNotebook:
    cells: list[str]
    """
    Ids of the new cells, in order.
    """


@dataclass(frozen=True, kw_only=True)
class InputRequest:
    password: bool
    """
    If true, do not show the typed text.
    """
    prompt: str
    """
    Text that the code shows before the input.
    """
    request: int
    """
    Number of the input_request event. Send it with the answer, so that the answer cannot reach another question.
    """


@dataclass(frozen=True, kw_only=True)
class InputTaken:
    offset: int
    """
    Number of input bytes that the server accepted since the command started.
    """


@dataclass(frozen=True, kw_only=True)
class InspectCode:
    code: str
    """
    Code that names the object, at most 4 MiB.
    """
    cursor: int | None = None
    """
    Position in the code of the object's name, in Unicode characters. Absent means the end.
    """
    detail: int | None = None
    """
    1 adds the source code of the object, if the kernel has it.
    """
    kernel: str | None = None
    """
    Kernel to ask. Absent means the session's first kernel.
    """


@dataclass(frozen=True, kw_only=True)
class Inspection:
    data: dict[str, Any]
    """
    Description of the object by MIME type: text/plain, and text/html from some kernels. Texts of Python have colours of terminals.
    """
    found: bool
    """
    True if the kernel knows an object at the position.
    """
    truncated: bool | None = None
    """
    True if a text was cut, or if a text was left out.
    """


@dataclass(frozen=True, kw_only=True)
class InstallPackages:
    requirements: list[str] | None = None
    """
    Requirements in pip's syntax: names with extras, versions, markers and hashes. URLs, paths and options are refused.
    """
    requirements_file: str | None = None
    """
    Text of a requirements file, such as a lock file.
    """


@dataclass(frozen=True, kw_only=True)
class Kernel:
    id: str
    """
    Kernel id, unique within the session.
    """
    queued: int
    """
    Number of cells in its queue.
    """
    state: Literal["starting", "idle", "busy", "restarting", "dead"]
    """
    State of the kernel.
    """
    cause: Literal["oom", "signal", "exit", "lost", "timeout"] | None = None
    """
    Why the kernel died, if its state is dead.
    """
    cwd: str | None = None
    """
    Working directory, if it differs from the session's.
    """
    language: str | None = None
    """
    Programming language.
    """
    spec: str | None = None
    """
    Kernelspec of the kernel.
    """
    startup: str | None = None
    """
    Code that runs without output after each start of the kernel, if it is not the first kernel.
    """


@dataclass(frozen=True, kw_only=True)
class KernelList:
    kernels: list[Kernel]
    """
    Kernels of the session, in the order of their creation. A list omits the startup code.
    """


@dataclass(frozen=True, kw_only=True)
class KernelSpec:
    name: str
    """
    Name of the kernelspec, used to start such a kernel.
    """
    display_name: str | None = None
    """
    Name to show to people.
    """
    language: str | None = None
    """
    Programming language.
    """


@dataclass(frozen=True, kw_only=True)
class KernelSpecList:
    kernelspecs: list[KernelSpec]
    """
    Kernelspecs in the session's sandbox, by name.
    """


@dataclass(frozen=True, kw_only=True)
class Limits:
    cpu: float | None = None
    """
    CPU cores. 0.5 is half a core.
    """
    disk: int | str | None = None
    """
    Bytes that code can write outside /tmp and /mnt/data/output. Requests can also use a text such as "2GiB".
    """
    memory: int | str | None = None
    """
    Memory in bytes, including tmpfs. Requests can also use a text such as "2GiB".
    """
    output: int | str | None = None
    """
    Size of /mnt/data/output in bytes. Requests can also use a text such as "2GiB".
    """
    processes: int | None = None
    """
    Maximum number of processes and threads at the same time.
    """
    tmp: int | str | None = None
    """
    Size of /tmp in bytes. Requests can also use a text such as "2GiB".
    """


@dataclass(frozen=True, kw_only=True)
class MakeCheckpoint:
    name: str
    """
    Name of the checkpoint: letters, digits, '.', '_' and '-'.
    """


@dataclass(frozen=True, kw_only=True)
class Output:
    output_type: Literal["stream", "display_data", "execute_result", "error"]
    """
    Type of the output.
    """
    bytes: int | None = None
    """
    Bytes of the whole text, if truncated.
    """
    data: dict[str, Any] | None = None
    """
    Result by MIME type. Always present for display_data and execute_result. A value is text. If the type is application/json or ends with +json, the value can be any JSON.
    """
    display_id: str | None = None
    """
    Id of a display that later code can update (display_data, execute_result).
    """
    ename: str | None = None
    """
    Class of the exception. Always present for error.
    """
    evalue: str | None = None
    """
    Text of the exception. Always present for error.
    """
    execution_count: int | None = None
    """
    Number in the kernel's prompt, or null. Always present for execute_result.
    """
    metadata: dict[str, Any] | None = None
    """
    Metadata by MIME type or name. Always present for display_data and execute_result.
    """
    name: str | None = None
    """
    stdout or stderr. Always present for stream.
    """
    omitted: int | None = None
    """
    Bytes that are missing, if truncated.
    """
    text: str | None = None
    """
    Text. Always present for stream.
    """
    traceback: list[str] | None = None
    """
    Traceback with ANSI colours. Always present for error.
    """
    truncated: bool | None = None
    """
    True if text has only the beginning and the end (stream).
    """


@dataclass(frozen=True, kw_only=True)
class OutputFile:
    modified: datetime
    """
    Time of the last write.
    """
    path: str
    """
    Path below /mnt/data/output.
    """
    size: int
    """
    Size in bytes.
    """


@dataclass(frozen=True, kw_only=True)
class Package:
    name: str
    """
    Normalised name of the package.
    """
    version: str
    """
    Installed version.
    """
    sha256: str | None = None
    """
    SHA-256 digest of the installed file, as the server received it.
    """


@dataclass(frozen=True, kw_only=True)
class PackageChange:
    modules: list[str]
    """
    Modules that the package provides.
    """
    name: str
    """
    Normalised name of the package.
    """
    after: str | None = None
    """
    Version now. Absent for a removed package.
    """
    before: str | None = None
    """
    Version before. Absent for a new package.
    """


@dataclass(frozen=True, kw_only=True)
class PackageList:
    packages: list[Package]
    """
    Packages that differ from the image, by name.
    """


@dataclass(frozen=True, kw_only=True)
class PortAccess:
    header: str
    """
    Header of requests to a host of a port.
    """
    hosts: list[str]
    """
    Hosts of a port, with PORT in place of its number. Empty if the operator set no --host. The port of the server follows as usual.
    """
    path: str
    """
    URL path of a port, with PORT in place of its number. Send your token with each request.
    """
    public: bool
    """
    If true, everybody can reach the ports through the hosts, without a token.
    """
    token: str | None = None
    """
    Value of the header. It opens only the ports of this session. Absent if the server needs no tokens.
    """


@dataclass(frozen=True, kw_only=True)
class ProblemField:
    message: str
    """
    Error in this part.
    """
    location: str | None = None
    """
    Part of the request.
    """


@dataclass(frozen=True, kw_only=True)
class RollBack:
    checkpoint: str
    """
    Name of the checkpoint to restore.
    """


@dataclass(frozen=True, kw_only=True)
class RunChangedFile:
    content: str
    """
    Content of the file, if it is at most 1 MiB, and at most 4 MiB with the files before it.
    """
    modified: datetime
    """
    Time of the last write.
    """
    path: str
    """
    Path in the sandbox. Bytes that are not UTF-8 are shown as U+FFFD.
    """
    size: int
    """
    Size in bytes.
    """
    encoding: Literal["base64"] | None = None
    """
    base64 if the content is not valid UTF-8, or has many control characters.
    """
    escaped: str | None = None
    """
    Percent-encoded path, if the path is not valid UTF-8.
    """
    omitted: bool | None = None
    """
    True if the content is omitted, because of its size or because it could not be read.
    """


@dataclass(frozen=True, kw_only=True)
class RunError:
    detail: str
    """
    Message for people, with the remedy.
    """
    kind: Literal[
        "invalid",
        "not_found",
        "conflict",
        "denied",
        "exhausted",
        "unavailable",
        "unsupported",
        "internal",
    ]
    """
    Kind of the error. Programs should decide by it.
    """


@dataclass(frozen=True, kw_only=True)
class RunFile:
    content: str
    """
    Content of the file.
    """
    path: str
    """
    Path in the sandbox, absolute or relative to /workspace. It must not contain "..".
    """
    encoding: Literal["base64"] | None = None
    """
    base64 if content is encoded in base64. Absent means UTF-8 text.
    """


@dataclass(frozen=True, kw_only=True)
class RunRaised:
    ename: str
    """
    Class of the exception.
    """
    evalue: str
    """
    Text of the exception.
    """
    traceback: list[str]
    """
    Traceback with ANSI colours.
    """


@dataclass(frozen=True, kw_only=True)
class RunTest:
    args: list[str] | None = None
    """
    Arguments of the program.
    """
    exit_code: int | None = None
    """
    Expected exit status. Absent means 0.
    """
    match: Literal["trimmed", "exact"] | None = None
    """
    trimmed: ignores white space at the ends of lines, and empty lines at the end. exact: compares all bytes. Absent means trimmed.
    """
    stdin: str | None = None
    """
    Standard input of the program.
    """
    stdout: str | None = None
    """
    Expected standard output, at most 1 MiB. Absent means that the output is not compared.
    """


@dataclass(frozen=True, kw_only=True)
class RunTestResult:
    status: Literal["passed", "failed", "timeout", "error"]
    """
    Result of the test. failed: the output differs. error: the exit status is not the expected one, or the test did not run.
    """
    stderr: CommandOutput
    """
    Standard error, like stdout.
    """
    stdout: CommandOutput
    """
    Standard output: all of it, or the first and the last 2 KiB.
    """
    wall_seconds: float
    """
    Seconds that the program ran.
    """
    cause: str | None = None
    """
    One sentence that explains the status, if it needs one.
    """
    exit_code: int | None = None
    """
    Exit status. Absent if there is none.
    """


@dataclass(frozen=True, kw_only=True)
class Secret:
    host: str
    """
    Host that receives the secret. The session's egress must allow it.
    """
    name: str
    """
    Environment variable that has a placeholder for the value.
    """
    value: str
    """
    The secret value. Outside the sandbox, the server replaces the placeholder with it in headers of HTTPS requests to that host.
    """


@dataclass(frozen=True, kw_only=True)
class SecretInfo:
    host: str
    """
    Host that receives the secret.
    """
    name: str
    """
    Environment variable that has a placeholder for the value.
    """


@dataclass(frozen=True, kw_only=True)
class SendSignal:
    signal: str
    """
    Name of the signal, with or without SIG, or its number.
    """


@dataclass(frozen=True, kw_only=True)
class Session:
    created: datetime
    """
    Time of creation.
    """
    egress: Egress
    """
    Network access of its code.
    """
    expires: datetime
    """
    Time at which the session ends if it is not used before.
    """
    id: str
    """
    Session id.
    """
    image: str
    """
    Name of the image of its sandbox.
    """
    kernels: list[Kernel]
    """
    Kernels of the session.
    """
    limits: Limits
    """
    Limits of its sandbox.
    """
    state: Literal["starting", "ready", "hibernated", "ended"]
    """
    State of the session.
    """
    used: datetime
    """
    Time of the last use by a caller or a cell.
    """
    at_deadline: Literal["end", "hibernate"] | None = None
    """
    Action at the deadline. A session that is busy hibernates as soon as it is not.
    """
    checkpoint: str | None = None
    """
    Checkpoint of the last rollback.
    """
    cwd: str | None = None
    """
    Working directory of its kernels and commands, and the base of relative paths. Absent means /workspace.
    """
    deadline: datetime | None = None
    """
    Time at which the session ends or hibernates, even if it is used.
    """
    figures: Figures | None = None
    """
    Default format of figures in its cells.
    """
    metadata: dict[str, str] | None = None
    """
    Notes of the caller, stored and returned unchanged.
    """
    packages: list[Package] | None = None
    """
    Installed packages that differ from the image. They are lost when the sandbox ends.
    """
    parent: str | None = None
    """
    Session from which this one was forked.
    """
    public_ports: bool | None = None
    """
    If true, everybody can reach the ports of the session through hosts of the server, without a token.
    """
    reason: Literal["asked", "expired", "failed", "lost"] | None = None
    """
    Why the session ended.
    """
    resume: Literal["use", "request"] | None = None
    """
    Use or request that resumes the session after a requested hibernation, or after one at the deadline. use: the next use. request: only a resume request. Absent means use.
    """
    secrets: list[SecretInfo] | None = None
    """
    Secrets of the session, without their values.
    """
    startup: str | None = None
    """
    Code that runs without output after each start of the kernel.
    """
    template: str | None = None
    """
    Template from which the session was created.
    """
    user: str | None = None
    """
    Label of the person or agent, as given at creation. Never used as a path.
    """


@dataclass(frozen=True, kw_only=True)
class SessionList:
    sessions: list[Session]
    """
    Sessions of the caller, newest first.
    """


@dataclass(frozen=True, kw_only=True)
class SetDeadline:
    lifetime: float
    """
    Seconds from now to the deadline.
    """
    at_deadline: Literal["end", "hibernate"] | None = None
    """
    Action at the deadline. Absent means the present action, or end.
    """


@dataclass(frozen=True, kw_only=True)
class StaleModule:
    kernel: str
    """
    Kernel that imported the module.
    """
    module: str
    """
    Name of the module.
    """
    package: str
    """
    Package of the module.
    """
    absent: bool | None = None
    """
    True if the module belongs to another package, which tried to import this package before it was installed. Python can remember the failed import.
    """


@dataclass(frozen=True, kw_only=True)
class StartHook:
    path: str
    """
    Path in the sandbox.
    """
    text: str
    """
    Beginning of the file.
    """


@dataclass(frozen=True, kw_only=True)
class Status:
    goroutines: int
    """
    Number of goroutines of the server. A number that only grows is a leak.
    """
    heap: int
    """
    Heap of the server in use, in bytes.
    """
    sessions: int
    """
    Number of the caller's sessions, including ended ones that can still be read.
    """
    uptime: int
    """
    Seconds since the server started.
    """


@dataclass(frozen=True, kw_only=True)
class SubmitCell:
    code: str
    """
    Source code to run, at most 4 MiB.
    """
    allow_stdin: bool | None = None
    """
    Allow the code to ask for input. An input_request event has the question; answer it with answer-input. The timeout keeps running. Without allow_stdin, input() fails at once.
    """
    env: dict[str, str] | None = None
    """
    Variables of this cell only, at most 64 KiB. The server restores the former values after the cell. For Python, Bash, R and JavaScript.
    """
    figures: Figures | None = None
    """
    Format of figures in a Python kernel. Absent means the session's format.
    """
    kernel: str | None = None
    """
    Kernel that runs the cell. Absent means the session's first kernel.
    """
    on_error: Literal["continue", "cancel"] | None = None
    """
    Effect on the queued cells if this cell does not end with ok. continue: the queued cells run. cancel: the cells in the queue at that moment are cancelled. Absent means continue.
    """
    timeout: float | None = None
    """
    Maximum run time in seconds, without the time in the queue. Absent or 0 means the server's default.
    """


@dataclass(frozen=True, kw_only=True)
class Template:
    egress: Egress
    """
    Default network access of its sessions.
    """
    image: str
    """
    Image of its sessions.
    """
    limits: Limits
    """
    Default limits of its sessions.
    """
    name: str
    """
    Name of the template.
    """
    ready: int
    """
    Number of sandboxes that are ready now.
    """
    state: Literal["building", "ready", "failed"]
    """
    If ready, its sessions start from a snapshot. Otherwise they start cold, which is slower.
    """
    wanted: int
    """
    Number of sandboxes that the server keeps ready now. After a burst it is above warm; after quiet minutes it falls back.
    """
    warm: int
    """
    Number of sandboxes that the server keeps ready without bursts.
    """
    built: datetime | None = None
    """
    Time at which the snapshot was made.
    """
    packages: list[str] | None = None
    """
    Requirements of the packages installed in the template.
    """
    problem: str | None = None
    """
    Why the snapshot could not be made, if the state is failed.
    """
    size: int | None = None
    """
    Size of the snapshot on disk, in bytes.
    """
    warmup: str | None = None
    """
    Code that ran before the snapshot was made.
    """


@dataclass(frozen=True, kw_only=True)
class TemplateList:
    templates: list[Template]
    """
    Templates of the server, the default one first.
    """


@dataclass(frozen=True, kw_only=True)
class Terminal:
    cols: int
    """
    Number of characters in a line.
    """
    rows: int
    """
    Number of lines.
    """


@dataclass(frozen=True, kw_only=True)
class Unpacked:
    bytes: int
    """
    Total size of the files, in bytes.
    """
    entries: int
    """
    Number of files, directories and links.
    """


@dataclass(frozen=True, kw_only=True)
class Usage:
    wall_seconds: float
    """
    Seconds between started and ended.
    """
    cpu_seconds: float | None = None
    """
    CPU seconds of the kernel and its child processes, measured in the sandbox.
    """
    peak_memory_bytes: int | None = None
    """
    Peak memory of the whole sandbox while the cell ran, in bytes, measured on the host.
    """


@dataclass(frozen=True, kw_only=True)
class Version:
    api: str
    """
    Version of this API.
    """
    go: str
    """
    Version of Go that built the program.
    """
    version: str
    """
    Version of cellhold.
    """


@dataclass(frozen=True, kw_only=True)
class AttemptPage:
    attempts: list[EgressAttempt]
    """
    Attempts, oldest first, at most 1000. An attempt whose end is on a later page appears there again, with the same id.
    """
    next: int
    """
    Send this as after to read the next page.
    """


@dataclass(frozen=True, kw_only=True)
class Cell:
    code: str
    """
    Submitted source code.
    """
    id: str
    """
    Cell id.
    """
    kernel: str
    """
    Kernel that runs the cell.
    """
    outputs: list[Output]
    """
    Outputs in notebook form (nbformat 4.5). Progress bars show only their last state.
    """
    session: str
    """
    Session of the cell.
    """
    state: Literal["queued", "running", "done"]
    """
    State of the cell.
    """
    submitted: datetime
    """
    Time at which the server accepted the cell.
    """
    allow_stdin: bool | None = None
    """
    If true, the code can ask for input.
    """
    attachments: dict[str, Any] | None = None
    """
    Images of a Markdown cell, by name.
    """
    bytes: int | None = None
    """
    Bytes of output that the cell produced, including displays and dropped output.
    """
    cause: str | None = None
    """
    One sentence that explains the status, if it needs one.
    """
    cell_type: Literal["code", "markdown", "raw"] | None = None
    """
    Type of the cell, for cells of an uploaded notebook. Absent means code.
    """
    ended: datetime | None = None
    """
    Time at which the cell was done.
    """
    execution_count: int | None = None
    """
    Number in the kernel's prompt.
    """
    figures: Figures | None = None
    """
    Format of the cell's figures.
    """
    files: list[CellFile] | None = None
    """
    Files below /workspace and /mnt/data/output that were written while the cell ran, at most 100. If several kernels run, another kernel can have written them.
    """
    first: int | None = None
    """
    Number of the first event of the cell.
    """
    input: InputRequest | None = None
    """
    The question, while the code waits for input.
    """
    last: int | None = None
    """
    Number of the last event of the cell.
    """
    metadata: dict[str, Any] | None = None
    """
    Metadata of the cell from an uploaded notebook.
    """
    more_files: bool | None = None
    """
    True if more files were written than files lists.
    """
    omitted: int | None = None
    """
    Bytes of output that outputs omits.
    """
    on_error: Literal["continue", "cancel"] | None = None
    """
    Effect on the queued cells if this cell fails. Absent means continue.
    """
    position: int | None = None
    """
    For a queued cell: number of cells before it, including the running one. Absent if the cell is next.
    """
    started: datetime | None = None
    """
    Time at which the kernel received the cell. The timeout starts here.
    """
    status: (
        Literal[
            "ok",
            "error",
            "interrupted",
            "timeout",
            "cancelled",
            "oom",
            "signal",
            "exit",
            "lost",
        ]
        | None
    ) = None
    """
    Result of the cell, if its state is done.
    """
    truncated: bool | None = None
    """
    True if outputs has only the beginning and the end of a long output. get-cell-text returns more of the text.
    """
    undone: bool | None = None
    """
    True after a rollback to an earlier checkpoint: the cell's effects are gone, and the notebook omits the cell.
    """
    usage: Usage | None = None
    """
    Resources that the cell used, once it is done.
    """
    wait_over: bool | None = None
    """
    True if the request's wait ended before the cell was done. The cell continues, and the HTTP status is 202. Send get-cell with wait to wait longer.
    """


@dataclass(frozen=True, kw_only=True)
class CellList:
    cells: list[Cell]
    """
    Cells of the session, oldest first.
    """


@dataclass(frozen=True, kw_only=True)
class Command:
    exit_code: int
    """
    Exit status. If a signal ended the command, 128 plus the signal's number, as in a shell.
    """
    first: int
    """
    Number of the first event of the command.
    """
    id: str
    """
    Command id.
    """
    session: str
    """
    Session of the command.
    """
    started: datetime
    """
    Time at which the server accepted the command.
    """
    state: Literal["running", "done"]
    """
    State of the command.
    """
    stderr: CommandOutput
    """
    Standard error.
    """
    stdout: CommandOutput
    """
    Standard output, or the output of the terminal.
    """
    args: list[str] | None = None
    """
    Program and arguments, if the request had no shell line.
    """
    cause: str | None = None
    """
    One sentence that explains the status, if it needs one.
    """
    command: str | None = None
    """
    Shell line, if the request had one.
    """
    cwd: str | None = None
    """
    Working directory. Absent means /workspace.
    """
    dropped: int | None = None
    """
    Bytes of output that were not stored. They are in no event.
    """
    ended: datetime | None = None
    """
    Time at which the command was done.
    """
    last: int | None = None
    """
    Number of the last event of the command.
    """
    pid: int | None = None
    """
    Process id in the sandbox.
    """
    signal: str | None = None
    """
    Signal that ended the command.
    """
    status: Literal["ok", "exit", "signal", "timeout", "oom", "lost"] | None = None
    """
    Result of the command, if its state is done.
    """
    tag: str | None = None
    """
    Label of the caller.
    """
    tty: Terminal | None = None
    """
    Initial size of the terminal, if the command has one.
    """
    wait_over: bool | None = None
    """
    True if the request's wait ended before the command was done. The command continues, and the HTTP status is 202. Send get-command with wait to wait longer.
    """


@dataclass(frozen=True, kw_only=True)
class CommandList:
    commands: list[Command]
    """
    Commands of the session, oldest first.
    """


@dataclass(frozen=True, kw_only=True)
class Completion:
    end: int
    """
    Position in the code where the replaced part ends, in Unicode characters.
    """
    matches: list[CompletionMatch]
    """
    Texts that can replace the code from start to end, at most 1000. The kernel is not trusted: a text can have control characters.
    """
    start: int
    """
    Position in the code where the replaced part begins, in Unicode characters.
    """
    truncated: bool | None = None
    """
    True if matches were left out, because there are too many or they are too long.
    """


@dataclass(frozen=True, kw_only=True)
class CreateSession:
    at_deadline: Literal["end", "hibernate"] | None = None
    """
    Action at the deadline. Absent means end.
    """
    cwd: str | None = None
    """
    Working directory of the session's kernels and commands, and the base of relative paths: an absolute path of an existing directory. Absent means /workspace.
    """
    egress: Egress | None = None
    """
    Network access of the session's code. Absent means the server's default. Access beyond the server's policy is refused.
    """
    env: dict[str, str] | None = None
    """
    Variables to add to the environment of the session's kernels and commands, at most 64 KiB. The server does not return them.
    """
    figures: Figures | None = None
    """
    Default format of figures in the session's cells.
    """
    image: str | None = None
    """
    Name of an image. Absent means the template's image, or the server's default.
    """
    lifetime: float | None = None
    """
    Seconds until the session's deadline. Absent or 0 means no deadline: the session ends when it is idle.
    """
    limits: Limits | None = None
    """
    Limits of the session's sandbox. Absent members mean the server's defaults. Limits above the server's maximum are refused.
    """
    metadata: dict[str, str] | None = None
    """
    Your notes, stored and returned unchanged. Keys and values have at most 1 KiB.
    """
    public_ports: bool | None = None
    """
    If true, everybody can reach the ports of the session through hosts of the server (--host), without a token. Refused if the server does not allow it (--public-ports).
    """
    resume: Literal["use", "request"] | None = None
    """
    Use or request that resumes the session after a requested hibernation, or after one at the deadline. Absent means use.
    """
    secrets: list[Secret] | None = None
    """
    Values that code can use without seeing them. Environment variables have placeholders, and the server replaces them in headers of HTTPS requests to the secret's host. The server never returns the values.
    """
    startup: str | None = None
    """
    Code that runs without output after each start of the kernel, at most 64 KiB. If it fails, the session starts anyway, and the detail of a kernel_state event has the reason.
    """
    template: str | None = None
    """
    Name of a template. Absent means the default template, or none if image names another image. The template sets all values that the request omits.
    """
    user: str | None = None
    """
    Label of the person or agent. Never used as a path.
    """


@dataclass(frozen=True, kw_only=True)
class Directory:
    entries: list[FileInfo]
    """
    Entries, sorted by the bytes of their names.
    """
    next: str | None = None
    """
    Percent-encoded name. Send it as after to get the next page. Absent on the last page.
    """


@dataclass(frozen=True, kw_only=True)
class FileList:
    files: list[OutputFile]
    """
    Files, sorted by path.
    """


@dataclass(frozen=True, kw_only=True)
class Installation:
    changes: list[PackageChange]
    """
    Packages that were added, changed or removed, by name. Empty if all packages were present before.
    """
    hooks: list[StartHook]
    """
    New or changed files that every Python process runs or reads at its start. Most packages have none.
    """
    imports: list[str]
    """
    Modules of the requested packages, the likeliest first.
    """
    log: str
    """
    Output of the installer.
    """
    present: list[Package]
    """
    Requested packages that were present before, in a version that fits.
    """
    stale: list[StaleModule]
    """
    Modules in running kernels that are out of date: their package has another version now, or they looked for a package before it was installed. Restart the kernel to reload them.
    """
    warnings: list[str]
    """
    Warnings for the user, each one sentence.
    """


@dataclass(frozen=True, kw_only=True)
class Problem:
    detail: str
    """
    Message for people.
    """
    kind: Literal[
        "invalid",
        "not_found",
        "conflict",
        "denied",
        "exhausted",
        "unavailable",
        "unsupported",
        "internal",
    ]
    """
    Kind of the error. Programs should decide by it.
    """
    request_id: str
    """
    Id of this request in the server's log.
    """
    status: int
    """
    HTTP status.
    """
    title: str
    """
    Text of the HTTP status.
    """
    errors: list[ProblemField] | None = None
    """
    Invalid parts of the request.
    """


@dataclass(frozen=True, kw_only=True)
class RunRequest:
    args: list[str] | None = None
    """
    Arguments of the program. With tests, they come before the arguments of each test.
    """
    code: str | None = None
    """
    Source code, at most 4 MiB. Send either code or command.
    """
    command: str | None = None
    """
    Line for a shell, in place of code. It can use the files of the request.
    """
    deadline: float | None = None
    """
    Maximum time of the whole run in seconds, with the start of the sandbox, the packages and the compiler. Absent or 0 means 600.
    """
    egress: Egress | None = None
    """
    Network access of the code. Absent means the server's default.
    """
    env: dict[str, str] | None = None
    """
    Variables to add to the environment of the code, at most 64 KiB.
    """
    files: list[RunFile] | None = None
    """
    Files that the sandbox has before the code runs.
    """
    image: str | None = None
    """
    Name of an image. Absent means the template's image, or the server's default.
    """
    language: str | None = None
    """
    Language of the code: python, bash, javascript, typescript, r, c, cpp, go, rust or java. The image must have its tools; the image polyglot has all. Absent means python.
    """
    limits: Limits | None = None
    """
    Limits of the sandbox. Absent members mean the server's defaults.
    """
    mode: Literal["cell", "program"] | None = None
    """
    cell: in a Jupyter kernel, with figures, values and the exception. program: as a program, with args, stdin and an exit status. Absent means cell for Python without stdin, args and tests, and program otherwise.
    """
    packages: list[str] | None = None
    """
    Requirements to install before the code runs, in pip's syntax.
    """
    stdin: str | None = None
    """
    Standard input of the program. Absent means an empty input.
    """
    template: str | None = None
    """
    Name of a template. Absent means the default template, or none if image names another image.
    """
    tests: list[RunTest] | None = None
    """
    Tests of the program. The program is compiled once, and runs once for each test, one after the other, in the same sandbox. The expected outputs never enter the sandbox.
    """
    timeout: float | None = None
    """
    Maximum time of the code in seconds; with tests, of each test. Absent or 0 means the deadline, with tests 10 s.
    """


@dataclass(frozen=True, kw_only=True)
class RunResult:
    files: list[RunChangedFile]
    """
    Files below /workspace and /mnt/data/output that the code created or changed, at most 100. Empty with tests.
    """
    index: int
    """
    Position of the run in its batch, from 0.
    """
    outputs: list[Output]
    """
    Figures, displays and the value of the last expression of a cell, in notebook form, at most 4 MiB of JSON. Text that the code prints is in stdout and stderr.
    """
    passed: int
    """
    Number of tests that passed.
    """
    status: Literal[
        "ok",
        "failed",
        "error",
        "exit",
        "signal",
        "timeout",
        "oom",
        "compile_error",
        "lost",
        "refused",
    ]
    """
    Result of the run. ok: the code ended without an error, and all tests passed. failed: a test did not pass. error: the code of a cell raised an exception. compile_error: the code did not run, and stdout and stderr are those of the compiler. lost: the sandbox or the server ended. refused: the code did not run, and error has the reason; only in a batch.
    """
    stderr: CommandOutput
    """
    Standard error, like stdout.
    """
    stdout: CommandOutput
    """
    Standard output: all of it, or the first and the last 64 KiB.
    """
    tests: list[RunTestResult]
    """
    Results of the tests, in the order of the request. Empty if the code did not run.
    """
    cause: str | None = None
    """
    One sentence that explains the status, if it needs one.
    """
    error: RunError | None = None
    """
    Why the code did not run, if the status is refused.
    """
    exception: RunRaised | None = None
    """
    Exception of a cell.
    """
    exit_code: int | None = None
    """
    Exit status. If a signal ended the program, 128 plus the signal's number. For a cell, 0 or 1. Absent if there is none, and with tests.
    """
    more_files: bool | None = None
    """
    True if files does not list all files.
    """
    omitted_outputs: int | None = None
    """
    Number of outputs that are omitted, because they are above the limits.
    """
    signal: str | None = None
    """
    Signal that ended the program.
    """
    usage: Usage | None = None
    """
    Resources that the code used, measured for the whole sandbox. Without root, only the time is known.
    """


@dataclass(frozen=True, kw_only=True)
class StartCommand:
    args: list[str] | None = None
    """
    Program and arguments, run without a shell. Send either command or args.
    """
    command: str | None = None
    """
    Line for a shell: bash, or sh in images without bash. Send either command or args.
    """
    cwd: str | None = None
    """
    Working directory: an absolute path, or a path relative to the session's directory. Absent means that directory.
    """
    env: dict[str, str] | None = None
    """
    Variables to add to the environment. The server does not store or return them.
    """
    no_input: bool | None = None
    """
    If true, the standard input ends at once.
    """
    tag: str | None = None
    """
    Your label of the command.
    """
    timeout: float | None = None
    """
    Maximum run time in seconds. Absent or 0 means the server's default, or with a terminal the server's maximum.
    """
    tty: Terminal | None = None
    """
    Size of a terminal for the command. With a terminal, all output is in stdout.
    """


@dataclass(frozen=True, kw_only=True)
class StartRuns:
    runs: list[RunRequest]
    """
    Runs of the batch.
    """
    parallel: int | None = None
    """
    Maximum number of runs at the same time. The server can run fewer. Absent or 0 means 8.
    """
