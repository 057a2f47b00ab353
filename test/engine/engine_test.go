package engine

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"cellhold/client"

	"golang.org/x/sys/unix"
)

const (
	service = "cellhold-service" // the image that the test builds
	base    = "cellhold-base"    // the base image: a shell and its tools from a Debian package
	patient = 2 * time.Minute
)

// docker is a running engine.
type docker struct {
	dir     string // its folders, and the files of tests
	socket  string
	network int // a descriptor of the engine's network namespace
}

// startDocker starts an engine in a network namespace and a mount namespace of its own. Both end with the engine, and with
// them its bridge and its mounts.
func startDocker(t *testing.T) *docker {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("only root can start an engine of its own")
	}
	for _, tool := range []string{"dockerd", "docker", "busybox", "unshare"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Fatalf("%v; run: tools/packages dockerd=docker.io docker=docker-cli busybox=busybox-static", err)
		}
	}
	dir, err := os.MkdirTemp("/tmp", "dk")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Errorf("remove the folders of the engine: %v", err)
		}
	})
	d := &docker{dir: dir, socket: filepath.Join(dir, "s")}
	group := "cellhold-engine-" + strconv.Itoa(os.Getpid())
	cmd := exec.Command("unshare", "--net", "--mount", "--", "busybox", "sh", "-c", `busybox ip link set lo up && exec dockerd "$@"`, "sh",
		"--data-root", filepath.Join(dir, "data"), "--exec-root", filepath.Join(dir, "exec"), "--pidfile", filepath.Join(dir, "pid"),
		"--host", "unix://"+d.socket, "--iptables=false", "--log-level", "warn", "--cgroup-parent", "/"+group)
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // an interrupt at the terminal goes to this test only
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		removeGroups(group)
		if t.Failed() {
			t.Logf("log of the engine:\n%s", log.String())
		}
	})
	d.wait(t, "the engine answers", func() error { return exec.Command("docker", "--host", "unix://"+d.socket, "version").Run() })
	d.network, err = unix.Open(fmt.Sprintf("/proc/%d/ns/net", cmd.Process.Pid), unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(d.network) })
	return d
}

// removeGroups removes the empty cgroups of the engine.
func removeGroups(group string) {
	dirs, _ := filepath.Glob("/sys/fs/cgroup/*/" + group)
	for _, dir := range append(dirs, "/sys/fs/cgroup/"+group) {
		_ = unix.Rmdir(dir)
	}
}

// wait calls f until it returns nil. The engine and the service report no event before they answer.
func (d *docker) wait(t *testing.T, what string, f func() error) {
	t.Helper()
	deadline, err := time.Now().Add(patient), errors.New("not tried")
	for time.Now().Before(deadline) {
		if err = f(); err == nil {
			return
		}
		select {
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
	t.Fatalf("%s: not within %s: %v", what, patient, err)
}

// run runs a command of docker, and returns its output and its error.
func (d *docker) run(t *testing.T, in io.Reader, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "docker", append([]string{"--host", "unix://" + d.socket}, args...)...)
	cmd.Env = append(os.Environ(), "DOCKER_BUILDKIT=0", "DOCKER_CONFIG="+d.dir)
	cmd.Dir, cmd.Stdin = "../..", in
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// do is like run, and the command must succeed.
func (d *docker) do(t *testing.T, args ...string) string {
	t.Helper()
	out, err := d.run(t, nil, args...)
	if err != nil {
		t.Fatalf("docker %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// build builds the service from this repository, with the program that make built.
func (d *docker) build(t *testing.T) {
	t.Helper()
	if out, err := d.run(t, shellSystem(t), "import", "-", base); err != nil {
		t.Fatalf("import the base image: %v\n%s", err, out)
	}
	d.do(t, "build", "--quiet", "--network", "none", "--target", "service", "--tag", service,
		"--build-arg", "GO="+base, "--build-arg", "BASE="+base, "--build-arg", "PROGRAM=build/bin/cellhold", ".")
}

// shellSystem returns an archive with the files of a system that has only the shell and the tools of busybox.
func shellSystem(t *testing.T) io.Reader {
	t.Helper()
	path, err := exec.LookPath("busybox")
	if err != nil {
		t.Fatal(err)
	}
	program, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	err = w.WriteHeader(&tar.Header{Name: "bin/busybox", Mode: 0o755, Size: int64(len(program))})
	if err == nil {
		_, err = w.Write(program)
	}
	for _, tool := range []string{"sh", "mkdir", "cp", "chmod", "chown", "printf", "wget"} {
		err = errors.Join(err, w.WriteHeader(&tar.Header{Name: "bin/" + tool, Typeflag: tar.TypeSymlink, Linkname: "busybox"}))
	}
	if err := errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return &b
}

// least are the flags with the fewest rights with which sandboxes have all limits. docs/how-to/docker.md explains each.
func least(t *testing.T) []string {
	t.Helper()
	profile, err := filepath.Abs("../../docker/seccomp.json")
	if err != nil {
		t.Fatal(err)
	}
	return []string{"--cap-drop", "ALL", "--cap-add", "SYS_ADMIN", "--cap-add", "SETUID", "--cap-add", "SETGID", "--cap-add", "SETPCAP", "--cap-add", "CHOWN",
		"--cgroupns=private", "--security-opt", "seccomp=" + profile, "--security-opt", "no-new-privileges", "--read-only", "--tmpfs", "/tmp"}
}

// images returns the flag that shows the stock image to the service. The whole container image has it inside.
func images(t *testing.T) string {
	t.Helper()
	home := os.Getenv("CELLHOLD_TEST_HOME")
	if home == "" {
		home = "../../build/home"
	}
	dir, err := filepath.EvalSymlinks(filepath.Join(home, "images"))
	if err == nil {
		dir, err = filepath.Abs(dir)
	}
	if err != nil {
		t.Fatalf("the stock image is missing (%v); run: make image", err)
	}
	return "--volume=" + dir + ":/usr/lib/cellhold/images:ro"
}

// start starts the service as the article does, and waits until it is ready.
func (d *docker) start(t *testing.T, name string, flags ...string) {
	t.Helper()
	args := []string{"run", "--detach", "--name", name, "--publish", "127.0.0.1:5002:5000", images(t),
		"--volume=" + d.dir + "/host/data:/mnt/data", "--volume=" + d.dir + "/host/jupyter_sessions:/mnt/jupyter_sessions"}
	d.do(t, append(append(args, flags...), service, "serve", "--no-templates")...)
	t.Cleanup(func() {
		if t.Failed() {
			out, _ := exec.Command("docker", "--host", "unix://"+d.socket, "logs", name).CombinedOutput()
			t.Logf("log of %s:\n%s", name, out)
		}
		_ = exec.Command("docker", "--host", "unix://"+d.socket, "rm", "--force", "--volumes", name).Run()
	})
	d.ready(t, name)
}

// ready waits until the service answers.
func (d *docker) ready(t *testing.T, name string) {
	t.Helper()
	d.wait(t, "the service is ready", func() error {
		if strings.TrimSpace(d.do(t, "inspect", "--format", "{{.State.Running}}", name)) != "true" {
			t.Fatalf("the service ended:\n%s", d.do(t, "logs", name))
		}
		return d.client(t, "").Ready(t.Context())
	})
}

// client returns a client of the published port. It connects from the network of the engine, as programs of the host do.
func (d *docker) client(t *testing.T, token string) *client.Client {
	t.Helper()
	dial := func(ctx context.Context, network, addr string) (net.Conn, error) {
		type result struct {
			conn net.Conn
			err  error
		}
		done := make(chan result, 1)
		go func() {
			runtime.LockOSThread() // never unlocked: the thread ends with its foreign namespace
			if err := unix.Setns(d.network, unix.CLONE_NEWNET); err != nil {
				done <- result{nil, err}
				return
			}
			c, err := (&net.Dialer{Timeout: 5 * time.Second, FallbackDelay: -1}).DialContext(ctx, network, addr)
			done <- result{c, err}
		}()
		r := <-done
		return r.conn, r.err
	}
	c, err := client.New(client.Options{URL: "http://127.0.0.1:5002", Token: token, HTTP: &http.Client{Transport: &http.Transport{DialContext: dial}}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// token returns the token that the service printed.
func (d *docker) token(t *testing.T, name string) string {
	t.Helper()
	m := regexp.MustCompile(`Token +([0-9a-f]{64}) `).FindStringSubmatch(d.do(t, "logs", name))
	if m == nil {
		t.Fatalf("the service printed no token:\n%s", d.do(t, "logs", name))
	}
	return m[1]
}
