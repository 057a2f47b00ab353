package jupyter_test

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"cellhold/internal/jupyter"
	"cellhold/internal/jupyter/jupytertest"
	"cellhold/internal/jupyter/stream"
)

// mortal is a kernel on a stream that has answered one request, and does what a test says.
type mortal struct {
	*testing.T
	conn   net.Conn // the kernel's end
	memory *jupytertest.Memory
	sent   int // bytes
	dead   chan struct{}
	client *jupyter.Client

	mu   sync.Mutex
	said []string // the messages since then
}

// frame returns a frame of iopub with a text.
func frame(parent, text string) []byte {
	content, _ := json.Marshal(map[string]string{"name": "stdout", "text": text})
	return framed(stream.IOPub, `{"msg_type":"stream"}`, `{"msg_id":"`+parent+`"}`, "{}", string(content))
}

func framed(ch stream.Channel, parts ...string) []byte {
	b := binary.LittleEndian.AppendUint16([]byte{byte(ch), 0}, uint16(len(parts)))
	for _, p := range parts {
		b = binary.LittleEndian.AppendUint32(b, uint32(len(p)))
	}
	for _, p := range parts {
		b = append(b, p...)
	}
	return append(binary.LittleEndian.AppendUint32(nil, uint32(len(b))), b...)
}

func newMortal(t *testing.T) *mortal {
	t.Helper()
	ours, theirs := pair(t)
	k := &mortal{T: t, conn: theirs, memory: jupytertest.NewMemory(), dead: make(chan struct{})}
	var answer sync.WaitGroup
	answer.Go(func() {
		m, err := stream.New(theirs, stream.Options{}).Recv()
		if err != nil {
			t.Error(err)
			return
		}
		k.send(framed(stream.Shell, `{"msg_type":"kernel_info_reply"}`, string(m.Parts[0]), "{}", "{}"))
	})
	var err error
	k.client, err = jupyter.DialStream(soon(t), ours, jupyter.Options{OnMessage: k.hear, Dead: k.dead, Unsent: k.memory.Bytes})
	if err != nil {
		t.Fatal(err)
	}
	answer.Wait()
	t.Cleanup(func() { k.client.Close() })
	return k
}

func (k *mortal) send(b []byte) {
	k.Helper()
	if _, err := k.conn.Write(b); err != nil {
		k.Error(err)
	}
	k.sent += len(b)
}

func (k *mortal) hear(m jupyter.Message) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if m.Header.MsgType == "kernel_info_reply" {
		return
	}
	var c struct{ Name, Text string }
	if err := json.Unmarshal(m.Content, &c); err != nil {
		k.Error(err)
	}
	k.said = append(k.said, fmt.Sprintf("%s %s: %s", m.Parent.MsgID, c.Name, c.Text))
}

// die ends the kernel, and returns all that was passed on.
func (k *mortal) die() []string {
	k.Helper()
	k.conn.Close()
	close(k.dead)
	select {
	case <-k.client.Done():
	case <-soon(k).Done():
		k.Fatal("the client does not end")
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.said
}

func (k *mortal) want(got []string, want ...string) {
	k.Helper()
	if !slices.Equal(got, want) {
		k.Errorf("got %.300q, want %.300q", got, want)
	}
}

func TestTheLastOutputOfADeadKernelArrives(t *testing.T) {
	k := newMortal(t)
	k.send(frame("a", "sent"))
	k.memory.Add(stream.StdoutRecord, "a", "one\n")
	k.memory.Add(stream.StdoutRecord, "a", "two\n")
	k.memory.Add(stream.StderrRecord, "a", "three\n")
	k.memory.Add(stream.FrameRecord, "", string(frame("a", "four")))
	k.memory.Add(stream.StdoutRecord, "b", "five\n")
	k.want(k.die(), "a stdout: sent", "a stdout: one\ntwo\n", "a stderr: three\n", "a stdout: four", "b stdout: five\n")
	if k.client.Lost() != 0 {
		t.Errorf("%d bytes are lost", k.client.Lost())
	}
}

// TestAFrameThatWasSentInPartArrives cuts a block of two frames everywhere.
func TestAFrameThatWasSentInPartArrives(t *testing.T) {
	block := slices.Concat(frame("a", "one"), frame("a", "two"))
	for cut := range len(block) + 1 {
		k := newMortal(t)
		k.memory.Add(stream.StdoutRecord, "a", "onetwo")
		k.memory.Begin(k.sent, len(block))
		k.memory.Keep(k.sent+min(cut, 10), block[min(cut, 10):]) // the kernel dies before it notes what it sent later
		k.memory.Add(stream.StdoutRecord, "a", "three")
		k.send(block[:cut])
		if cut == 0 {
			k.want(k.die(), "a stdout: onetwothree")
		} else {
			k.want(k.die(), "a stdout: one", "a stdout: two", "a stdout: three")
		}
	}
}

func TestAFrameWithoutItsEndIsLostAndTheRestArrives(t *testing.T) {
	k := newMortal(t)
	block := slices.Concat(frame("a", "one"), frame("a", "two"))
	k.memory.Add(stream.StdoutRecord, "a", "onetwo")
	k.memory.Begin(k.sent, len(block))
	k.memory.Add(stream.StdoutRecord, "a", "three")
	k.send(block[:len(block)-4])
	k.want(k.die(), "a stdout: one", "a stdout: three")
	if k.client.Lost() != 4 {
		t.Errorf("%d bytes are lost, want 4", k.client.Lost())
	}
}

func TestALongLastOutputComesInPieces(t *testing.T) {
	k := newMortal(t)
	all := strings.Repeat("äé€𝄞", 20_000)
	for rest := all; rest != ""; { // characters are cut, as programs write them
		n := min(1001, len(rest))
		k.memory.Add(stream.StdoutRecord, "a", rest[:n])
		rest = rest[n:]
	}
	said := k.die()
	var got strings.Builder
	for _, s := range said {
		text := strings.TrimPrefix(s, "a stdout: ")
		if len(text) > 64<<10 || !utf8.ValidString(text) {
			t.Errorf("a message of %d bytes", len(text))
		}
		got.WriteString(text)
	}
	if got.String() != all || len(said) != len(all)>>16+1 {
		t.Errorf("%d of %d bytes in %d messages", got.Len(), len(all), len(said))
	}
}

func TestLastOutputWithTheWrongFormIsDropped(t *testing.T) {
	for name, test := range map[string]struct {
		leave func(*mortal)
		want  []string
	}{
		"numbers":         {func(k *mortal) { k.memory.Add(stream.StdoutRecord, "a", "x"); k.memory.Set(0, 1<<63) }, nil},
		"no frame":        {func(k *mortal) { k.memory.Add(stream.FrameRecord, "", "frame") }, nil},
		"an empty frame":  {func(k *mortal) { k.memory.Add(stream.FrameRecord, "", "") }, nil},
		"two frames":      {func(k *mortal) { k.memory.Add(stream.FrameRecord, "", string(frame("a", "1"))+string(frame("a", "2"))) }, nil},
		"a long id":       {func(k *mortal) { k.memory.Add(stream.StdoutRecord, strings.Repeat("i", 60_000), "x") }, nil},
		"no UTF-8":        {func(k *mortal) { k.memory.Add(stream.StdoutRecord, "a", "\xff\xed\xa0\x80") }, []string{"a stdout: ����"}},
		"long and broken": {func(k *mortal) { k.memory.Add(stream.StderrRecord, "a", strings.Repeat("\x80", 64<<10+1)) }, []string{"a stderr: " + strings.Repeat("�", 64<<10), "a stderr: �"}},
		"a broken rest": {func(k *mortal) {
			k.send([]byte{1})
			k.memory.Begin(k.sent-1, 20)
			k.memory.Keep(k.sent, bytes.Repeat([]byte{1}, 19))
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			k := newMortal(t)
			test.leave(k)
			if name != "numbers" {
				k.memory.Add(stream.StdoutRecord, "end", "x")
				test.want = append(test.want, "end stdout: x")
			}
			k.want(k.die(), test.want...)
		})
	}
}

// TestLastOutputFollowsAConnectionThatIsReset: the kernel dies with a request that it has not read.
func TestLastOutputFollowsAConnectionThatIsReset(t *testing.T) {
	k := newMortal(t)
	k.memory.Add(stream.StdoutRecord, "a", "last")
	if _, err := k.client.Send(jupyter.Control, "interrupt_request", struct{}{}); err != nil {
		t.Fatal(err)
	}
	k.want(k.die(), "a stdout: last")
	if !errors.Is(k.client.Err(), syscall.ECONNRESET) && !errors.Is(k.client.Err(), io.EOF) {
		t.Errorf("got %v", k.client.Err())
	}
}

func TestARequestToADeadKernelDoesNotLoseItsOutput(t *testing.T) {
	ours, theirs := pair(t)
	end := stream.New(ours, stream.Options{})
	theirs.Write(frame("a", "sent"))
	theirs.Close()
	empty := []byte("{}")
	if err := end.Send(stream.Shell, empty, empty, empty, empty); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("a request to a closed stream: %v", err)
	}
	if m, err := end.Recv(); err != nil || len(m.Parts) != 4 {
		t.Errorf("%+v, %v", m, err)
	}
}

func TestLastOutputIsReadWhenTheProcessIsDead(t *testing.T) {
	k := newMortal(t)
	k.conn.Close()
	select {
	case <-k.client.Ended():
	case <-soon(t).Done():
		t.Fatal("the end of the connection is not reported")
	}
	select {
	case <-k.client.Done():
		t.Error("the client ended before the process")
	case <-time.After(20 * time.Millisecond):
	}
	if _, err := k.client.Request(soon(t), jupyter.Shell, "kernel_info_request", struct{}{}); err == nil || soon(t).Err() != nil {
		t.Errorf("a request after the end: %v", err)
	}
	k.memory.Add(stream.StdoutRecord, "a", "late")
	k.want(k.die(), "a stdout: late")
}

func TestCloseDoesNotWaitForTheDeathOfTheProcess(t *testing.T) {
	k := newMortal(t)
	k.memory.Add(stream.StdoutRecord, "a", "unsaid")
	k.conn.Close()
	<-k.client.Ended()
	if err := k.client.Close(); err != nil {
		t.Error(err)
	}
	<-k.client.Done()
	k.want(k.said)
}

func TestAStreamThatBreaksTheProtocolHasNoLastOutput(t *testing.T) {
	k := newMortal(t)
	k.memory.Add(stream.StdoutRecord, "a", "unsaid")
	k.send([]byte("Traceback"))
	<-k.client.Done()
	k.want(k.die())
}
