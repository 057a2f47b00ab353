package sandboxtest

import (
	"bufio"
	"context"
	"errors"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"cellhold/internal/sandbox"
)

func (s *suite) refusals(t *testing.T) {
	d := s.open(t)
	missing := map[string]func(*sandbox.Limits){
		"memory":    func(l *sandbox.Limits) { l.Memory = 0 },
		"CPU":       func(l *sandbox.Limits) { l.CPU = 0 },
		"processes": func(l *sandbox.Limits) { l.Processes = 0 },
		"disk":      func(l *sandbox.Limits) { l.Disk = 0 },
		"tmp":       func(l *sandbox.Limits) { l.Tmp = 0 },
		"output":    func(l *sandbox.Limits) { l.Output = 0 },
		"negative":  func(l *sandbox.Limits) { l.Memory = -1 },
	}
	for name, forget := range missing {
		t.Run("a sandbox without a limit is refused: "+name, func(t *testing.T) {
			spec := s.spec()
			forget(&spec.Limits)
			s.mustRefuse(t, d, spec)
		})
	}
	for _, id := range []sandbox.ID{"", "../up", "a/b", "a b", "a.b", "ü", sandbox.ID(make([]byte, 41))} {
		t.Run("an invalid id is refused", func(t *testing.T) {
			spec := s.spec()
			spec.ID = id
			s.mustRefuse(t, d, spec)
		})
	}
	t.Run("a missing root file system is refused", func(t *testing.T) {
		if s.Spec.Rootfs == "" {
			t.Skip("this driver needs no root file system")
		}
		spec := s.spec()
		spec.Rootfs += "/none"
		s.mustRefuse(t, d, spec)
	})
	t.Run("an unknown sandbox is not adopted", func(t *testing.T) {
		if _, err := d.Adopt(within(t), newID()); !errors.Is(err, sandbox.ErrNotFound) {
			t.Errorf("got %v, want ErrNotFound", err)
		}
	})
	t.Run("removing an unknown sandbox is not an error", func(t *testing.T) {
		if err := d.Remove(within(t), newID()); err != nil {
			t.Error(err)
		}
	})
}

func (s *suite) mustRefuse(t *testing.T, d sandbox.Driver, spec sandbox.Spec) {
	t.Helper()
	box, err := d.Create(within(t), spec)
	if err == nil {
		destroy(t, box)
		t.Fatal("the sandbox was created; want an error")
	}
	if _, ok := listed(t, d, spec.ID); ok {
		t.Error("the refused sandbox is listed")
	}
}

func (s *suite) basics(t *testing.T) {
	d := s.open(t)
	t.Run("the agent answers on many connections at once", func(t *testing.T) {
		box := create(t, d, s.spec())
		var wg sync.WaitGroup
		for range 32 {
			c := client(t, box)
			wg.Go(func() {
				for range 10 {
					if _, err := get(within(t), c, "/health"); err != nil {
						t.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
	})
	t.Run("a running sandbox is listed as it was created", func(t *testing.T) {
		spec := s.spec()
		spec.Image = "sha256:0123"
		spec.Labels = map[string]string{"session": "s1"}
		before := time.Now().Add(-time.Minute)
		create(t, d, spec)
		got, _ := listed(t, d, spec.ID)
		if got.Created.Before(before) || got.Created.After(time.Now().Add(time.Minute)) {
			t.Errorf("List returned the creation time %v, want now", got.Created)
		}
		got.Created = time.Time{}
		want := sandbox.Info{ID: spec.ID, Alive: true, Image: spec.Image, Labels: spec.Labels}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("listed (-want +got):\n%s", diff)
		}
	})
	t.Run("a second sandbox of the same id is refused and the first continues", func(t *testing.T) {
		spec := s.spec()
		box := create(t, d, spec)
		if _, err := d.Create(within(t), spec); err == nil {
			t.Error("a second sandbox with the same id was created")
		}
		mustBeHealthy(t, box)
	})
	t.Run("a destroyed sandbox is gone", func(t *testing.T) { s.destroyed(t, d) })
	t.Run("waiting ends with its context", func(t *testing.T) {
		box := create(t, d, s.spec())
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := box.Wait(ctx); !errors.Is(err, context.Canceled) {
			t.Errorf("wait returned %v, want context.Canceled", err)
		}
	})
	t.Run("usage is reported", func(t *testing.T) {
		u, err := create(t, d, s.spec()).Usage(within(t))
		if err != nil || u.Memory == 0 || u.OOMKills > 0 {
			t.Errorf("usage returned %+v, %v", u, err)
		}
	})
}

func (s *suite) destroyed(t *testing.T, d sandbox.Driver) {
	box := create(t, d, s.spec())
	done := make(chan sandbox.Exit, 1)
	go func() {
		exit, _ := box.Wait(within(t))
		done <- exit
	}()
	for range 2 { // twice, because it is idempotent
		if err := box.Destroy(within(t)); err != nil {
			t.Fatal(err)
		}
	}
	if exit := <-done; !exit.Destroyed || exit.OOM {
		t.Errorf("wait returned %+v, want Destroyed", exit)
	}
	if exit := end(t, box); !exit.Destroyed {
		t.Errorf("a later wait returned %+v, want Destroyed", exit)
	}
	if c, err := box.Dial(within(t)); err == nil {
		_ = c.Close()
		t.Error("a destroyed sandbox was dialled")
	}
	if _, err := box.Usage(within(t)); !errors.Is(err, sandbox.ErrNotFound) {
		t.Errorf("usage returned %v, want ErrNotFound", err)
	}
	if _, ok := listed(t, d, box.ID()); ok {
		t.Error("the destroyed sandbox is still listed")
	}
	if _, err := d.Adopt(within(t), box.ID()); !errors.Is(err, sandbox.ErrNotFound) {
		t.Errorf("adopt returned %v, want ErrNotFound", err)
	}
	if err := d.Remove(within(t), box.ID()); err != nil {
		t.Errorf("remove: %v", err)
	}
}

func (s *suite) ownership(t *testing.T) {
	t.Run("a second driver takes over while the first one's link is in use", func(t *testing.T) {
		first := s.Open(t)
		spec := s.spec()
		box, err := first.Create(within(t), spec)
		if err != nil {
			t.Fatal(err)
		}
		hold := s.useLink(t, box)
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}
		hold()

		second := s.open(t)
		if i, ok := listed(t, second, spec.ID); !ok || !i.Alive {
			t.Fatalf("List returned %+v, %v; want a running sandbox", i, ok)
		}
		adopted, err := second.Adopt(within(t), spec.ID)
		if err != nil {
			t.Fatal(err)
		}
		mustBeHealthy(t, adopted)
		mustBeHealthy(t, adopted)
		destroy(t, adopted)
		if exit := end(t, adopted); !exit.Destroyed {
			t.Errorf("wait returned %+v, want Destroyed", exit)
		}
	})
	t.Run("a sandbox that is not adopted can be removed", func(t *testing.T) {
		first := s.Open(t)
		spec := s.spec()
		if _, err := first.Create(within(t), spec); err != nil {
			t.Fatal(err)
		}
		if err := first.Close(); err != nil {
			t.Fatal(err)
		}
		second := s.open(t)
		for range 2 {
			if err := second.Remove(within(t), spec.ID); err != nil {
				t.Fatal(err)
			}
		}
		if _, ok := listed(t, second, spec.ID); ok {
			t.Error("the removed sandbox is still listed")
		}
	})
}

// useLink sends requests over the sandbox's link until it is lost. The returned function waits for their end.
func (s *suite) useLink(t *testing.T, box sandbox.Sandbox) (wait func()) {
	var wg sync.WaitGroup
	started := make(chan struct{}, 2)
	for range 2 {
		c := client(t, box)
		wg.Go(func() {
			for first := true; ; first = false {
				if _, err := get(within(t), c, "/health"); err != nil {
					return
				}
				if first {
					started <- struct{}{}
				}
			}
		})
	}
	<-started
	<-started
	if s.Probe {
		resp, err := client(t, box).Get("http://guest/wait")
		if err != nil {
			t.Fatal(err)
		}
		r := bufio.NewReader(resp.Body)
		if line, err := r.ReadString('\n'); err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("got %q, %v", line, err)
		}
		wg.Go(func() {
			defer resp.Body.Close()
			if _, err := r.ReadString('\n'); err == nil {
				t.Error("a lost link looks like the end of an answer")
			}
		})
	}
	return wg.Wait
}

func (s *suite) parallel(t *testing.T) {
	d := s.open(t)
	boxes := make([]sandbox.Sandbox, s.Parallel)
	var wg sync.WaitGroup
	for i := range boxes {
		spec := s.spec()
		wg.Go(func() {
			box, err := d.Create(within(t), spec)
			if err != nil {
				t.Error(err)
				return
			}
			boxes[i] = box
			if _, err := get(within(t), client(t, box), "/health"); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	infos, err := d.List(within(t))
	if err != nil {
		t.Fatal(err)
	}
	if len(infos) != s.Parallel {
		t.Errorf("List returned %d sandboxes, want %d", len(infos), s.Parallel)
	}
	for _, box := range boxes {
		if box != nil {
			wg.Go(func() { destroy(t, box) })
		}
	}
	wg.Wait()
}

func (s *suite) pause(t *testing.T) {
	t.Run("a paused sandbox does not answer until it is resumed", s.pauses)
	t.Run("a paused sandbox can be adopted", s.adoptsPaused)
}

func (s *suite) adoptsPaused(t *testing.T) {
	first := s.Open(t)
	if !first.Features().Pause {
		_ = first.Close()
		t.Skip("this driver cannot pause")
	}
	spec := s.spec()
	box, err := first.Create(within(t), spec)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(box.Pause(within(t)), first.Close()); err != nil {
		t.Fatal(err)
	}
	adopted, err := s.open(t).Adopt(within(t), spec.ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := adopted.Resume(within(t)); err != nil {
		t.Error(err)
	}
	mustBeHealthy(t, adopted)
	destroy(t, adopted)
}

func (s *suite) pauses(t *testing.T) {
	d := s.open(t)
	box := create(t, d, s.spec())
	if !d.Features().Pause {
		if err := box.Pause(within(t)); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("pause returned %v, want ErrUnsupported", err)
		}
		if err := box.Resume(within(t)); !errors.Is(err, errors.ErrUnsupported) {
			t.Errorf("resume returned %v, want ErrUnsupported", err)
		}
		return
	}
	c := client(t, box)
	if _, err := get(within(t), c, "/health"); err != nil {
		t.Fatal(err)
	}
	for range 2 { // twice, because it is idempotent
		if err := box.Pause(within(t)); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := get(ctx, c, "/health"); err == nil {
		t.Error("a paused sandbox answers")
	}
	for range 2 {
		if err := box.Resume(within(t)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := get(within(t), c, "/health"); err != nil {
		t.Errorf("after resume: %v", err)
	}
}
