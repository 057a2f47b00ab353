"""Shows as outputs what a kernel would tell a front end in other ways.

The reply to a cell may have payloads: text for a pager, as of `obj?` and %prun, and the next input, as of %load.
No caller of a session has a pager, so that they are outputs of the cell here. An object may name its display in
its metadata, as display(…, display_id=…) does; later code can update the output then.
"""

import re
import sys

from IPython.core.payload import PayloadManager
from ipykernel.displayhook import ZMQShellDisplayHook
from ipykernel.zmqshell import ZMQDisplayPublisher

COLOR = re.compile(r"\x1b\[[0-9;]*m")

_write_payload = PayloadManager.write_payload
_write_format_data = ZMQShellDisplayHook.write_format_data
_publish = ZMQDisplayPublisher.publish


def _show_payload(manager, data, single=True):
    source = data.get("source")
    if source == "page":
        bundle = dict(data["data"])
        bundle["text/plain"] = COLOR.sub("", str(bundle.get("text/plain", "")))
        manager.parent.display_pub.publish(data=bundle)
    elif source == "set_next_input":
        manager.parent.display_pub.publish(data={"text/plain": "The next input is:\n" + data["text"]})
    elif source == "edit_magic":
        print(f"A session has no editor. The file is {data['filename']}.", file=sys.stderr)
    else:
        _write_payload(manager, data, single)


def _named(metadata):
    """Returns metadata without the name of a display, and what a message has for that (dict), or None."""
    if not isinstance(metadata, dict) or not ("display_id" in metadata or "transient" in metadata):
        return metadata, None
    rest = dict(metadata)
    name, transient = rest.pop("display_id", None), rest.pop("transient", None)
    if isinstance(transient, dict):
        name = transient.get("display_id", name)
    return rest, {"display_id": name} if isinstance(name, str) else None


def _write_result(hook, format_dict, md_dict=None):
    metadata, name = _named(md_dict)
    _write_format_data(hook, format_dict, metadata)
    if hook.msg and name:
        hook.msg["content"]["transient"] = name


def _publish_display(publisher, data, metadata=None, transient=None, update=False):
    metadata, name = _named(metadata)
    _publish(publisher, data, metadata, transient or name, update)


def install():
    """Makes kernels of this process show these."""
    PayloadManager.write_payload = _show_payload
    ZMQShellDisplayHook.write_format_data = _write_result
    ZMQDisplayPublisher.publish = _publish_display
