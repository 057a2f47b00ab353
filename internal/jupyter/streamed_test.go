package jupyter_test

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"cellhold/internal/jupyter"
	"cellhold/internal/jupyter/jupytertest"
	"cellhold/internal/jupyter/stream"
)

// TestTheSameHappensOverAStream runs the tests of the client that hold for both transports.
func TestTheSameHappensOverAStream(t *testing.T) {
	for name, test := range map[string]func(*testing.T){
		"cell":      TestACellGivesItsOutputInOrderAndKeepsItsVariables,
		"interrupt": TestAnInterruptEndsALoopAndKeepsTheVariables,
		"input":     TestAnInputRequestIsAnswered,
		"death":     TestTheDeathOfTheKernelIsReported,
		"shutdown":  TestShutdownIsAnsweredBeforeTheKernelEnds,
		"limit":     TestAMessageOverTheLimitArrivesWithoutItsContent,
		"flood":     TestAFloodArrivesWhole,
		"close":     TestCloseLeavesNoGoroutineAndCanBeRepeated,
		"iopub":     TestNothingIsSentOnIOPub,
		"unknown":   TestAnUnknownRequestIsAnsweredWithItsHeader,
		"comm":      TestACommMessageKeepsItsBuffers,
		"header":    TestAnExecutionHasTheHeaderOfItsRequest,
	} {
		t.Run(name, test)
	}
}

func overStream(t testing.TB) bool {
	return strings.HasPrefix(t.Name(), "TestTheSameHappensOverAStream/")
}

// pair returns both ends of a stream.
func pair(t testing.TB) (ours, theirs net.Conn) {
	t.Helper()
	ours, f, err := stream.Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if theirs, err = net.FileConn(f); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ours.Close(); theirs.Close() })
	return ours, theirs
}

func TestTheRequestWaitsForAKernelThatReadsLate(t *testing.T) {
	ours, theirs := pair(t)
	timer := time.AfterFunc(50*time.Millisecond, func() {
		k, err := jupytertest.StartWith(t.Context(), jupyter.Connection{}, jupytertest.Options{Stream: theirs})
		if err != nil {
			t.Error(err)
			return
		}
		t.Cleanup(func() { k.Close() })
	})
	defer timer.Stop()
	c, err := jupyter.DialStream(soon(t), ours, jupyter.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if c.Info().LanguageInfo.Name != "toy" || c.Signed() {
		t.Fatalf("got %+v, signed %v", c.Info(), c.Signed())
	}
}

func TestDialStreamEndsWithItsContextAndClosesTheStream(t *testing.T) {
	ours, theirs := pair(t)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if _, err := jupyter.DialStream(ctx, ours, jupyter.Options{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("got %v", err)
	}
	if _, err := io.Copy(io.Discard, theirs); err != nil { // after the request comes the end
		t.Fatal(err)
	}
}

func TestDialStreamGivesUpAtOnceWhenTheKernelDies(t *testing.T) {
	ours, _ := pair(t)
	dead := make(chan struct{})
	time.AfterFunc(20*time.Millisecond, func() { close(dead) })
	if _, err := jupyter.DialStream(soon(t), ours, jupyter.Options{Dead: dead}); !errors.Is(err, jupyter.ErrDead) {
		t.Fatalf("got %v", err)
	}
}

func TestAStreamThatEndsEarlyIsAnErrorWithTheReason(t *testing.T) {
	for sent, want := range map[string]string{
		"":                                 "connection to the kernel lost: EOF",
		"\x01":                             "unexpected EOF",
		"\x14\x00\x00\x00\x09\x00\x04\x00": "a frame for channel 9",
	} {
		ours, theirs := pair(t)
		theirs.Write([]byte(sent))
		theirs.(*net.UnixConn).CloseWrite()
		if _, err := jupyter.DialStream(soon(t), ours, jupyter.Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("after %q: got %v, want %q", sent, err, want)
		}
	}
}

// TestAMessageWithTheWrongFormIsDropped: only the form of frames is part of the transport.
func TestAMessageWithTheWrongFormIsDropped(t *testing.T) {
	ours, theirs := pair(t)
	end := stream.New(theirs, stream.Options{})
	empty := []byte("{}")
	for _, header := range []string{"", "[]", "{}", `{"msg_type":1}`} {
		if err := end.Send(stream.IOPub, []byte(header), empty, empty, empty); err != nil {
			t.Fatal(err)
		}
	}
	k, err := jupytertest.StartWith(t.Context(), jupyter.Connection{}, jupytertest.Options{Stream: theirs})
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	c, b := connectTo(t, func(o jupyter.Options) (*jupyter.Client, error) { return jupyter.DialStream(soon(t), ours, o) }, jupyter.Options{})
	b.finished(t, execute(t, c, "print here"))
	if all, _ := b.answers("", ""); len(all) != 0 {
		t.Fatalf("%d messages with the wrong form came", len(all))
	}
}

func TestNothingIsSentOnIOPub(t *testing.T) {
	_, c, _ := toy(t, jupytertest.Options{})
	for _, ch := range []jupyter.Channel{jupyter.IOPub, "heartbeat"} {
		if _, err := c.Send(ch, "status", struct{}{}); err == nil {
			t.Errorf("a message was sent on %s", ch)
		}
	}
}

// TestARequestToAKernelThatDoesNotReadEndsWithItsContext: the send itself can take minutes.
func TestARequestToAKernelThatDoesNotReadEndsWithItsContext(t *testing.T) {
	ours, theirs := pair(t)
	end := stream.New(theirs, stream.Options{})
	ready := make(chan error, 1)
	go func() {
		m, err := end.Recv()
		if err == nil {
			err = end.Send(stream.Shell, []byte(`{"msg_type":"kernel_info_reply"}`), m.Parts[0], []byte("{}"), []byte("{}"))
		}
		ready <- err
	}()
	c, err := jupyter.DialStream(soon(t), ours, jupyter.Options{})
	if err := errors.Join(err, <-ready); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, err = c.Request(ctx, jupyter.Shell, "large_request", map[string]string{"text": strings.Repeat("x", 8<<20)})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the request ended with %v, want its deadline", err)
	}
	c.Close() // ends the send
}
