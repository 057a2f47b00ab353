package store

import (
	"context"
	"database/sql"
	"errors"
)

// item is one record, or the error for a damaged record.
type item[T any] struct {
	value T
	err   error
}

// batch is the result of one query. last is set if there are no more rows.
type batch[T any] struct {
	items []item[T]
	last  bool
}

// pages yields the items of batch after batch. It requests a batch only when the consumer has processed the batch before.
func pages[T any](yield func(T, error) bool, next func() (batch[T], error)) {
	for {
		b, err := next()
		for _, it := range b.items {
			if !yield(it.value, it.err) {
				return
			}
		}
		if err != nil {
			var none T
			yield(none, outward(err))
		}
		if err != nil || b.last {
			return
		}
	}
}

// fill runs a query whose last argument is batchRows, and collects its rows up to the limits.
func fill[T any](ctx context.Context, db *sql.DB, query string, args []any, scan func(*sql.Rows) (T, int, error)) (b batch[T], err error) {
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
		value, n, err := scan(rows)
		if err != nil && !errors.Is(err, ErrDamaged) {
			return b, err
		}
		b.items = append(b.items, item[T]{value, err})
		size += n
	}
	return b, nil
}
