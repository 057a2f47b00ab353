package jupyter

import (
	"bytes"
	"net"
	"testing"
	"time"

	"cellhold/internal/jupyter/stream"
)

// sink is the agent's end of a stream whose kernel has sent all its bytes, and reads everything at once.
type sink struct{ *bytes.Reader }

func (sink) Write(b []byte) (int, error)      { return len(b), nil }
func (sink) TryWrite(b []byte) (int, error)   { return len(b), nil }
func (sink) Close() error                     { return nil }
func (sink) LocalAddr() net.Addr              { return nil }
func (sink) RemoteAddr() net.Addr             { return nil }
func (sink) SetDeadline(time.Time) error      { return nil }
func (sink) SetReadDeadline(time.Time) error  { return nil }
func (sink) SetWriteDeadline(time.Time) error { return nil }

// BenchmarkExecute encodes and sends the request of a small cell.
func BenchmarkExecute(b *testing.B) {
	c := newClient("", Options{})
	c.transport = &streamed{client: c, conn: stream.New(sink{bytes.NewReader(nil)}, stream.Options{})}
	for b.Loop() {
		if _, err := c.Execute(ExecuteRequest{Code: "x = 1\nprint(\"x\")", StoreHistory: true}); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkReceive reads the messages of a small cell.
func BenchmarkReceive(b *testing.B) {
	const header = `{"msg_id": "0b1c0a3e-6c5d4e3f2a1b0c9d8e7f6a5b_12345_7", "msg_type": "status", "username": "username", "session": "0b1c0a3e-6c5d4e3f2a1b0c9d8e7f6a5b", "date": "2026-11-29T10:19:27.123456Z", "version": "5.4"}`
	const parent = `{"msg_id":"0b1c0a3e6c5d4e3f2a1b0c9d8e7f6a5b_5","msg_type":"execute_request","session":"0b1c0a3e6c5d4e3f2a1b0c9d8e7f6a5b","username":"jupyter","date":"2026-11-29T10:19:27.123456Z","version":"5.3"}`
	var all []byte
	for _, content := range []string{
		`{"execution_state": "busy"}`, `{"code": "1+1", "execution_count": 5}`, `{"data": {"text/plain": "2"}, "metadata": {}, "execution_count": 5}`,
		`{"status": "ok", "execution_count": 5, "user_expressions": {}, "payload": []}`, `{"execution_state": "idle"}`,
	} {
		frame, err := stream.Frame(stream.IOPub, []byte(header), []byte(parent), []byte("{}"), []byte(content))
		if err != nil {
			b.Fatal(err)
		}
		all = append(all, frame...)
	}
	r := bytes.NewReader(nil)
	s := &streamed{conn: stream.New(sink{r}, stream.Options{})}
	for b.Loop() {
		r.Reset(all)
		for range 5 {
			if _, err := s.receive(); err != nil {
				b.Fatal(err)
			}
		}
	}
}
