"""Turns messages for a front end into outputs of the cell.

The reply to a cell can have payloads: text for a pager, as from `obj?` and %prun, or the next input, as from %load.
Callers have no pager, so payloads are outputs of the cell here. An object can name its display in its metadata, as
display(…, display_id=…) does. Later code can then update the output.
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


def _split_name(metadata):
    """Returns metadata without the name of a display, and the message's transient field with the name (dict) or None."""
    if not isinstance(metadata, dict) or not ("display_id" in metadata or "transient" in metadata):
        return metadata, None
    rest = dict(metadata)
    name, transient = rest.pop("display_id", None), rest.pop("transient", None)
    if isinstance(transient, dict):
        name = transient.get("display_id", name)
    return rest, {"display_id": name} if isinstance(name, str) else None


def _write_result(hook, format_dict, md_dict=None):
    metadata, name = _split_name(md_dict)
    _write_format_data(hook, format_dict, metadata)
    if hook.msg and name:
        hook.msg["content"]["transient"] = name


def _publish_display(publisher, data, metadata=None, transient=None, update=False):
    metadata, name = _split_name(metadata)
    _publish(publisher, data, metadata, transient or name, update)


def install():
    """Makes kernels of this process show such messages as outputs."""
    PayloadManager.write_payload = _show_payload
    ZMQShellDisplayHook.write_format_data = _write_result
    ZMQDisplayPublisher.publish = _publish_display
