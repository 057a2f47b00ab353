package server

import (
	"context"
	"net/http"

	"cellhold"
	"cellhold/internal/server/door"

	"github.com/danielgtaylor/huma/v2"
)

// MakeCheckpoint is the body that asks for a checkpoint.
type MakeCheckpoint struct {
	_    struct{} `additionalProperties:"false" json:"-"`
	Name string   `json:"name" minLength:"1" maxLength:"64" doc:"How to call it: letters, digits, '.', '_' and '-'." example:"before-the-join"`
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
	Checkpoints []cellhold.Checkpoint `json:"checkpoints" doc:"The session's checkpoints, the oldest first."`
}

type checkpointsOutput struct {
	Body CheckpointList
}

type oneCheckpointInput struct {
	SessionPath
	Name string `path:"name" maxLength:"64" doc:"Name of the checkpoint." example:"before-the-join"`
}

// RollBack is the body that asks for a rollback.
type RollBack struct {
	_          struct{} `additionalProperties:"false" json:"-"`
	Checkpoint string   `json:"checkpoint" minLength:"1" maxLength:"64" doc:"Name of the checkpoint to go back to." example:"before-the-join"`
}

type rollBackInput struct {
	SessionPath
	Body RollBack
}

// ForkSession is the body that asks for forks. All of it may be left out.
type ForkSession struct {
	_          struct{} `additionalProperties:"false" json:"-"`
	Count      int      `json:"count,omitempty" minimum:"1" maximum:"16" doc:"How many; one when absent." example:"4"`
	Checkpoint string   `json:"checkpoint,omitempty" maxLength:"64" doc:"Name of the checkpoint to start from; the session as it is now when absent." example:"before-the-join"`
}

type forkInput struct {
	SessionPath
	Body *ForkSession `required:"false"`
}

// snapshotRoutes are what can be done with the saved state of a session.
func (s *Server) snapshotRoutes(api huma.API) {
	register(api, huma.Operation{
		OperationID: "hibernate", Method: http.MethodPost, Path: "/v1/sessions/{id}/hibernate", Tags: []string{tagSnapshots},
		Summary:     "Hibernate a session to disk",
		Description: "Saves memory, files and processes, and frees the memory. Whatever needs the sandbox wakes it again; reading events, cells and the notebook does not. A cell, command or transfer under way is a conflict. A session that is hibernated already stays so. The server does the same with idle sessions.",
	}, s.hibernate)
	register(api, huma.Operation{
		OperationID: "resume", Method: http.MethodPost, Path: "/v1/sessions/{id}/resume", Tags: []string{tagSnapshots},
		Summary:     "Wake a hibernated session",
		Description: "Everything goes on as it was. A session wakes by itself when it is used; this makes the first use quick. One that is awake stays so.",
	}, s.resume)
	register(api, huma.Operation{
		OperationID: "make-checkpoint", Method: http.MethodPost, Path: "/v1/sessions/{id}/checkpoints", DefaultStatus: http.StatusCreated, Tags: []string{tagSnapshots},
		Summary:     "Save a checkpoint",
		Description: "Saves the session under a name; it goes on. Checkpoints end with their session. A cell, command or transfer under way is a conflict, and so is a name that is taken.",
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
		Summary:     "Go back to a checkpoint",
		Description: "Variables, files and kernels are what they were then; random numbers are new ones. Cells submitted since are undone: they and their events can still be read, and the notebook does not have them. A cell, command or transfer under way is a conflict. When it fails the session stays as it is.",
	}, s.rollBack)
	register(api, huma.Operation{
		OperationID: "fork", Method: http.MethodPost, Path: "/v1/sessions/{id}/fork", DefaultStatus: http.StatusCreated, Tags: []string{tagSnapshots},
		Summary:     "Make sessions that start from this one",
		Description: "Each has the variables, files, cells and events of this one, its limits, egress and secrets, and goes its own way from here; random numbers differ. Either all are made or none. This one goes on undisturbed. A cell, command or transfer under way is a conflict, unless a checkpoint is named.",
	}, s.fork)
}

func (s *Server) hibernate(ctx context.Context, in *SessionPath) (*sessionOutput, error) {
	sess, err := s.session(ctx, in.ID)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	acting, cancel := door.Act(ctx)
	defer cancel()
	if err := sess.Hibernate(acting); err != nil {
		return nil, s.problem(ctx, err)
	}
	return &sessionOutput{Body: whole(sess.Info())}, nil
}

func (s *Server) resume(ctx context.Context, in *SessionPath) (*sessionOutput, error) {
	sess, err := s.session(ctx, in.ID)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	acting, cancel := door.Act(ctx)
	defer cancel()
	if err := sess.Resume(acting); err != nil {
		return nil, s.problem(ctx, err)
	}
	return &sessionOutput{Body: whole(sess.Info())}, nil
}

func (s *Server) makeCheckpoint(ctx context.Context, in *makeCheckpointInput) (*checkpointOutput, error) {
	sess, err := s.session(ctx, in.ID)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	acting, cancel := door.Act(ctx)
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
	acting, cancel := door.Act(ctx)
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
	acting, cancel := door.Act(ctx)
	defer cancel()
	if err := sess.Rollback(acting, in.Body.Checkpoint); err != nil {
		return nil, s.problem(ctx, err)
	}
	return &sessionOutput{Body: whole(sess.Info())}, nil
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
	acting, cancel := door.Act(ctx)
	defer cancel()
	forks, err := s.sessions.Fork(acting, sess, max(body.Count, 1), body.Checkpoint)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	list := SessionList{Sessions: []cellhold.Session{}}
	for _, f := range forks {
		list.Sessions = append(list.Sessions, whole(f.Info()))
	}
	return &sessionsOutput{Body: list}, nil
}
