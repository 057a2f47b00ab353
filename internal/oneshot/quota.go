package oneshot

import "sync"

const (
	// maxBatches is the maximum number of runs and batches that run or are read. maxRequests limits the bytes of their
	// requests in memory.
	maxBatches  = 512
	maxRequests = 128 << 20
	// maxStored is the maximum number of files with results on disk, and maxKept the maximum of their bytes. A batch
	// without a key has a file while it runs or is read.
	maxStored = 10_000
	maxKept   = 4 << 30
)

// amount is a number of things with their bytes.
type amount struct{ count, bytes int64 }

// within reports whether an amount is within a limit.
func (a amount) within(limit amount) bool { return a.count <= limit.count && a.bytes <= limit.bytes }

// quota counts the amounts of all owners. One owner can use half of the limit.
type quota struct {
	limit amount

	mu  sync.Mutex
	all amount
	own map[string]amount
}

func newQuota(limit amount) *quota { return &quota{limit: limit, own: map[string]amount{}} }

// take adds an amount. If the sum would exceed the limit, it adds nothing and returns false.
func (q *quota) take(owner string, a amount) bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if all, own := q.sum(owner, a); !all.within(q.limit) || !own.within(amount{q.limit.count / 2, q.limit.bytes / 2}) {
		return false
	}
	q.add(owner, a)
	return true
}

// change adds an amount, which can be negative, without regard to the limit.
func (q *quota) change(owner string, a amount) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.add(owner, a)
}

// sum returns the amounts that all owners and one owner would have after an addition. The caller must hold mu.
func (q *quota) sum(owner string, a amount) (all, own amount) {
	own = q.own[owner]
	return amount{q.all.count + a.count, q.all.bytes + a.bytes}, amount{own.count + a.count, own.bytes + a.bytes}
}

// add adds an amount. The caller must hold mu.
func (q *quota) add(owner string, a amount) {
	q.all, q.own[owner] = q.sum(owner, a)
	if q.own[owner] == (amount{}) {
		delete(q.own, owner)
	}
}
