package registry

import (
	"sync"
	"time"
)

const (
	// maxConcurrent is the number of sessions that are adopted or detached at the same time. It is small, so that it
	// does not overload the host.
	maxConcurrent = 8
	// patience is how long the start waits for one sandbox. A sandbox that answers is adopted in a tenth of this time.
	patience = time.Second
	// sweepPatience is how long a sweep waits for one session. Most sessions are saved or ended in less.
	sweepPatience = 3 * time.Second
)

// queue runs jobs, a few at a time. A job that takes longer than the patience gives up its place, and continues.
type queue struct {
	places   chan struct{}
	patience time.Duration
	placed   sync.WaitGroup  // counts the jobs that have a place
	all      *sync.WaitGroup // counts all jobs
}

func newQueue(all *sync.WaitGroup, places int, patience time.Duration) *queue {
	return &queue{places: make(chan struct{}, places), patience: patience, all: all}
}

// add waits for a place, and starts the job.
func (q *queue) add(job func()) {
	q.places <- struct{}{}
	q.placed.Add(1)
	leave := sync.OnceFunc(func() { <-q.places; q.placed.Done() })
	timer := time.AfterFunc(q.patience, leave)
	q.all.Go(func() {
		defer leave()
		defer timer.Stop()
		job()
	})
}

// wait returns when each job has ended or has given up its place.
func (q *queue) wait() { q.placed.Wait() }
