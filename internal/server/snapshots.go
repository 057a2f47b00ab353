package server

import (
	"context"
	"net/http"

	"cellhold"
	"cellhold/internal/server/exchange"
	"cellhold/internal/session/terms"

	"github.com/danielgtaylor/huma/v2"
)

// MakeCheckpoint is the body of a request for a checkpoint.
type MakeCheckpoint struct {
	_    struct{} `additionalProperties:"false" json:"-"`
	Name string   `json:"name" minLength:"1" maxLength:"64" doc:"Name of the checkpoint: letters, digits, '.', '_' and '-'." example:"before-the-join"`
}

type makeCheckpointInput struct {
	SessionPath
	Body MakeCheckpoint
}

type checkpointOutput struct {
	Body cellhold.Checkpoint
}

// CheckpointList is the body that lists checkpoints.
type CheckpointList struct {
	Checkpoints []cellhold.Checkpoint `json:"checkpoints" doc:"Checkpoints of the session, oldest first."`
}

type checkpointsOutput struct {
	Body CheckpointList
}

type oneCheckpointInput struct {
	SessionPath
	Name string `path:"name" maxLength:"64" doc:"Name of the checkpoint." example:"before-the-join"`
}

// RollBack is the body of a request for a rollback.
type RollBack struct {
	_          struct{} `additionalProperties:"false" json:"-"`
	Checkpoint string   `json:"checkpoint" minLength:"1" maxLength:"64" doc:"Name of the checkpoint to restore." example:"before-the-join"`
}

type rollBackInput struct {
	SessionPath
	Body RollBack
}

// ForkSession is the body of a request for forks. All members are optional.
type ForkSession struct {
	_          struct{} `additionalProperties:"false" json:"-"`
	Count      int      `json:"count,omitempty" minimum:"1" maximum:"16" doc:"Number of forks. Absent means one." example:"4"`
	Checkpoint string   `json:"checkpoint,omitempty" maxLength:"64" doc:"Name of the checkpoint to start from. Absent means the present state of the session." example:"before-the-join"`
}

type forkInput struct {
	SessionPath
	Body *ForkSession `required:"false"`
}

// snapshotRoutes registers the operations on the saved state of a session.
func (s *Server) snapshotRoutes(api huma.API) {
	register(api, huma.Operation{
		OperationID: "hibernate", Method: http.MethodPost, Path: "/v1/sessions/{id}/hibernate", Tags: []string{tagSnapshots},
		Summary:     "Hibernate a session to disk",
		Description: "Saves memory, files and processes to disk, and frees the memory. The next request that needs the sandbox resumes the session; requests that only read events, cells or the notebook do not. If a cell, command or transfer is running, the answer is a conflict. If the session is hibernated already, the request does nothing. The server also hibernates idle sessions.",
	}, s.hibernate)
	register(api, huma.Operation{
		OperationID: "resume", Method: http.MethodPost, Path: "/v1/sessions/{id}/resume", Tags: []string{tagSnapshots},
		Summary:     "Resume a hibernated session",
		Description: "All kernels, variables and processes continue. The next use also resumes a session, unless its resume is request; call this to make the first use fast. If the session is not hibernated, the request does nothing.",
	}, s.resume)
	register(api, huma.Operation{
		OperationID: "make-checkpoint", Method: http.MethodPost, Path: "/v1/sessions/{id}/checkpoints", DefaultStatus: http.StatusCreated, Tags: []string{tagSnapshots},
		Summary:     "Save a checkpoint",
		Description: "Saves the session under a name. The session continues. Checkpoints are deleted with their session. If a cell, command or transfer is running, or the name exists, the answer is a conflict.",
	}, s.makeCheckpoint)
	register(api, huma.Operation{
		OperationID: "list-checkpoints", Method: http.MethodGet, Path: "/v1/sessions/{id}/checkpoints", Tags: []string{tagSnapshots},
		Summary: "List the checkpoints of a session",
	}, s.listCheckpoints)
	register(api, huma.Operation{
		OperationID: "delete-checkpoint", Method: http.MethodDelete, Path: "/v1/sessions/{id}/checkpoints/{name}", DefaultStatus: http.StatusNoContent, Tags: []string{tagSnapshots},
		Summary: "Delete a checkpoint",
	}, s.deleteCheckpoint)
	register(api, huma.Operation{
		OperationID: "rollback", Method: http.MethodPost, Path: "/v1/sessions/{id}/rollback", Tags: []string{tagSnapshots},
		Summary:     "Roll back to a checkpoint",
		Description: "Restores variables, files and kernels; random numbers are new. Cells submitted after the checkpoint are undone: you can still read them and their events, but the notebook omits them. If a cell, command or transfer is running, the answer is a conflict. If the rollback fails, the session does not change.",
	}, s.rollBack)
	register(api, huma.Operation{
		OperationID: "fork", Method: http.MethodPost, Path: "/v1/sessions/{id}/fork", DefaultStatus: http.StatusCreated, Tags: []string{tagSnapshots},
		Summary:     "Fork a session",
		Description: "Creates sessions that continue from this one. Each fork has the variables, files, cells, events, limits, egress and secrets of this session. Random numbers differ. If one fork fails, none is created. This session continues. If a cell, command or transfer is running and no checkpoint is given, the answer is a conflict.",
	}, s.fork)
}

func (s *Server) hibernate(ctx context.Context, in *SessionPath) (*sessionOutput, error) {
	sess, err := s.session(ctx, in.ID)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	acting, cancel := exchange.Act(ctx)
	defer cancel()
	if err := sess.Hibernate(acting); err != nil {
		return nil, s.problem(ctx, err)
	}
	return &sessionOutput{Body: complete(sess.Info())}, nil
}

func (s *Server) resume(ctx context.Context, in *SessionPath) (*sessionOutput, error) {
	sess, err := s.session(ctx, in.ID)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	acting, cancel := exchange.Act(ctx)
	defer cancel()
	if err := sess.Resume(acting); err != nil {
		return nil, s.problem(ctx, err)
	}
	return &sessionOutput{Body: complete(sess.Info())}, nil
}

func (s *Server) makeCheckpoint(ctx context.Context, in *makeCheckpointInput) (*checkpointOutput, error) {
	sess, err := s.session(ctx, in.ID)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	acting, cancel := exchange.Act(ctx)
	defer cancel()
	c, err := sess.Checkpoint(acting, in.Body.Name)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	return &checkpointOutput{Body: c}, nil
}

func (s *Server) listCheckpoints(ctx context.Context, in *SessionPath) (*checkpointsOutput, error) {
	sess, err := s.session(ctx, in.ID)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	return &checkpointsOutput{Body: CheckpointList{Checkpoints: sess.Checkpoints()}}, nil
}

func (s *Server) deleteCheckpoint(ctx context.Context, in *oneCheckpointInput) (*struct{}, error) {
	sess, err := s.session(ctx, in.ID)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	acting, cancel := exchange.Act(ctx)
	defer cancel()
	if err := sess.DeleteCheckpoint(acting, in.Name); err != nil {
		return nil, s.problem(ctx, err)
	}
	return nil, nil
}

func (s *Server) rollBack(ctx context.Context, in *rollBackInput) (*sessionOutput, error) {
	sess, err := s.session(ctx, in.ID)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	acting, cancel := exchange.Act(ctx)
	defer cancel()
	if err := sess.Rollback(acting, in.Body.Checkpoint); err != nil {
		return nil, s.problem(ctx, err)
	}
	return &sessionOutput{Body: complete(sess.Info())}, nil
}

func (s *Server) fork(ctx context.Context, in *forkInput) (*sessionsOutput, error) {
	sess, err := s.session(ctx, in.ID)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	body := ForkSession{}
	if in.Body != nil {
		body = *in.Body
	}
	acting, cancel := exchange.Act(ctx)
	defer cancel()
	forks, err := s.sessions.Fork(acting, sess, terms.Fork{Count: max(body.Count, 1), Checkpoint: body.Checkpoint})
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	list := SessionList{Sessions: []cellhold.Session{}}
	for _, f := range forks {
		list.Sessions = append(list.Sessions, complete(f.Info()))
	}
	return &sessionsOutput{Body: list}, nil
}
