package server

import (
	"context"
	"net/http"

	"cellhold"
	"cellhold/internal/attachment"
	"cellhold/internal/server/exchange"

	"github.com/danielgtaylor/huma/v2"
)

// AddKernel is the body of a request for another kernel.
type AddKernel struct {
	_    struct{}          `additionalProperties:"false" json:"-"`
	Spec string            `json:"spec" minLength:"1" maxLength:"100" doc:"Name of the kernelspec. list-kernelspecs returns the available ones." example:"bash"`
	ID   cellhold.KernelID `json:"id,omitempty" maxLength:"40" doc:"Id of the kernel in this session. Absent means an id made from the kernelspec's name." example:"bash"`
	Dir  string            `json:"cwd,omitempty" doc:"Working directory of the kernel: an absolute path of an existing directory. Absent means that of the session."`
}

type addKernelInput struct {
	SessionPath
	Body AddKernel
}

type addKernelOutput struct {
	Body cellhold.Kernel
}

// KernelList is the body that lists kernels.
type KernelList struct {
	Kernels []cellhold.Kernel `json:"kernels" doc:"Kernels of the session, in the order of their creation. A list omits the startup code."`
}

type kernelsOutput struct {
	Body KernelList
}

// KernelSpecList is the body that lists kernelspecs.
type KernelSpecList struct {
	KernelSpecs []cellhold.KernelSpec `json:"kernelspecs" doc:"Kernelspecs in the session's sandbox, by name."`
}

type kernelSpecsOutput struct {
	Body KernelSpecList
}

type oneKernelInput struct {
	SessionPath
	Kernel cellhold.KernelID `path:"kernel" maxLength:"64" doc:"Kernel id, unique within the session." example:"bash"`
}

func (s *Server) kernelRoutes(api huma.API) {
	register(api, huma.Operation{
		OperationID: "add-kernel", Method: http.MethodPost, Path: "/v1/sessions/{id}/kernels", DefaultStatus: http.StatusCreated, Tags: []string{tagSessions},
		Summary:     "Start another kernel",
		Description: "A session has at most 8 kernels in its sandbox. They share files and limits; each has its own variables and its own queue. The answer comes when the kernel is idle.",
	}, s.addKernel)
	register(api, huma.Operation{
		OperationID: "list-kernels", Method: http.MethodGet, Path: "/v1/sessions/{id}/kernels", Tags: []string{tagSessions},
		Summary: "List the kernels of a session",
	}, s.listKernels)
	register(api, huma.Operation{
		OperationID: "delete-kernel", Method: http.MethodDelete, Path: "/v1/sessions/{id}/kernels/{kernel}", DefaultStatus: http.StatusNoContent, Tags: []string{tagSessions},
		Summary:     "Delete a kernel",
		Description: "Interrupts the running cell, cancels the queued cells and ends the kernel. Its cells can still be read. The first kernel cannot be deleted.",
	}, s.deleteKernel)
	register(api, huma.Operation{
		OperationID: "list-kernelspecs", Method: http.MethodGet, Path: "/v1/sessions/{id}/kernelspecs", Tags: []string{tagSessions},
		Summary: "List the kernelspecs of a session",
	}, s.listKernelSpecs)
}

func (s *Server) addKernel(ctx context.Context, in *addKernelInput) (*addKernelOutput, error) {
	sess, err := s.session(ctx, in.ID)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	acting, cancel := exchange.Act(ctx)
	defer cancel()
	k, err := sess.AddKernel(acting, attachment.KernelRequest{Spec: in.Body.Spec, ID: in.Body.ID, Dir: in.Body.Dir})
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	return &addKernelOutput{Body: k}, nil
}

func (s *Server) listKernels(ctx context.Context, in *SessionPath) (*kernelsOutput, error) {
	sess, err := s.session(ctx, in.ID)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	list := sess.Info().Kernels
	for i := range list {
		list[i].Startup = "" // it can be longer than the rest of the list
	}
	return &kernelsOutput{Body: KernelList{Kernels: list}}, nil
}

func (s *Server) deleteKernel(ctx context.Context, in *oneKernelInput) (*struct{}, error) {
	sess, err := s.session(ctx, in.ID)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	acting, cancel := exchange.Act(ctx)
	defer cancel()
	if err := sess.RemoveKernel(acting, in.Kernel); err != nil {
		return nil, s.problem(ctx, err)
	}
	return nil, nil
}

func (s *Server) listKernelSpecs(ctx context.Context, in *SessionPath) (*kernelSpecsOutput, error) {
	a, leave, err := s.enter(ctx, in.ID)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	defer leave()
	specs, err := a.Specs(ctx)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	return &kernelSpecsOutput{Body: KernelSpecList{KernelSpecs: append([]cellhold.KernelSpec{}, specs...)}}, nil
}
