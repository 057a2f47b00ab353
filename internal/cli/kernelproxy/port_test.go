package kernelproxy

import (
	"context"
	"net"
	"testing"
	"testing/synctest"
	"time"
)

// TestOverlappingConnectionsDelayARequestByJoinTime: a new connection begins before each one ends, so there is always one
// that is not ready yet.
func TestOverlappingConnectionsDelayARequestByJoinTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := &port{name: iopub, peers: map[string]*peer{}}
		const step = joinTime / 2
		for i := range 10 {
			time.AfterFunc(time.Duration(i)*step, func() { p.join() })
		}
		synctest.Wait()
		begun := time.Now()
		p.settle(t.Context())
		if took := time.Since(begun); took != joinTime {
			t.Errorf("the request waited %s, want %s", took, joinTime)
		}
		<-time.After(10 * joinTime) // of the clock of the bubble: all connections have ended
	})
}

func TestAConnectionOfAnotherUserDelaysNoRequest(t *testing.T) {
	p, err := listen(t.Context(), iopub)
	if err != nil {
		t.Fatal(err)
	}
	checking, refuse, ended := make(chan struct{}), make(chan struct{}), make(chan struct{})
	p.own = func(context.Context, net.Conn) bool {
		close(checking)
		<-refuse
		return false
	}
	go func() {
		defer close(ended)
		p.serve(t.Context(), nil)
	}()
	nc, err := net.Dial("tcp", p.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	<-checking
	p.mu.Lock()
	if p.opened != 1 || p.joining != 0 {
		t.Errorf("got %d connections of which requests wait for %d, want 1 and 0", p.opened, p.joining)
	}
	p.mu.Unlock()
	close(refuse)
	p.close()
	<-ended
}
