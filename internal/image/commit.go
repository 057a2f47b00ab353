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
	// workPrefix begins the names of working directories. The dot distinguishes them from digests.
	workPrefix = ".tmp-"
	// lockPoll is the interval of attempts to get the lock. A blocking flock could not be cancelled, and the wait can take
	// minutes.
	lockPoll = 200 * time.Millisecond
)

// lock makes the caller the only process that changes the store, and removes the remains of dead ones.
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

// sweep removes the working directories of dead operations. The caller must hold the lock, so no running operation has one.
func (s *Store) sweep(ctx context.Context) error {
	strays, err := filepath.Glob(filepath.Join(s.dir, workPrefix+"*"))
	if err != nil {
		return fmt.Errorf("image store: %w", err)
	}
	for _, dir := range strays {
		s.log.Warn("removing the files of an interrupted image operation", "dir", dir)
		if err := removeTree(ctx, dir); err != nil {
			return fmt.Errorf("image store: remove an old working directory: %w", err)
		}
	}
	return nil
}

// workDir creates a directory in which one operation prepares an image. The caller must hold the lock.
func (s *Store) workDir(ctx context.Context) (dir string, remove func(context.Context), err error) {
	dir, err = os.MkdirTemp(s.dir, workPrefix)
	if err != nil {
		return "", nil, fmt.Errorf("image store: %w", err)
	}
	// remove works even if the operation was cancelled.
	remove = func(ctx context.Context) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Minute)
		defer cancel()
		if err := removeTree(ctx, dir); err != nil {
			s.log.Warn("cannot remove a working directory; the next image operation retries", "dir", dir, "err", err)
		}
	}
	for _, d := range []string{imageDir, filepath.Join(imageDir, rootfsDir)} {
		d = filepath.Join(dir, d)
		// The uid of sandboxes must have access, whatever our umask is.
		if err := errors.Join(os.Mkdir(d, 0o755), os.Chmod(d, 0o755)); err != nil {
			remove(ctx)
			return "", nil, fmt.Errorf("image store: %w", err)
		}
	}
	return dir, remove, nil
}

// imageDir is the part of a working directory that becomes the image.
const imageDir = "image"

// commit turns a finished working directory into the image. All files are synced before the rename, so a crash leaves either
// a complete image or none.
func (s *Store) commit(work string, img Image) (Image, error) {
	fail := func(err error) (Image, error) {
		return Image{}, fmt.Errorf("store image %s: %w", img.Digest, err)
	}
	if _, err := s.load(img.Digest, nil); errors.Is(err, ErrDamaged) {
		return s.describe(s.imagePath(img.Digest), img) // its files never change, and sandboxes can use them
	}
	dir := filepath.Join(work, imageDir)
	img, err := s.describe(dir, img)
	if err != nil {
		return fail(err)
	}
	if err := syncFilesystem(dir); err != nil {
		return fail(err)
	}
	if err := os.Rename(dir, s.imagePath(img.Digest)); err != nil {
		return fail(err)
	}
	if err := syncDir(s.dir); err != nil {
		return fail(err)
	}
	s.log.Info("image stored", "image", img.Digest, "bytes", img.Size, "source", img.Source)
	img.Rootfs = filepath.Join(s.imagePath(img.Digest), rootfsDir)
	return img, nil
}

// describe writes the record of an image into its directory, atomically.
func (s *Store) describe(dir string, img Image) (Image, error) {
	size, err := treeSize(filepath.Join(dir, rootfsDir))
	if err != nil {
		return Image{}, fmt.Errorf("image %s: %w", img.Digest, err)
	}
	img.Size, img.Created = size, time.Now().UTC().Truncate(time.Second)
	img.Rootfs = filepath.Join(dir, rootfsDir)
	data, err := json.MarshalIndent(img, "", "  ")
	if err != nil {
		return Image{}, fmt.Errorf("image %s: %w", img.Digest, err)
	}
	file := filepath.Join(dir, metaFile)
	if err := errors.Join(os.WriteFile(file+".new", append(data, '\n'), 0o644), os.Rename(file+".new", file)); err != nil {
		return Image{}, fmt.Errorf("image %s: %w", img.Digest, err)
	}
	return img, syncDir(dir)
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

// syncFilesystem syncs the file system of a directory. An image has tens of thousands of files, and an fsync of each would
// take minutes.
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

// removeTree removes a working directory. After a build without root its files belong to the user's subordinate ids, and can
// be removed only in the user's own namespace. If something is mounted in the directory, nothing is removed, because that
// would also delete the mounted files.
func removeTree(ctx context.Context, dir string) error {
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	if strings.Contains(string(mounts), " "+dir+"/") {
		return fmt.Errorf("a file system is mounted below %s; unmount it first", dir)
	}
	err = os.RemoveAll(dir)
	if errors.Is(err, fs.ErrPermission) && os.Geteuid() != 0 {
		return isolated(ctx, "rm", "-rf", "--one-file-system", "--", dir).Run()
	}
	return err
}
