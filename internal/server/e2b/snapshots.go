package e2b

import (
	"crypto/rand"
	"net/http"
	"strings"
	"time"

	"cellhold"
	"cellhold/internal/server/exchange"
	"cellhold/internal/session"
)

// snapshotInfo is a snapshot: a checkpoint of a session. It lives as long as the session.
type snapshotInfo struct {
	SnapshotID string   `json:"snapshotID"`
	Names      []string `json:"names"`
}

func shownSnapshot(s *session.Session, name string) snapshotInfo {
	return snapshotInfo{SnapshotID: string(s.ID()) + ":" + name, Names: []string{name}}
}

func (d *door) snapshot(_ http.ResponseWriter, r *http.Request, caller string) (int, any, error) {
	s, err := d.session(r, caller)
	if err != nil {
		return 0, nil, err
	}
	var q struct {
		Name string `json:"name"`
	}
	if err := exchange.DecodeJSON(r, &q); err != nil {
		return 0, nil, err
	}
	if q.Name == "" {
		q.Name = "snapshot-" + strings.ToLower(rand.Text()[:8])
	}
	ctx, cancel := acting(r)
	defer cancel()
	c, err := s.Checkpoint(ctx, q.Name)
	if err != nil {
		return 0, nil, err
	}
	return http.StatusCreated, shownSnapshot(s, c.Name), nil
}

func (d *door) snapshots(_ http.ResponseWriter, r *http.Request, caller string) (int, any, error) {
	q, list := r.URL.Query(), []snapshotInfo{}
	for _, info := range d.Sessions.List(caller) {
		s, err := d.Sessions.Session(r.Context(), caller, info.ID)
		if err != nil || info.State == cellhold.SessionEnded || q.Get("sandboxID") != "" && q.Get("sandboxID") != string(info.ID) {
			continue
		}
		for _, c := range s.Checkpoints() {
			if q.Get("name") == "" || q.Get("name") == c.Name {
				list = append(list, shownSnapshot(s, c.Name))
			}
		}
	}
	return http.StatusOK, list, nil
}

func (d *door) deleteSnapshot(_ http.ResponseWriter, r *http.Request, caller string) (int, any, error) {
	text := r.PathValue("name")
	id, name, ok := readSnapshot(text)
	if !ok {
		return 0, nil, cellhold.Errorf(cellhold.NotFound, "Snapshot %.100q not found. The operator manages templates.", text)
	}
	s, err := d.Sessions.Session(r.Context(), caller, id)
	if err != nil {
		return 0, nil, cellhold.Errorf(cellhold.NotFound, "Snapshot %.100q not found.", text)
	}
	ctx, cancel := acting(r)
	defer cancel()
	return http.StatusNoContent, nil, s.DeleteCheckpoint(ctx, name)
}

// metric is what a sandbox uses now.
type metric struct {
	Timestamp     time.Time `json:"timestamp"`
	TimestampUnix int64     `json:"timestampUnix"`
	CPUCount      int       `json:"cpuCount"`
	CPUUsedPct    float64   `json:"cpuUsedPct"` // since the start of the sandbox
	MemUsed       int64     `json:"memUsed"`
	MemTotal      int64     `json:"memTotal"`
	MemCache      int64     `json:"memCache"`
	DiskUsed      int64     `json:"diskUsed"`
	DiskTotal     int64     `json:"diskTotal"`
}

// metrics answers with one measurement of a running sandbox. The server keeps no earlier ones.
func (d *door) metrics(_ http.ResponseWriter, r *http.Request, caller string) (int, any, error) {
	s, err := d.session(r, caller)
	if err != nil {
		return 0, nil, err
	}
	if s.Record().State != cellhold.SessionReady {
		return http.StatusOK, []metric{}, nil
	}
	a, leave, err := s.Enter(r.Context())
	if err != nil {
		return 0, nil, err
	}
	defer leave()
	use, err := a.Sandbox().Usage(r.Context())
	if err != nil {
		return 0, nil, cellhold.Wrap(cellhold.Unavailable, err, "The sandbox cannot be measured now. Retry.")
	}
	info, now := d.describe(s), time.Now().UTC()
	m := metric{Timestamp: now, TimestampUnix: now.Unix(), CPUCount: info.CPUCount, MemUsed: max(use.Memory, 0), MemTotal: s.Record().Limits.Memory,
		DiskTotal: s.Record().Limits.Disk}
	if alive := now.Sub(info.StartedAt); alive > 0 && use.CPU > 0 {
		m.CPUUsedPct = min(100*use.CPU.Seconds()/alive.Seconds(), 100*float64(info.CPUCount))
	}
	return http.StatusOK, []metric{m}, nil
}
