package kernelproxy

import (
	"container/list"
	"sync"
)

// maxRoutes is the limit of requests that wait for their reply. If there are more, the oldest one is forgotten: a kernel
// needs not answer.
const maxRoutes = 4096

// route is the way back to the program that sent a request.
type route struct {
	id       string // msg_id of the request
	port     string
	identity string
}

// routes has the ways back of all requests that wait for their reply. The zero value is ready for use.
type routes struct {
	mu   sync.Mutex
	byID map[string]*list.Element // of route
	age  list.List                // the oldest one first
}

// add remembers a request. A later request with the same id replaces the earlier one.
func (r *routes) add(of route) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byID == nil {
		r.byID = map[string]*list.Element{}
	}
	if old := r.byID[of.id]; old != nil {
		r.drop(old)
	}
	if r.age.Len() >= maxRoutes {
		r.drop(r.age.Front())
	}
	r.byID[of.id] = r.age.PushBack(of)
}

// find returns the way back for a message on a port. A question on stdin goes to the program of the request, which has the
// same identity there. A reply goes back on the port of its request, once.
func (r *routes) find(id, port string) (of route, ok bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	at := r.byID[id]
	if at == nil {
		return route{}, false
	}
	of = at.Value.(route)
	switch port {
	case of.port:
		r.drop(at)
	case stdin:
	default:
		return route{}, false
	}
	return of, true
}

// drop forgets a request. The caller must hold mu.
func (r *routes) drop(at *list.Element) {
	delete(r.byID, at.Value.(route).id)
	r.age.Remove(at)
}
