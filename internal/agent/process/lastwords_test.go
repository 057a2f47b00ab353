package process_test

import (
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"

	"cellhold/internal/agent/kernels"
	"cellhold/internal/jupyter"
)

// dying is a kernel that uses the queue of the stock image's kernel. It answers one request, prints more than the
// socket holds, and dies.
const dying = `
import json, os, socket
from cellhold_kernel import unsent, wire

def frame(channel, type, parent, **content):
    return wire.encode(channel, [json.dumps({"msg_type": type}).encode(), json.dumps(parent).encode(), b"{}", json.dumps(content).encode()])

def frames(texts):
    return [frame(wire.IOPUB, "stream", parent, name=name, text=text) for name, parent, text in texts]

sock = socket.socket(fileno=int(os.environ["CELLHOLD_STREAM"]))
reader, got = wire.Reader(sock), []
while not reader.take(got):
    reader.read()
request = json.loads(got[0][1][0])
writer = wire.Writer(sock, frames, unsent.Unsent(int(os.environ["CELLHOLD_UNSENT"])))
writer.queue(frame(wire.SHELL, "kernel_info_reply", request), 1)
writer.send()
for text in BEFORE:
    writer.queue(("stdout", {"msg_id": "a"}, text), len(text))
if BEFORE:
    writer.send(wait=False)
writer.queue(("stdout", {"msg_id": "a"}, "later \N{SNOWMAN}\ud83d\ude00"), 1)
writer.queue(("stderr", {"msg_id": "a"}, b"by a program"), 1)
writer.queue(frame(wire.IOPUB, "stream", {"msg_id": "a"}, name="stdout", text="a frame"), 1)
os.kill(os.getpid(), 9)
`

// TestTheLastWordsOfThePythonKernelAreRead reads what the code of the stock image leaves.
func TestTheLastWordsOfThePythonKernelAreRead(t *testing.T) {
	const later = "stdout later ☃😀; stderr by a program; stdout a frame; "
	for name, test := range map[string]struct {
		before string // Python: texts in a block that is sent in part
		first  string // the text of its first message
		want   string
	}{
		"all is queued":     {`[]`, "", later},
		"the block is sent": {`["short"]`, "", "stdout short; " + later},
		"a part is sent":    {`["first", "x" * 500_000]`, "first", "stdout first; stdout " + strings.Repeat("x", 500_000) + "; " + later},
	} {
		t.Run(name, func(t *testing.T) {
			modules, err := filepath.Abs(image + "/usr/local/lib/python3.13/dist-packages")
			if err != nil {
				t.Fatal(err)
			}
			p, err := streamer(t, shortDir(t), []string{findPython(t), "-c", strings.Replace(dying, "BEFORE", test.before, 2)},
				kernels.LaunchSpec{Env: map[string]string{"PYTHONPATH": modules, "PYTHONDONTWRITEBYTECODE": "1"}})
			if err != nil {
				t.Fatal(err)
			}
			var said strings.Builder
			c, err := jupyter.DialStream(t.Context(), p.Stream(), jupyter.Options{
				Dead: p.Done(), Unsent: p.Unsent,
				OnMessage: func(m jupyter.Message) {
					var c struct{ Name, Text string }
					if json.Unmarshal(m.Content, &c); m.Header.MsgType == "stream" && m.Parent.MsgID == "a" {
						said.WriteString(c.Name + " " + c.Text + "; ")
					}
					if test.first != "" && c.Text == test.first {
						<-p.Done() // the rest fills the socket
					}
				},
			})
			if err != nil {
				t.Fatalf("%v; %+v", err, ended(t, p))
			}
			ended(t, p)
			<-c.Done()
			if got := said.String(); got != test.want || c.Lost() != 0 {
				t.Errorf("%d bytes %.100q … %q, %d lost; want %d bytes", len(got), got, got[max(0, len(got)-100):], c.Lost(), len(test.want))
			}
		})
	}
}
