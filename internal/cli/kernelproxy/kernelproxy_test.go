package kernelproxy

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"cellhold"
	"cellhold/client"
	"cellhold/internal/guestapi"
	"cellhold/internal/jupyter"
	"cellhold/internal/jupyter/zmtp"
)

func TestSeveralProgramsUseOneKernelAtOnce(t *testing.T) {
	r := newRig(t)
	a, b := r.program(t, "a"), r.program(t, "b")
	set := a.send(shell, "execute_request", `{"code":"set x kept"}`)
	if got := a.reply(shell, set); !strings.Contains(got, `"ok"`) {
		t.Errorf("got %s, want a reply", got)
	}
	get := b.send(shell, "execute_request", `{"code":"get x"}`)
	if got := b.reply(shell, get); !strings.Contains(got, `"ok"`) { // a fails at a reply that is not its own
		t.Errorf("got %s, want a reply", got)
	}
	for _, p := range []*program{a, b} {
		if got := p.until(get, "idle"); !strings.Contains(got, "kept") || !strings.Contains(got, "execute_input") {
			t.Errorf("%s: got\n%s\nwant the result of the other program too", p.name, got)
		}
	}
	cells, err := r.client.Cells(t.Context(), r.session)
	if err != nil || len(cells) != 2 {
		t.Errorf("got %d cells, %v; want 2", len(cells), err)
	}
}

func TestAQuestionGoesToTheProgramOfItsCell(t *testing.T) {
	r := newRig(t)
	a, b := r.program(t, "a"), r.program(t, "b")
	id := b.send(shell, "execute_request", `{"code":"input x Name?\nget x","allow_stdin":true}`)
	if got := b.reply(stdin, id); !strings.Contains(got, "Name?") {
		t.Errorf("got %s, want the question", got)
	}
	b.send(stdin, "input_reply", `{"value":"Ada","status":"ok"}`)
	if got := a.until(id, "idle"); !strings.Contains(got, "Ada") {
		t.Errorf("got\n%s\nwant the answer as the result", got)
	}
	b.reply(shell, id)
}

func TestAnInterruptOnControlEndsACell(t *testing.T) {
	r := newRig(t)
	p := r.program(t, "a")
	id := p.send(shell, "execute_request", `{"code":"print begun\nloop"}`)
	p.until(id, "begun")
	asked := p.send(control, "interrupt_request", `{}`)
	if got := p.reply(control, asked); !strings.HasPrefix(got, "interrupt_reply") {
		t.Errorf("got %s", got)
	}
	if got := p.reply(shell, id); !strings.Contains(got, "KeyboardInterrupt") {
		t.Errorf("got %s, want the interrupt as its error", got)
	}
}

func TestAHeartbeatIsEchoed(t *testing.T) {
	p := newRig(t).program(t, "a")
	if err := p.of[heartbeat].Send(nil, []byte("ping")); err != nil {
		t.Fatal(err)
	}
	if m, err := p.of[heartbeat].Recv(); err != nil || len(m.Frames) != 2 || string(m.Frames[1]) != "ping" {
		t.Errorf("got %q, %v; want the same frames", m.Frames, err)
	}
}

func TestAMessageWithoutTheKeyDoesNothing(t *testing.T) {
	r := newRig(t)
	p := r.program(t, "a")
	for _, key := range []string{"", "another key"} {
		p.sendHeader(shell, key, jupyter.Header{MsgID: "forged", MsgType: "execute_request"}, `{"code":"print forged"}`)
	}
	if err := p.of[shell].Send([]byte("no message")); err != nil {
		t.Fatal(err)
	}
	id := p.send(shell, "execute_request", `{"code":"print signed"}`)
	if got := p.reply(shell, id); !strings.Contains(got, `"ok"`) {
		t.Errorf("got %s, want the reply to the signed request", got)
	}
	cells, err := r.client.Cells(t.Context(), r.session)
	if err != nil || len(cells) != 1 || !strings.Contains(cells[0].Code, "signed") {
		t.Errorf("got the cells %v, %v; want the signed one", cells, err)
	}
	if got := r.said(); strings.Count(got, "signature") != 1 {
		t.Errorf("got the notes %q, want one about the signature", got)
	}
}

func TestAMessageThatTheServerWouldRefuseGetsAReply(t *testing.T) {
	r := newRig(t)
	p := r.program(t, "a")
	for name, m := range map[string]struct {
		h       jupyter.Header
		content string
	}{
		"header":  {jupyter.Header{MsgID: "1", MsgType: "x_request", Username: strings.Repeat("u", guestapi.MaxClientHeader)}, `{}`},
		"damaged": {jupyter.Header{MsgID: "2", MsgType: "x_request"}, `[]`},
		"bytes":   {jupyter.Header{MsgID: "3", MsgType: "x_request"}, `{"x":"` + strings.Repeat("x", guestapi.MaxWireMessage) + `"}`},
	} {
		p.sendHeader(shell, p.info.Key, m.h, m.content)
		if got := p.reply(shell, m.h.MsgID); !strings.HasPrefix(got, "x_reply") || !strings.Contains(got, name) {
			t.Errorf("%s: got %s, want a reply with the reason", name, got)
		}
		p.until(m.h.MsgID, "idle")
	}
	id := p.send(shell, "kernel_info_request", `{}`)
	if got := p.reply(shell, id); !strings.Contains(got, "protocol_version") {
		t.Errorf("got %s, want the connection to work", got)
	}
}

func TestARequestForTheEndKeepsTheSession(t *testing.T) {
	r := newRig(t)
	p := r.program(t, "a")
	p.reply(shell, p.send(shell, "execute_request", `{"code":"set x kept"}`))
	for _, at := range []string{control, shell} {
		id := p.send(at, "shutdown_request", `{"restart":false}`)
		if got := p.reply(at, id); !strings.Contains(got, "cellhold session rm "+string(r.session)) {
			t.Errorf("got %s, want an error with the remedy", got)
		}
	}
	id := p.send(shell, "execute_request", `{"code":"get x"}`)
	if got := p.until(id, "idle"); !strings.Contains(got, "kept") {
		t.Errorf("got\n%s\nwant the variable", got)
	}
	p.reply(shell, id)
	id = p.send(control, "shutdown_request", `{"restart":true}`)
	if got := p.reply(control, id); !strings.Contains(got, `"ok"`) {
		t.Errorf("got %s, want a restart", got)
	}
	id = p.send(shell, "execute_request", `{"code":"get x"}`)
	if got := p.reply(shell, id); !strings.Contains(got, "NameError") {
		t.Errorf("got %s, want a new process without variables", got)
	}
}

// TestNoMessageIsLostWhenTheConnectionBreaks breaks the connection at many moments: while the cells are sent, run and
// answered.
func TestNoMessageIsLostWhenTheConnectionBreaks(t *testing.T) {
	r := newRig(t)
	p := r.program(t, "a")
	const n = 30
	ids := make([]string, n)
	for i := range ids {
		if i%5 == 2 {
			r.cuts.cut()
		}
		ids[i] = p.send(shell, "execute_request", fmt.Sprintf(`{"code":"print line%d."}`, i))
		if i%5 == 4 {
			r.cuts.cut()
		}
	}
	for i, id := range ids {
		if got := p.reply(shell, id); !strings.Contains(got, `"ok"`) {
			t.Errorf("cell %d: got %s", i, got)
		}
		if got := p.until(id, "idle"); strings.Count(got, fmt.Sprintf("line%d.", i)) != 2 { // in the input and in the output
			t.Errorf("cell %d: got\n%s\nwant its output once", i, got)
		}
	}
	cells, err := r.client.Cells(t.Context(), r.session)
	if err != nil || len(cells) != n {
		t.Errorf("got %d cells, %v; want %d: each ran once", len(cells), err, n)
	}
}

func TestTheEndOfTheSessionEndsTheProxy(t *testing.T) {
	r := newRig(t)
	if info, err := os.Stat(r.proxy.o.Path); err != nil || info.Mode() != 0o600 {
		t.Errorf("the file: got %v, %v; want mode 0600", info.Mode(), err)
	}
	p := r.program(t, "a")
	if err := r.client.DeleteSession(t.Context(), r.session); err != nil {
		t.Fatal(err)
	}
	for got := ""; !strings.Contains(got, "dead"); {
		_, _, got = p.receive(iopub)
	}
	if err := r.result(); err != nil {
		t.Errorf("got %v, want the usual end", err)
	}
	if !strings.Contains(r.said(), "ended") {
		t.Errorf("got the notes %q, want the reason", r.said())
	}
	if _, err := os.Stat(r.proxy.o.Path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file: got %v, want no file", err)
	}
	if _, err := p.of[shell].Recv(); err == nil {
		t.Error("the socket is open after the end")
	}
}

func TestADeadServerEndsTheProxyWithAnError(t *testing.T) {
	r := newRig(t)
	r.http.Listener.Close()
	r.cuts.cut()
	err := r.result()
	if cellhold.KindOf(err) != cellhold.Unavailable || !strings.Contains(err.Error(), "could not be restored for 1s") || !strings.Contains(err.Error(), "cannot be reached") {
		t.Errorf("got %v, want the reason", err)
	}
	if _, err := os.Stat(r.proxy.o.Path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file: got %v, want no file", err)
	}
}

func TestASignalEndsTheProxyAndNotTheSession(t *testing.T) {
	r := newRig(t)
	r.stop()
	if err := r.result(); err != nil {
		t.Error(err)
	}
	if s, err := r.client.Session(t.Context(), r.session); err != nil || s.State != cellhold.SessionReady {
		t.Errorf("got %v, %v; want a session that continues", s.State, err)
	}
	if _, err := os.Stat(r.proxy.o.Path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file: got %v, want no file", err)
	}
}

func TestAFileOfAnotherProgramIsKept(t *testing.T) {
	r := newRig(t)
	path := filepath.Join(t.TempDir(), "kernel.json")
	if err := os.WriteFile(path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(t.Context(), r.options(path)); !errors.Is(err, fs.ErrExist) {
		t.Errorf("got %v, want a refusal", err)
	}
	if err := os.Remove(r.proxy.o.Path); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(r.proxy.o.Path, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	r.stop()
	if err := r.result(); err != nil {
		t.Error(err)
	}
	for _, path := range []string{path, r.proxy.o.Path} {
		if text, err := os.ReadFile(path); err != nil || string(text) != "mine" {
			t.Errorf("got %q, %v; want the file of the other program", text, err)
		}
	}
}

func TestAnUnknownSessionIsRefused(t *testing.T) {
	r := newRig(t)
	o := r.options(filepath.Join(t.TempDir(), "kernel.json"))
	o.Session = "snone"
	if _, err := New(t.Context(), o); cellhold.KindOf(err) != cellhold.NotFound {
		t.Errorf("got %v, want not found", err)
	}
	o = r.options(o.Path)
	o.Kernel.ID = "none"
	if _, err := New(t.Context(), o); cellhold.KindOf(err) != cellhold.NotFound {
		t.Errorf("got %v, want not found", err)
	}
	if _, err := os.Stat(o.Path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the file: got %v, want no file", err)
	}
}

func TestASocketHasALimitOfPrograms(t *testing.T) {
	r := newRig(t)
	p := r.proxy.ports[heartbeat]
	for range maxPeers {
		if _, ok := p.enter(); !ok {
			t.Fatal("the limit is lower")
		}
	}
	nc, err := net.Dial("tcp", p.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := zmtp.New(t.Context(), nc, zmtp.Options{Type: zmtp.Dealer}); err == nil {
		t.Error("one more program is connected")
	}
	for range maxPeers {
		p.leave()
	}
}

func TestAProgramThatConnectsAgainReplacesItsConnection(t *testing.T) {
	r := newRig(t)
	old := r.program(t, "a")
	now := r.program(t, "a")
	if _, err := old.of[shell].Recv(); err == nil {
		t.Error("the old connection is open")
	}
	if got := now.reply(shell, now.send(shell, "kernel_info_request", `{}`)); !strings.Contains(got, "protocol_version") {
		t.Errorf("got %s", got)
	}
}

func TestARouteIsUsedOnceAndTheOldestIsForgotten(t *testing.T) {
	var r routes
	r.add(route{"m", shell, "a"})
	for _, at := range []string{control, "other"} {
		if _, ok := r.find("m", at); ok {
			t.Errorf("a reply on %s has a way", at)
		}
	}
	for _, at := range []string{stdin, stdin, shell} {
		if of, ok := r.find("m", at); !ok || of.identity != "a" {
			t.Errorf("%s: got %v, %t; want a", at, of, ok)
		}
	}
	if _, ok := r.find("m", shell); ok {
		t.Error("a second reply has a way")
	}
	for i := range maxRoutes + 1 {
		r.add(route{fmt.Sprint(i), shell, "a"})
		r.add(route{fmt.Sprint(i), shell, "b"})
	}
	if _, ok := r.find("0", shell); ok || r.age.Len() != maxRoutes || len(r.byID) != maxRoutes {
		t.Errorf("got %d requests, want %d without the oldest", r.age.Len(), maxRoutes)
	}
}

func TestTheFolderIsThatOfJupyter(t *testing.T) {
	for _, test := range []struct {
		env  map[string]string
		want string
	}{
		{map[string]string{"JUPYTER_RUNTIME_DIR": "/r", "JUPYTER_DATA_DIR": "/d", "HOME": "/h"}, "/r"},
		{map[string]string{"JUPYTER_DATA_DIR": "/d", "XDG_DATA_HOME": "/x", "HOME": "/h"}, "/d/runtime"},
		{map[string]string{"XDG_DATA_HOME": "/x", "HOME": "/h"}, "/x/jupyter/runtime"},
		{map[string]string{"HOME": "/h"}, "/h/.local/share/jupyter/runtime"},
		{nil, ""},
	} {
		got, err := RuntimeDir(func(name string) string { return test.env[name] })
		if got != test.want || (err == nil) != (test.want != "") {
			t.Errorf("%v: got %q, %v; want %q", test.env, got, err, test.want)
		}
	}
}

// TestUnsentMessagesStayInTheOutbox: a message counts as sent when the server has confirmed it.
func TestUnsentMessagesStayInTheOutbox(t *testing.T) {
	o := &newUpstream(client.Channels{}, "").out
	ctx := context.Background()
	for _, id := range []string{"1", "2", "3", "4"} {
		o.put(ctx, letter{id: id})
	}
	write := func() {
		if _, err := o.next(ctx); err != nil {
			t.Fatal(err)
		}
		o.wrote()
	}
	if o.rewind() {
		t.Error("the fate of a message is unknown, and none was written")
	}
	write()
	n := o.await(ctx, 0)
	write()
	o.taken(n) // the first one
	if _, err := o.next(ctx); err != nil {
		t.Fatal(err)
	}
	if !o.rewind() { // the second one was written, and maybe the third one
		t.Error("the fate of all messages is known")
	}
	o.answered("3")
	o.forgetAnswered()
	left := ""
	for _, l := range o.letters {
		left += l.id
	}
	if left != "24" || o.rewind() {
		t.Errorf("got the messages %q, want 2 and 4", left)
	}
}

// TestARequestWaitsForANewSubscription: a program connects to all sockets at once, and its first request can overtake its
// subscription.
func TestARequestWaitsForANewSubscription(t *testing.T) {
	r := newRig(t)
	p := r.program(t, "a")
	nc, err := net.Dial("tcp", r.proxy.ports[iopub].listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	late, err := zmtp.New(t.Context(), nc, zmtp.Options{Type: zmtp.Sub})
	if err != nil {
		t.Fatal(err)
	}
	defer late.Close()
	id := p.send(shell, "kernel_info_request", `{}`)
	for range 50 { // enough time for an answer of the kernel
		if err := p.of[heartbeat].Send(nil, []byte("ping")); err != nil {
			t.Fatal(err)
		}
		if _, err := p.of[heartbeat].Recv(); err != nil {
			t.Fatal(err)
		}
	}
	if err := late.Subscribe(""); err != nil {
		t.Fatal(err)
	}
	other := &program{t: t, info: p.info, name: "late", of: map[string]*zmtp.Conn{iopub: late}}
	if got := other.until(id, "idle"); !strings.Contains(got, "busy") {
		t.Errorf("got\n%s\nwant all outputs of the request", got)
	}
	p.reply(shell, id)
}
