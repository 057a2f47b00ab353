# Generated from api/openapi.yaml by python/tools/generate.py. Do not edit.
"""The operations of the HTTP API."""

from typing import NamedTuple


class Operation(NamedTuple):
    """One operation: its id in the document, its method and its path."""

    id: str
    method: str
    path: str


HEALTH = Operation("health", "GET", "/v1/health")
READY = Operation("ready", "GET", "/v1/ready")
RUN = Operation("run", "POST", "/v1/run")
RUN_BATCH = Operation("run-batch", "POST", "/v1/runs")
LIST_SESSIONS = Operation("list-sessions", "GET", "/v1/sessions")
CREATE_SESSION = Operation("create-session", "POST", "/v1/sessions")
DELETE_SESSION = Operation("delete-session", "DELETE", "/v1/sessions/{id}")
GET_SESSION = Operation("get-session", "GET", "/v1/sessions/{id}")
LIST_CELLS = Operation("list-cells", "GET", "/v1/sessions/{id}/cells")
SUBMIT_CELL = Operation("submit-cell", "POST", "/v1/sessions/{id}/cells")
GET_CELL = Operation("get-cell", "GET", "/v1/sessions/{id}/cells/{cell}")
CANCEL_CELL = Operation("cancel-cell", "POST", "/v1/sessions/{id}/cells/{cell}/cancel")
ANSWER_INPUT = Operation("answer-input", "POST", "/v1/sessions/{id}/cells/{cell}/input")
GET_CELL_TEXT = Operation("get-cell-text", "GET", "/v1/sessions/{id}/cells/{cell}/text")
LIST_CHECKPOINTS = Operation("list-checkpoints", "GET", "/v1/sessions/{id}/checkpoints")
MAKE_CHECKPOINT = Operation("make-checkpoint", "POST", "/v1/sessions/{id}/checkpoints")
DELETE_CHECKPOINT = Operation("delete-checkpoint", "DELETE", "/v1/sessions/{id}/checkpoints/{name}")
LIST_COMMANDS = Operation("list-commands", "GET", "/v1/sessions/{id}/commands")
START_COMMAND = Operation("start-command", "POST", "/v1/sessions/{id}/commands")
END_COMMAND = Operation("end-command", "DELETE", "/v1/sessions/{id}/commands/{command}")
GET_COMMAND = Operation("get-command", "GET", "/v1/sessions/{id}/commands/{command}")
READ_COMMAND_EVENTS = Operation("read-command-events", "GET", "/v1/sessions/{id}/commands/{command}/events")
RESIZE_COMMAND = Operation("resize-command", "POST", "/v1/sessions/{id}/commands/{command}/resize")
SIGNAL_COMMAND = Operation("signal-command", "POST", "/v1/sessions/{id}/commands/{command}/signal")
WRITE_COMMAND_INPUT = Operation("write-command-input", "POST", "/v1/sessions/{id}/commands/{command}/stdin")
COMPLETE = Operation("complete", "POST", "/v1/sessions/{id}/complete")
SET_DEADLINE = Operation("set-deadline", "PUT", "/v1/sessions/{id}/deadline")
LIST_EGRESS = Operation("list-egress", "GET", "/v1/sessions/{id}/egress")
READ_EVENTS = Operation("read-events", "GET", "/v1/sessions/{id}/events")
REMOVE_FILE = Operation("remove-file", "DELETE", "/v1/sessions/{id}/files")
LIST_DIRECTORY = Operation("list-directory", "GET", "/v1/sessions/{id}/files")
UPLOAD_FILES = Operation("upload-files", "POST", "/v1/sessions/{id}/files")
DOWNLOAD_ARCHIVE = Operation("download-archive", "GET", "/v1/sessions/{id}/files/archive")
UPLOAD_ARCHIVE = Operation("upload-archive", "PUT", "/v1/sessions/{id}/files/archive")
DOWNLOAD_FILE = Operation("download-file", "GET", "/v1/sessions/{id}/files/content")
UPLOAD_FILE = Operation("upload-file", "PUT", "/v1/sessions/{id}/files/content")
MAKE_DIRECTORY = Operation("make-directory", "POST", "/v1/sessions/{id}/files/directory")
MOVE_FILE = Operation("move-file", "POST", "/v1/sessions/{id}/files/move")
STAT_FILE = Operation("stat-file", "GET", "/v1/sessions/{id}/files/stat")
WATCH_DIRECTORY = Operation("watch-directory", "GET", "/v1/sessions/{id}/files/watch")
FORK = Operation("fork", "POST", "/v1/sessions/{id}/fork")
HIBERNATE = Operation("hibernate", "POST", "/v1/sessions/{id}/hibernate")
GET_HISTORY = Operation("get-history", "GET", "/v1/sessions/{id}/history")
INSPECT = Operation("inspect", "POST", "/v1/sessions/{id}/inspect")
INTERRUPT = Operation("interrupt", "POST", "/v1/sessions/{id}/interrupt")
IS_COMPLETE = Operation("is-complete", "POST", "/v1/sessions/{id}/is-complete")
LIST_KERNELS = Operation("list-kernels", "GET", "/v1/sessions/{id}/kernels")
ADD_KERNEL = Operation("add-kernel", "POST", "/v1/sessions/{id}/kernels")
DELETE_KERNEL = Operation("delete-kernel", "DELETE", "/v1/sessions/{id}/kernels/{kernel}")
LIST_KERNELSPECS = Operation("list-kernelspecs", "GET", "/v1/sessions/{id}/kernelspecs")
GET_NOTEBOOK = Operation("get-notebook", "GET", "/v1/sessions/{id}/notebook")
IMPORT_NOTEBOOK = Operation("import-notebook", "POST", "/v1/sessions/{id}/notebook")
LIST_FILES = Operation("list-files", "GET", "/v1/sessions/{id}/output")
GET_FILE = Operation("get-file", "GET", "/v1/sessions/{id}/output/{path}")
LIST_PACKAGES = Operation("list-packages", "GET", "/v1/sessions/{id}/packages")
INSTALL_PACKAGES = Operation("install-packages", "POST", "/v1/sessions/{id}/packages")
LOCK_PACKAGES = Operation("lock-packages", "GET", "/v1/sessions/{id}/packages/lock")
REMOVE_PACKAGE = Operation("remove-package", "DELETE", "/v1/sessions/{id}/packages/{name}")
GET_PORTS = Operation("get-ports", "GET", "/v1/sessions/{id}/ports")
USE_PORT = Operation("use-port", "GET", "/v1/sessions/{id}/ports/{port}/{path}")
RESTART = Operation("restart", "POST", "/v1/sessions/{id}/restart")
RESUME = Operation("resume", "POST", "/v1/sessions/{id}/resume")
ROLLBACK = Operation("rollback", "POST", "/v1/sessions/{id}/rollback")
STATUS = Operation("status", "GET", "/v1/status")
LIST_TEMPLATES = Operation("list-templates", "GET", "/v1/templates")
VERSION = Operation("version", "GET", "/v1/version")

ALL = (
    ADD_KERNEL,
    ANSWER_INPUT,
    CANCEL_CELL,
    COMPLETE,
    CREATE_SESSION,
    DELETE_CHECKPOINT,
    DELETE_KERNEL,
    DELETE_SESSION,
    DOWNLOAD_ARCHIVE,
    DOWNLOAD_FILE,
    END_COMMAND,
    FORK,
    GET_CELL,
    GET_CELL_TEXT,
    GET_COMMAND,
    GET_FILE,
    GET_HISTORY,
    GET_NOTEBOOK,
    GET_PORTS,
    GET_SESSION,
    HEALTH,
    HIBERNATE,
    IMPORT_NOTEBOOK,
    INSPECT,
    INSTALL_PACKAGES,
    INTERRUPT,
    IS_COMPLETE,
    LIST_CELLS,
    LIST_CHECKPOINTS,
    LIST_COMMANDS,
    LIST_DIRECTORY,
    LIST_EGRESS,
    LIST_FILES,
    LIST_KERNELS,
    LIST_KERNELSPECS,
    LIST_PACKAGES,
    LIST_SESSIONS,
    LIST_TEMPLATES,
    LOCK_PACKAGES,
    MAKE_CHECKPOINT,
    MAKE_DIRECTORY,
    MOVE_FILE,
    READY,
    READ_COMMAND_EVENTS,
    READ_EVENTS,
    REMOVE_FILE,
    REMOVE_PACKAGE,
    RESIZE_COMMAND,
    RESTART,
    RESUME,
    ROLLBACK,
    RUN,
    RUN_BATCH,
    SET_DEADLINE,
    SIGNAL_COMMAND,
    START_COMMAND,
    STATUS,
    STAT_FILE,
    SUBMIT_CELL,
    UPLOAD_ARCHIVE,
    UPLOAD_FILE,
    UPLOAD_FILES,
    USE_PORT,
    VERSION,
    WATCH_DIRECTORY,
    WRITE_COMMAND_INPUT,
)
