package attachment_test

import (
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"cellhold"
	"cellhold/internal/attachment"
	"cellhold/internal/kernel"
	"cellhold/internal/mirror"
	"cellhold/internal/record"
	"cellhold/internal/sandbox"
	"cellhold/internal/sandbox/fake"
	"cellhold/internal/store"
)

const id = cellhold.SessionID("saaaaaaaaaaaaaaaa")

var kernels = []cellhold.Kernel{{ID: "python3", Spec: "python3"}}

// attach makes a sandbox of the fake driver and attaches to it, without a session or a registry.
func attach(t *testing.T) (*attachment.Attachment, *store.DB, func(sandbox.Exit)) {
	t.Helper()
	world, err := fake.NewWorld(t.Context(), fake.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	db, err := store.Open(t.Context(), store.Options{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.PutSession(t.Context(), record.Session{Session: cellhold.Session{ID: id}}); err != nil {
		t.Fatal(err)
	}
	log, err := kernel.NewLog(t.Context(), id, db)
	if err != nil {
		t.Fatal(err)
	}
	sb, err := world.Open().Create(t.Context(), sandbox.Spec{ID: sandbox.ID(id), Rootfs: "/",
		Limits: sandbox.Limits{Memory: 1 << 30, CPU: 1, Processes: 64, Disk: 1 << 20, Tmp: 1 << 20, Output: 1 << 20}})
	if err != nil {
		t.Fatal(err)
	}
	var folders mirror.Folders
	a, err := attachment.Attach(t.Context(), t.Context(), sb, attachment.Options{Session: id, Logger: slog.New(slog.DiscardHandler), Log: log,
		Journal: db, Mirror: mirror.New(&folders, t.TempDir(), string(id), 1<<20), MaxUpload: 1 << 20,
		CommandTimeout: time.Minute, MaxCommandTimeout: time.Hour}, attachment.Request{Kernels: kernels})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Close(nil); world.Close(); log.Close(nil); db.Close() })
	a.Start()
	if err := a.StartKernels(t.Context(), kernels, "", time.Minute); err != nil {
		t.Fatal(err)
	}
	return a, db, func(e sandbox.Exit) {
		if err := world.Kill(sb.ID(), e); err != nil {
			t.Error(err)
		}
	}
}

func TestASandboxServesCellsFilesAndCommandsWithoutASession(t *testing.T) {
	a, db, _ := attach(t)
	k, err := a.Followers().Kernel("")
	if err != nil {
		t.Fatal(err)
	}
	c, err := k.Submit(t.Context(), record.Cell{Cell: cellhold.Cell{ID: cellhold.NewCellID(), Session: id, Kernel: "python3", Code: "print hello"}, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err = a.Followers().WaitCell(t.Context(), c.ID); err != nil {
		t.Fatal(err)
	}
	if c, err = db.Cell(t.Context(), id, c.ID); err != nil || c.Status != cellhold.StatusOK || c.Outputs[0].Text != "hello\n" {
		t.Errorf("got the cell %+v, %v; want status ok and the output hello", c, err)
	}
	if _, err := a.WriteFile(t.Context(), "x.txt", 0, strings.NewReader("abc"), 3); err != nil {
		t.Fatal(err)
	}
	info, r, err := a.OpenFile(t.Context(), "x.txt")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(r); err != nil || string(got) != "abc" || info.Size != 3 || !a.Moving() {
		t.Errorf("got the file %q with the size %d, %v, Moving %t; want abc, 3 and true", got, info.Size, err, a.Moving())
	}
	if r.Close(); a.Moving() {
		t.Error("Moving returned true after the file was closed, want false")
	}
	x, err := a.StartCommand(t.Context(), attachment.CommandRequest{Line: "echo there"})
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err = a.Followers().Commands().Wait(t.Context(), x.ID); err != nil {
		t.Fatal(err)
	}
	if x, err := db.Command(t.Context(), id, x.ID); err != nil || x.Stdout.Text != "there\n" {
		t.Errorf("got the command %+v, %v; want the stdout there", x, err)
	}
	if err := a.Followers().Idle(); err != nil {
		t.Errorf("Idle returned %v after all work, want nil", err)
	}
}

func TestACellHasStatusOOMAfterItsSandboxRanOutOfMemory(t *testing.T) {
	a, db, kill := attach(t)
	k, err := a.Followers().Kernel("")
	if err != nil {
		t.Fatal(err)
	}
	c, err := k.Submit(t.Context(), record.Cell{Cell: cellhold.Cell{ID: cellhold.NewCellID(), Session: id, Kernel: "python3", Code: "loop"}, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	kill(sandbox.Exit{OOM: true})
	status, detail, err := a.End(t.Context())
	if err != nil || status != cellhold.StatusOOM || !strings.Contains(detail, "memory") {
		t.Fatalf("End returned %s, %q, %v; want %s and a detail with the word memory", status, detail, err, cellhold.StatusOOM)
	}
	if err := a.Followers().Die(t.Context(), status, detail); err != nil {
		t.Fatal(err)
	}
	a.Close(nil)
	if c, err = db.Cell(t.Context(), id, c.ID); err != nil || c.Status != cellhold.StatusOOM {
		t.Errorf("got the cell %+v, %v; want status %s", c, err, cellhold.StatusOOM)
	}
	if err := a.Run(nil); err == nil {
		t.Error("Run of a closed attachment returned nil, want an error")
	}
}
