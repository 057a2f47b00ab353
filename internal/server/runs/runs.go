// Package runs serves the routes of runs: one run, and a batch of runs with its results as lines.
//
// It decides nothing about runs; package oneshot does.
package runs

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"reflect"
	"strings"
	"time"

	"cellhold"
	"cellhold/internal/oneshot"
	"cellhold/internal/server/exchange"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

// answer is an answer that a function writes.
type answer struct {
	Body func(huma.Context)
}

type runInput struct {
	Key  string `header:"Idempotency-Key" maxLength:"255" doc:"Your name for this request, so that you can retry it if its answer was lost. With a key, the run continues if you close the connection. The same key with the same request returns the same result for a day, even after a restart of the server. The same key with another request is a conflict."`
	Body cellhold.RunRequest
}

// StartRuns is the body of a request to run a batch.
type StartRuns struct {
	_        struct{}              `additionalProperties:"false" json:"-"`
	Runs     []cellhold.RunRequest `json:"runs" minItems:"1" maxItems:"1000" doc:"Runs of the batch." example:"[{\"code\": \"print(6 * 7)\"}]"`
	Parallel int                   `json:"parallel,omitempty" minimum:"0" maximum:"32" doc:"Maximum number of runs at the same time. The server can run fewer. Absent or 0 means 8." example:"8"`
}

type runsInput struct {
	Key  string `header:"Idempotency-Key" maxLength:"255" doc:"Your name for this batch. With a key, the batch continues if you close the connection. The same key with the same runs returns the same batch for a day, even after a restart of the server: first the results that it has, then the others. No code runs twice. The same key with other runs is a conflict."`
	Body StartRuns
}

// Options configures the routes. All fields are required.
type Options struct {
	Runs    *oneshot.Runs
	Waiters *exchange.Waiters
	Logger  *slog.Logger
	Tag     string                // tag of the routes in the document
	Prepare func(*huma.Operation) // adds the limits and the error answer that all operations have
}

type routes struct{ Options }

// keepAlive is the longest silence of an answer. Proxies close a connection that is silent for a minute or half a minute.
const keepAlive = 15 * time.Second

// Register adds the routes to api.
func Register(api huma.API, o Options) {
	s := routes{o}
	schema := api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[cellhold.RunResult](), true, "")
	one := huma.Operation{
		OperationID: "run", Method: http.MethodPost, Path: "/v1/run", Tags: []string{o.Tag},
		Summary:     "Run code once",
		Description: "Runs code, or a command, in a sandbox that is used once and then destroyed. The answer comes when the code has ended. Failing code is not an API error: status has the result. If you close the connection, the run ends, unless the request has an Idempotency-Key.",
		Responses: map[string]*huma.Response{"200": {Description: "The result",
			Content: map[string]*huma.MediaType{"application/json": {Schema: schema}}}},
	}
	batch := huma.Operation{
		OperationID: "run-batch", Method: http.MethodPost, Path: "/v1/runs", Tags: []string{o.Tag},
		Summary:     "Run a batch",
		Description: "Runs each entry like run, several at the same time. The answer has one line of JSON for each run, as soon as it has ended, in any order: index says which run it is. After each 15 s without a result comes an empty line. If the answer ends before it has all results, the connection breaks. If you close the connection, the batch ends, unless the request has an Idempotency-Key.",
		Responses: map[string]*huma.Response{"200": {Description: "The results, one on a line",
			Content: map[string]*huma.MediaType{linesType: {Schema: schema}}}},
	}
	o.Prepare(&one)
	o.Prepare(&batch)
	huma.Register(api, one, s.one)
	huma.Register(api, batch, s.batch)
	example(api, one.Path, map[string]any{"code": "print(6 * 7)"})
	example(api, batch.Path, map[string]any{"runs": []any{map[string]any{"code": "print(input())", "tests": []any{map[string]any{"stdin": "42", "stdout": "42"}}}}})
}

// example gives a request an example that every server accepts.
func example(api huma.API, path string, value any) {
	api.OpenAPI().Paths[path].Post.RequestBody.Content["application/json"].Example = value
}

// linesType is the media type of JSON values on lines.
const linesType = "application/x-ndjson"

func (s routes) one(_ context.Context, in *runInput) (*answer, error) {
	return &answer{Body: func(hc huma.Context) {
		r, w := humago.Unwrap(hc)
		ctx, leave := s.Waiters.Enter(r.Context())
		defer leave()
		err := s.Runs.Run(ctx, exchange.Caller(ctx), in.Key, in.Body, func(result *io.SectionReader) error {
			w.Header().Set("Content-Type", "application/json")
			if write(w, result) != nil {
				panic(http.ErrAbortHandler) // the reader left, or the server's disk does not answer
			}
			return nil
		})
		switch {
		case r.Context().Err() != nil:
			panic(http.ErrAbortHandler) // the caller left
		case err != nil:
			exchange.WriteProblem(w, exchange.ProblemOf(ctx, s.Logger, runError(ctx, err)))
		}
	}}, nil
}

func (s routes) batch(_ context.Context, in *runsInput) (*answer, error) {
	return &answer{Body: func(hc huma.Context) {
		r, w := humago.Unwrap(hc)
		ctx, leave := s.Waiters.Enter(r.Context())
		defer leave()
		b, err := s.Runs.Start(ctx, exchange.Caller(ctx), in.Key, in.Body.Runs, in.Body.Parallel)
		if err != nil {
			exchange.WriteProblem(w, exchange.ProblemOf(ctx, s.Logger, runError(ctx, err)))
			return
		}
		defer b.Leave()
		s.writeResults(ctx, w, b)
	}}, nil
}

// write writes a line. The reader must keep a steady rate, because the result keeps a file open.
func write(w http.ResponseWriter, line io.Reader) error {
	defer exchange.Steady(w)()
	_, err := io.Copy(w, io.MultiReader(line, strings.NewReader("\n")))
	return err
}

// writeResults writes the results of a batch as they come. If it cannot write all of them, it breaks the connection, so
// that a client cannot take a part for the whole.
func (s routes) writeResults(ctx context.Context, w http.ResponseWriter, b *oneshot.Batch) {
	w.Header().Set("Content-Type", linesType)
	w.Header().Set("X-Accel-Buffering", "no") // nginx would buffer the lines
	control := http.NewResponseController(w)
	err := control.Flush()
	for n := 0; n < b.Len() && err == nil; n++ {
		var line *io.SectionReader
		if line, err = s.await(ctx, w, b, n); err == nil {
			err = errors.Join(write(w, line), control.Flush())
		}
	}
	if err != nil {
		s.Logger.Debug("the answer of a batch breaks off", "err", err)
		panic(http.ErrAbortHandler)
	}
}

// await waits for the nth result. It writes an empty line after each silence.
func (s routes) await(ctx context.Context, w http.ResponseWriter, b *oneshot.Batch, n int) (*io.SectionReader, error) {
	for {
		waiting, cancel := context.WithTimeout(ctx, keepAlive)
		line, err := b.Result(waiting, n)
		quiet := errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil
		cancel()
		if !quiet {
			return line, err
		}
		if err := errors.Join(write(w, strings.NewReader("")), http.NewResponseController(w).Flush()); err != nil {
			return nil, err
		}
	}
}

// runError returns the error of a run for its caller. A run without a key ends with the server.
func runError(ctx context.Context, err error) error {
	if errors.Is(context.Cause(ctx), exchange.ErrAway) {
		return cellhold.Wrap(cellhold.Unavailable, err, "The server is shutting down. Retry in a moment, with the same Idempotency-Key if the request had one.")
	}
	return err
}
