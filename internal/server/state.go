package server

import (
	"context"
	"net/http"
	"runtime"
	"time"

	"cellhold"
	"cellhold/internal/server/exchange"

	"github.com/danielgtaylor/huma/v2"
)

// Health is the body that says that the server is alive, or that it is ready.
type Health struct {
	Status string `json:"status" enum:"ok" doc:"Always ok. Any other state is an error." example:"ok"`
}

type healthOutput struct {
	Body Health
}

// Version is the body with the versions of the server.
type Version struct {
	Version string `json:"version" doc:"Version of cellhold." example:"0.1.0"`
	Go      string `json:"go" doc:"Version of Go that built the program." example:"go1.26.8"`
	API     string `json:"api" doc:"Version of this API." example:"v1"`
}

type versionOutput struct {
	Body Version
}

// Status is the body with the state of the server, for operators and their monitoring.
type Status struct {
	Sessions   int   `json:"sessions" doc:"Number of the caller's sessions, including ended ones that can still be read." example:"2"`
	Goroutines int   `json:"goroutines" doc:"Number of goroutines of the server. A number that only grows is a leak." example:"24"`
	Heap       int64 `json:"heap" doc:"Heap of the server in use, in bytes." example:"8388608"`
	Uptime     int64 `json:"uptime" doc:"Seconds since the server started." example:"3600"`
}

type statusOutput struct {
	Body Status
}

func (s *Server) stateRoutes(api huma.API) {
	register(api, huma.Operation{
		OperationID: "status", Method: http.MethodGet, Path: "/v1/status", Tags: []string{tagState},
		Summary:     "Get the state of the server",
		Description: "Numbers for the operator's monitoring.",
	}, s.status)
	register(api, huma.Operation{
		OperationID: "health", Method: http.MethodGet, Path: "/v1/health", Tags: []string{tagState},
		Summary:     "Check that the server is alive",
		Description: "The answer is ok as long as the process runs. Needs no token.",
	}, s.health)
	register(api, huma.Operation{
		OperationID: "ready", Method: http.MethodGet, Path: "/v1/ready", Tags: []string{tagState},
		Summary:     "Check that the server is ready",
		Description: "The answer is ok if the server can create sessions. It is 503 with a reason while the server takes over sandboxes after a restart, and while it shuts down. Needs no token.",
	}, s.ready)
	register(api, huma.Operation{
		OperationID: "version", Method: http.MethodGet, Path: "/v1/version", Tags: []string{tagState},
		Summary:     "Get the version of the server",
		Description: "Needs no token.",
	}, s.version)
}

func (s *Server) status(ctx context.Context, _ *struct{}) (*statusOutput, error) {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return &statusOutput{Body: Status{
		Sessions: len(s.sessions.List(exchange.Caller(ctx))), Goroutines: runtime.NumGoroutine(),
		Heap: int64(m.HeapInuse), Uptime: int64(time.Since(s.started).Seconds()),
	}}, nil
}

func (s *Server) health(context.Context, *struct{}) (*healthOutput, error) {
	return &healthOutput{Body: Health{Status: "ok"}}, nil
}

func (s *Server) ready(ctx context.Context, _ *struct{}) (*healthOutput, error) {
	if s.draining.Load() {
		return nil, s.problem(ctx, cellhold.Errorf(cellhold.Unavailable, "The server is shutting down. Retry when it has restarted."))
	}
	if err := s.sessions.Ready(); err != nil {
		return nil, s.problem(ctx, err)
	}
	return &healthOutput{Body: Health{Status: "ok"}}, nil
}

func (s *Server) version(context.Context, *struct{}) (*versionOutput, error) {
	return &versionOutput{Body: Version{Version: s.options.Version, Go: runtime.Version(), API: "v1"}}, nil
}
