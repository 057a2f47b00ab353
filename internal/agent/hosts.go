package agent

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"syscall"
)

// hostsFile is the file in which resolvers look up a name before they ask a name server. hostsNew is the temporary
// file that replaces it.
const (
	hostsFile = "hosts"
	hostsNew  = ".hosts.cellhold"
)

// hostsText returns a hosts file. It names the loopback in IPv4 and IPv6. The host name has an IPv4 address
// only. So a program that listens on the name and a program that connects to it use the same address.
func hostsText(host string) string {
	return "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n127.0.0.1 " + host + "\n"
}

// nameHost writes the host name, which differs from sandbox to sandbox, to the image's /etc/hosts. Without
// the entry, programs that look up their own host name fail. A failure is only logged, because all other
// programs work.
func (a *Agent) nameHost() {
	if a.options.Etc == "" {
		return
	}
	host, err := os.Hostname()
	if err == nil {
		err = writeHosts(a.options.Etc, hostsText(host))
	}
	if err != nil {
		a.options.Logger.Warn("cannot write the host name to /etc/hosts", "error", err)
	}
}

// writeHosts replaces the hosts file of a directory. It runs as root in an image that others made. So it
// follows no links, neither at the directory nor at the file.
func writeHosts(etc, text string) error {
	switch info, err := os.Lstat(etc); {
	case errors.Is(err, fs.ErrNotExist):
		if err := os.Mkdir(etc, 0o755); err != nil {
			return err
		}
	case err != nil:
		return err
	case !info.IsDir():
		return fmt.Errorf("%s is not a directory", etc)
	}
	dir, err := os.OpenRoot(etc)
	if err != nil {
		return err
	}
	defer dir.Close()
	if is, err := dir.Lstat(hostsFile); err == nil && is.Mode().IsRegular() && holds(dir, hostsFile, text) {
		return nil
	}
	if err := dir.Remove(hostsNew); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := writeNew(dir, hostsNew, text); err != nil {
		return errors.Join(err, dir.Remove(hostsNew))
	}
	return dir.Rename(hostsNew, hostsFile)
}

// holds reports whether a file has a text. A user of the sandbox can own the directory and put a pipe in
// place of the file at any moment. So neither the open nor the read waits.
func holds(dir *os.Root, name, text string) bool {
	f, err := dir.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return false
	}
	defer f.Close()
	if is, err := f.Stat(); err != nil || !is.Mode().IsRegular() || is.Size() != int64(len(text)) {
		return false
	}
	old, err := io.ReadAll(io.LimitReader(f, int64(len(text))+1))
	return err == nil && string(old) == text
}

// writeNew makes a file that every user can read.
func writeNew(dir *os.Root, name, text string) error {
	f, err := dir.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Chmod(0o644), f.Close())
}
