"""Modules that replace zmq, tornado, jupyter_client and psutil while ipykernel is imported.

ipykernel's own modules are the real ones. They import few names of these four packages. The stand-ins have these names,
with values that fit the stream. After the import the stand-ins are taken out of sys.modules, so that the user's code
gets the real modules. From then on a stand-in takes all other names from the real module.
"""

import contextlib
import importlib
import json
import sys
import types

import cellhold_encoding

from . import channels, loop, session

_INFO = (8, 0, 0)  # for this version of jupyter_client, ipykernel does not clean messages


class StandIn(types.ModuleType):
    """A module with some names. After the imports, all other names come from the real module, and so do names with the
    value None."""

    def __init__(self, name, **names):
        super().__init__(name, "A stand-in while ipykernel is imported.")
        self.__path__ = []
        self.__dict__.update(names)

    def __getattr__(self, name):
        if name.startswith("__") or sys.modules.get(self.__name__) is self:
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(self.__name__), name)


class _Error(Exception):
    errno = 0


def _mixin():
    from traitlets import Instance, Integer, Unicode
    from traitlets.config import LoggingConfigurable

    class ConnectionFileMixin(LoggingConfigurable):
        """The traits of jupyter_client's class, without its sockets."""

        connection_file = Unicode("", config=True, help="A file with addresses; a kernel on the stream has none.")
        transport = Unicode("ipc", config=True)
        kernel_name, ip = Unicode(), Unicode(config=True)
        hb_port, shell_port, iopub_port = Integer(config=True), Integer(config=True), Integer(config=True)
        stdin_port, control_port = Integer(config=True), Integer(config=True)
        session = Instance(session.Session)

        def _session_default(self):
            return session.Session(parent=self)

    return ConnectionFileMixin


def _modules():
    stream = channels.ZMQStream
    yield StandIn("zmq", ROUTING_ID=5, NOBLOCK=1, POLLIN=channels.POLLIN, POLLOUT=channels.POLLOUT, EAGAIN=11, ZMQError=_Error, Socket=stream, Context=None)
    yield StandIn("zmq.eventloop")
    yield StandIn("zmq.eventloop.zmqstream", ZMQStream=stream)
    yield StandIn("zmq.utils")
    yield StandIn("zmq.utils.jsonapi", loads=json.loads, dumps=lambda value, **kwargs: json.dumps(value, **kwargs).encode())
    yield StandIn("tornado")
    yield StandIn("tornado.ioloop", IOLoop=loop.IOLoop)
    yield StandIn("tornado.queues", Queue=None, QueueEmpty=_Error)
    yield StandIn("tornado.locks", Event=None)
    yield StandIn("jupyter_client", write_connection_file=None, find_connection_file=None)
    yield StandIn("jupyter_client._version", version_info=_INFO)
    yield StandIn("jupyter_client.connect", ConnectionFileMixin=_mixin())
    yield StandIn("jupyter_client.jsonutil", json_default=cellhold_encoding.default)
    yield StandIn("jupyter_client.localinterfaces", localhost=lambda: "127.0.0.1")
    yield StandIn("jupyter_client.session", Session=session.Session, extract_header=session.extract_header,
                  utcnow=session.utcnow, session_aliases=session.session_aliases, session_flags=session.session_flags)
    yield StandIn("psutil", Process=None)


@contextlib.contextmanager
def installed():
    """Makes imports inside a with statement find the stand-ins."""
    modules = {module.__name__: module for module in _modules()}
    for name, module in modules.items():
        parent, _, child = name.rpartition(".")
        if parent:
            setattr(modules[parent], child, module)
    kept = {name: sys.modules[name] for name in modules if name in sys.modules}
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name, module in modules.items():
            sys.modules.pop(name, None)
            for unused in [name for name, value in module.__dict__.items() if value is None]:
                delattr(module, unused)  # from now on this name comes from the real module
        sys.modules.update(kept)
