package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"
)

// service is a running `cellhold serve`.
type service struct {
	cmd        *exec.Cmd
	url, token string
	drained    chan struct{} // closed at the end of its output
}

// stopTime is the time that the server has to stop before it is killed.
const stopTime = 30 * time.Second

// start starts the server and returns when it is ready.
func start(ctx context.Context, program string, args ...string) (*service, error) {
	s := &service{cmd: exec.CommandContext(ctx, program, args...), drained: make(chan struct{})}
	s.cmd.Stderr = os.Stderr
	s.cmd.Cancel = func() error { return s.cmd.Process.Signal(syscall.SIGTERM) }
	s.cmd.WaitDelay = stopTime
	// A separate process group, so that Ctrl-C reaches only the demo, which then stops the server.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the server: %w", err)
	}
	lines := bufio.NewScanner(out)
	for (s.url == "" || s.token == "") && lines.Scan() {
		switch word := strings.Fields(lines.Text()); {
		case len(word) > 1 && word[0] == "URL":
			s.url = word[1]
		case len(word) > 1 && word[0] == "Token":
			s.token = word[1]
		}
	}
	if s.token == "" {
		return nil, errors.Join(errors.New("the server did not start"), s.cmd.Wait())
	}
	go func() {
		defer close(s.drained)
		_, _ = io.Copy(io.Discard, out)
	}()
	return s, nil
}

// stop stops the server and waits for its end.
func (s *service) stop() error {
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	late := time.AfterFunc(stopTime, func() { _ = s.cmd.Process.Kill() })
	defer late.Stop()
	<-s.drained
	if err := s.cmd.Wait(); err != nil {
		return fmt.Errorf("the server ended with an error: %w", err)
	}
	return nil
}
