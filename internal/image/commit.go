package image

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// workPrefix starts the names of working directories. A dot keeps them apart from digests.
	workPrefix = ".tmp-"
	// lockPoll is how often a waiting operation looks whether the lock is free: a blocked
	// flock could not be cancelled, and the wait is for minutes.
	lockPoll = 200 * time.Millisecond
)

// lock makes the caller the only one that changes the store, and clears what dead ones left.
func (s *Store) lock(ctx context.Context, progress Progress) (release func(), err error) {
	f, err := os.OpenFile(filepath.Join(s.dir, ".lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the image store: %w", err)
	}
	if err := s.waitForLock(ctx, f, progress); err != nil {
		f.Close()
		return nil, err
	}
	if err := s.sweep(ctx); err != nil {
		f.Close()
		return nil, err
	}
	return func() { f.Close() }, nil // closing releases the flock
}

func (s *Store) waitForLock(ctx context.Context, f *os.File, progress Progress) error {
	tick := time.NewTicker(lockPoll)
	defer tick.Stop()
	for said := false; ; said = true {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if err == nil {
			return nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			return fmt.Errorf("lock the image store: %w", err)
		}
		if !said {
			progress.say("waiting for another image operation to finish")
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("wait for another image operation: %w", context.Cause(ctx))
		case <-tick.C:
		}
	}
}

// sweep removes the working directories of dead operations. The caller holds the lock, so no
// living operation has one.
func (s *Store) sweep(ctx context.Context) error {
	strays, err := filepath.Glob(filepath.Join(s.dir, workPrefix+"*"))
	if err != nil {
		return fmt.Errorf("image store: %w", err)
	}
	for _, dir := range strays {
		s.log.Warn("removing what an interrupted image operation left", "dir", dir)
		if err := removeTree(ctx, dir); err != nil {
			return fmt.Errorf("image store: remove a stray: %w", err)
		}
	}
	return nil
}

// workDir is where one operation prepares an image. The caller holds the lock.
func (s *Store) workDir(ctx context.Context) (dir string, remove func(context.Context), err error) {
	dir, err = os.MkdirTemp(s.dir, workPrefix)
	if err != nil {
		return "", nil, fmt.Errorf("image store: %w", err)
	}
	// The operation may have been cancelled; its files go all the same.
	remove = func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		if err := removeTree(ctx, dir); err != nil {
			s.log.Warn("cannot remove a working directory; the next image operation tries again", "dir", dir, "err", err)
		}
	}
	for _, d := range []string{imageDir, filepath.Join(imageDir, rootfsDir)} {
		d = filepath.Join(dir, d)
		// A sandbox's own user must get in, whatever umask we were started with.
		if err := errors.Join(os.Mkdir(d, 0o755), os.Chmod(d, 0o755)); err != nil {
			remove(ctx)
			return "", nil, fmt.Errorf("image store: %w", err)
		}
	}
	return dir, remove, nil
}

// imageDir is the part of a working directory that becomes the image.
const imageDir = "image"

// commit turns a finished working directory into the image: everything is on the disk before the
// rename, so that after a crash there is a complete image or none.
func (s *Store) commit(work string, img Image) (Image, error) {
	fail := func(err error) (Image, error) {
		return Image{}, fmt.Errorf("store image %s: %w", img.Digest, err)
	}
	dir := filepath.Join(work, imageDir)
	size, err := treeSize(filepath.Join(dir, rootfsDir))
	if err != nil {
		return fail(err)
	}
	img.Size, img.Created = size, time.Now().UTC().Truncate(time.Second)
	data, err := json.MarshalIndent(img, "", "  ")
	if err != nil {
		return fail(err)
	}
	if err := os.WriteFile(filepath.Join(dir, metaFile), append(data, '\n'), 0o644); err != nil {
		return fail(err)
	}
	if err := syncFilesystem(dir); err != nil {
		return fail(err)
	}
	if err := os.Rename(dir, s.path(img.Digest)); err != nil {
		return fail(err)
	}
	if err := syncDir(s.dir); err != nil {
		return fail(err)
	}
	s.log.Info("image stored", "image", img.Digest, "bytes", img.Size, "source", img.Source)
	img.Rootfs = filepath.Join(s.path(img.Digest), rootfsDir)
	return img, nil
}

func treeSize(dir string) (int64, error) {
	var total int64
	err := filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		info, err := d.Info()
		if err == nil {
			total += info.Size()
		}
		return err
	})
	return total, err
}

// syncFilesystem writes out all that belongs to the file system of a directory: an image has
// tens of thousands of files, and one fsync for each would take minutes.
func syncFilesystem(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Syncfs(int(f.Fd()))
}

func syncDir(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.Sync()
}

// removeTree removes a working directory. A build by a plain user leaves files of that user's
// subordinate ids, which only the user's own namespace may remove. Nothing is removed where
// something is mounted: that would empty what is mounted there.
func removeTree(ctx context.Context, dir string) error {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	if strings.Contains(string(mounts), " "+dir+"/") {
		return fmt.Errorf("something is still mounted below %s; unmount it first", dir)
	}
	err = os.RemoveAll(dir)
	if errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0 {
		return isolated(ctx, "rm", "-rf", "--one-file-system", "--", dir).Run()
	}
	return err
}
