package store

import (
	"cmp"
	"context"
	"database/sql"
	"errors"

	"cellhold/internal/memory"
)

const (
	// large is the size in bytes above which a record or a content is read alone, with a share of the budget.
	large = 64 << 10
	// requestBudget bounds the memory of all large records that requests of clients read at the same time. serverBudget is
	// for the reads of the server itself, which must not wait for slow clients.
	requestBudget = 128 << 20
	serverBudget  = 96 << 20
	// readCopies is the number of copies during a read: in SQLite, in its driver, and decoded. keptCopies is the number
	// while the consumer works: the decoded record, and what the consumer makes of its largest part.
	readCopies = 3
	keptCopies = 2
)

// budget returns the budget for a read.
func (d *DB) budget(ctx context.Context) *memory.Budget {
	if memory.HasPatience(ctx) {
		return d.requests
	}
	return d.server
}

// Hold takes a share of the memory for large records, for size bytes that the caller has from elsewhere, such as the outputs
// of a running cell. The caller must call release, and must not read other records before. A small size takes no share.
func (d *DB) Hold(ctx context.Context, size int64) (release func(), err error) {
	if size <= large {
		return func() {}, nil
	}
	share, err := d.budget(ctx).Take(ctx, keptCopies*size)
	if err != nil {
		return nil, err
	}
	return share.Release, nil
}

// item is one record, or the error for a damaged record. A large record is not read yet: it has a size, and load reads it.
type item[T any] struct {
	value T
	err   error
	size  int64
	// load returns the record and its size. A record larger than most has grown since the query, and is not read.
	load func(ctx context.Context, most int64) (value T, size int64, err error)
	// elsewhere is asked when the consumer is ready. If it returns true, the consumer gets this value, and nothing is read.
	// nil: the record is always read.
	elsewhere func() (T, bool)
}

// batch is the result of one query. last is set if there are no more rows.
type batch[T any] struct {
	items []item[T]
	last  bool
}

// pages yields the items of batch after batch. It requests a batch only when the consumer has processed the batch before.
// A large record takes memory only while the consumer works on it. If the records were deleted before the last batch, the
// last item is the error of deleted: otherwise the consumer would take a part for the whole.
func pages[T any](ctx context.Context, room *memory.Budget, yield func(T, error) bool, deleted func() error, next func() (batch[T], error)) {
	var none T
	for first := true; ; first = false {
		b, err := next()
		for _, it := range b.items {
			more := false
			failed := it.use(ctx, room, func(v T, err error) { more = yield(v, err) })
			if errors.Is(failed, sql.ErrNoRows) {
				failed = cmp.Or(deleted(), failed)
			}
			if failed != nil {
				yield(none, outward(failed))
			}
			if !more {
				return
			}
		}
		if err == nil && b.last && !first {
			err = deleted()
		}
		if err != nil {
			yield(none, outward(err))
		}
		if err != nil || b.last {
			return
		}
	}
}

// use passes an item to a consumer. It reads a large record with a share of the budget, which it releases after the
// consumer has returned.
func (it item[T]) use(ctx context.Context, room *memory.Budget, consume func(T, error)) error {
	if it.elsewhere != nil {
		if v, ok := it.elsewhere(); ok {
			consume(v, nil)
			return nil
		}
	}
	for read := it.size == 0; !read; {
		share, err := room.Take(ctx, readCopies*it.size)
		if err != nil {
			return err
		}
		defer share.Release()
		most := it.size
		it.value, it.size, it.err = it.load(ctx, most)
		if it.err != nil && !errors.Is(it.err, ErrDamaged) {
			return it.err
		}
		if read = it.size <= most; read {
			share.Shrink(keptCopies * it.size)
		} else {
			share.Release()
		}
	}
	consume(it.value, it.err)
	return nil
}

// fill runs a query whose last argument is batchRows, and collects its rows up to the limits.
func fill[T any](ctx context.Context, db *sql.DB, query string, args []any, scan func(*sql.Rows) (item[T], int, error)) (b batch[T], err error) {
	rows, err := db.QueryContext(ctx, query, args...)
	if err != nil {
		return b, err
	}
	defer rows.Close()
	for size := 0; size < batchBytes; {
		if !rows.Next() {
			b.last = len(b.items) < batchRows
			return b, rows.Err()
		}
		it, n, err := scan(rows)
		if err != nil && !errors.Is(err, ErrDamaged) {
			return b, err
		}
		it.err = err
		b.items = append(b.items, it)
		size += n
	}
	return b, nil
}

// blob uses a column of bytes while the driver has it, so that it is not copied.
type blob func([]byte)

// Scan implements sql.Scanner.
func (f blob) Scan(v any) error {
	b, _ := v.([]byte)
	f(b)
	return nil
}
