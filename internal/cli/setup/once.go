package setup

import (
	"cellhold"
	"cellhold/internal/store"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
)

// OnceDir is the folder in a home for the homes of private servers.
const OnceDir = "once"

// MaxOnce bounds the private servers that run at the same time with one home. Each needs at least 100 MB.
const MaxOnce = 64

// OnceHome returns the home of the private server with a number. The numbers begin at 1.
func OnceHome(home string, number int) string {
	return filepath.Join(home, OnceDir, strconv.Itoa(number))
}

// RemoveKilled removes what the sandboxes of killed private servers left in a home. It leaves the sandboxes of running
// servers alone: each server holds the lock of its own home. It logs what it cannot remove.
func RemoveKilled(ctx context.Context, home string, log *slog.Logger) {
	for n := range MaxOnce {
		if ctx.Err() != nil {
			return
		}
		once := OnceHome(home, n+1)
		if left, err := os.ReadDir(filepath.Join(once, RunDir)); err != nil || len(left) == 0 {
			continue
		}
		if err := removeKilled(ctx, once, home, log); err != nil {
			log.Warn("cannot remove what a killed cellhold run left behind", "home", once, "err", err)
		}
	}
}

// removeKilled removes the sandboxes in the home of one private server, unless the server runs.
func removeKilled(ctx context.Context, once, home string, log *slog.Logger) (err error) {
	lock, err := store.Lock(once)
	if cellhold.KindOf(err) == cellhold.Conflict {
		return nil
	}
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, lock.Close()) }()
	driver, err := NewDriver(once, home, true, log) // it creates no sandbox, so missing limits do not matter
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, driver.Close()) }()
	infos, err := driver.List(ctx)
	if err != nil {
		return err
	}
	for _, info := range infos {
		if ctx.Err() != nil {
			return err
		}
		err = errors.Join(err, driver.Remove(ctx, info.ID))
	}
	return err
}
