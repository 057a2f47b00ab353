package introspection

import (
	"context"
	"log/slog"
	"net/http"
	"unicode/utf8"

	"cellhold"
	"cellhold/internal/server/exchange"
	"cellhold/internal/session"

	"github.com/danielgtaylor/huma/v2"
)

// Options has what the routes need from the server.
type Options struct {
	Find    func(context.Context, cellhold.SessionID) (*session.Session, error) // session of the caller
	Logger  *slog.Logger
	Tag     string                // of the routes in the OpenAPI document
	Prepare func(*huma.Operation) // adds the limits and the error answer that all operations have
}

// SessionPath is the input of all routes of a session. It is exported because huma reads only exported embedded structs.
type SessionPath struct {
	ID cellhold.SessionID `path:"id" doc:"Session id." example:"sk3v7q2m9xw4tz6hb"`
}

// CompleteCode is the body of a request for completions.
type CompleteCode struct {
	_      struct{}          `additionalProperties:"false" json:"-"`
	Code   string            `json:"code" doc:"Code to complete, at most 4 MiB." example:"pri"`
	Cursor *int              `json:"cursor,omitempty" minimum:"0" doc:"Position of the cursor in the code, in Unicode characters. Absent means the end." example:"3"`
	Kernel cellhold.KernelID `json:"kernel,omitempty" maxLength:"64" doc:"Kernel to ask. Absent means the session's first kernel." example:"python3"`
}

// InspectCode is the body of a request for the description of an object.
type InspectCode struct {
	_      struct{}          `additionalProperties:"false" json:"-"`
	Code   string            `json:"code" doc:"Code that names the object, at most 4 MiB." example:"print"`
	Cursor *int              `json:"cursor,omitempty" minimum:"0" doc:"Position in the code of the object's name, in Unicode characters. Absent means the end." example:"5"`
	Detail int               `json:"detail,omitempty" minimum:"0" maximum:"1" doc:"1 adds the source code of the object, if the kernel has it." example:"1"`
	Kernel cellhold.KernelID `json:"kernel,omitempty" maxLength:"64" doc:"Kernel to ask. Absent means the session's first kernel." example:"python3"`
}

// CheckCode is the body of the question whether code is complete.
type CheckCode struct {
	_      struct{}          `additionalProperties:"false" json:"-"`
	Code   string            `json:"code" doc:"Code to check, at most 4 MiB. It does not run." example:"for i in range(3):"`
	Kernel cellhold.KernelID `json:"kernel,omitempty" maxLength:"64" doc:"Kernel to ask. Absent means the session's first kernel." example:"python3"`
}

// HistoryList is the body that lists code.
type HistoryList struct {
	History []cellhold.HistoryEntry `json:"history" doc:"Code of the newest cells, the oldest of them first, at most 4 MiB."`
}

type body[T any] struct {
	SessionPath
	Body T
}

type output[T any] struct {
	Body T
}

type historyInput struct {
	SessionPath
	Kernel cellhold.KernelID `query:"kernel" maxLength:"64" doc:"Kernel id. Absent means all kernels of the session." example:"python3"`
	Limit  int               `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"Maximum number of cells."`
}

// answersText is what the descriptions of all questions to a kernel say.
const answersText = " The kernel answers between two cells. If a cell runs or waits, or the session is hibernated, the answer is a conflict at once. A kernel that does not answer within 5 s is unavailable."

// Register registers the routes.
func Register(api huma.API, o Options) {
	add(api, o, huma.Operation{
		OperationID: "complete", Method: http.MethodPost, Path: "/v1/sessions/{id}/complete",
		Summary: "Complete code", Description: "Asks the kernel for texts that can stand at the cursor, as the Tab key does." + answersText,
	}, func(ctx context.Context, s *session.Session, in *body[CompleteCode]) (cellhold.Completion, error) {
		cursor, err := position(in.Body.Code, in.Body.Cursor)
		if err != nil {
			return cellhold.Completion{}, err
		}
		return Complete(ctx, s, in.Body.Kernel, in.Body.Code, cursor)
	})
	add(api, o, huma.Operation{
		OperationID: "inspect", Method: http.MethodPost, Path: "/v1/sessions/{id}/inspect",
		Summary: "Describe an object", Description: "Asks the kernel for the description of the object at the cursor, such as its signature and its documentation." + answersText,
	}, func(ctx context.Context, s *session.Session, in *body[InspectCode]) (cellhold.Inspection, error) {
		cursor, err := position(in.Body.Code, in.Body.Cursor)
		if err != nil {
			return cellhold.Inspection{}, err
		}
		return Inspect(ctx, s, in.Body.Kernel, in.Body.Code, cursor, in.Body.Detail)
	})
	add(api, o, huma.Operation{
		OperationID: "is-complete", Method: http.MethodPost, Path: "/v1/sessions/{id}/is-complete",
		Summary: "Check whether code is complete", Description: "Asks the kernel whether the code can run, or needs more lines. The code does not run." + answersText,
	}, func(ctx context.Context, s *session.Session, in *body[CheckCode]) (cellhold.Completeness, error) {
		if _, err := position(in.Body.Code, nil); err != nil {
			return cellhold.Completeness{}, err
		}
		return Check(ctx, s, in.Body.Kernel, in.Body.Code)
	})
	add(api, o, huma.Operation{
		OperationID: "get-history", Method: http.MethodGet, Path: "/v1/sessions/{id}/history",
		Summary: "Read the code of the newest cells", Description: "Returns the code without its outputs, for the history of a prompt. It comes from the records of the server: it works while a cell runs and while the session is hibernated.",
	}, func(ctx context.Context, s *session.Session, in *historyInput) (HistoryList, error) {
		list, err := History(s.History().Cells(ctx), in.Kernel, in.Limit)
		return HistoryList{History: list}, err
	})
}

// located is an input that names a session.
type located interface{ session() cellhold.SessionID }

func (p *SessionPath) session() cellhold.SessionID { return p.ID }

// add registers one operation.
func add[In, Out any](api huma.API, o Options, op huma.Operation, answer func(context.Context, *session.Session, *In) (Out, error)) {
	op.Tags = []string{o.Tag}
	o.Prepare(&op)
	huma.Register(api, op, func(ctx context.Context, in *In) (*output[Out], error) {
		s, err := o.Find(ctx, any(in).(located).session())
		if err != nil {
			return nil, exchange.ProblemOf(ctx, o.Logger, err)
		}
		out, err := answer(ctx, s, in)
		if err != nil {
			return nil, exchange.ProblemOf(ctx, o.Logger, err)
		}
		return &output[Out]{Body: out}, nil
	})
}

// position returns the position of the cursor. It refuses code that is too long, and a position outside the code.
func position(code string, cursor *int) (int, error) {
	if len(code) > exchange.MaxCode {
		return 0, cellhold.Errorf(cellhold.Invalid, "The code has %d bytes; the limit is %d bytes.", len(code), exchange.MaxCode)
	}
	length := utf8.RuneCountInString(code)
	if cursor == nil {
		return length, nil
	}
	if *cursor > length {
		return 0, cellhold.Errorf(cellhold.Invalid, "The cursor %d is after the end of the code, which has %d characters.", *cursor, length)
	}
	return *cursor, nil
}
