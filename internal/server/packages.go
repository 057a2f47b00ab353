package server

import (
	"context"
	"errors"
	"io"
	"net/http"

	"cellhold"
	"cellhold/internal/packages"
	"cellhold/internal/server/download"
	"cellhold/internal/session"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"
)

// InstallPackages is the body of a request to install packages.
type InstallPackages struct {
	_            struct{} `additionalProperties:"false" json:"-"`
	Requirements []string `json:"requirements,omitempty" maxItems:"2000" doc:"Requirements in pip's syntax: names with extras, versions, markers and hashes. URLs, paths and options are refused." example:"[\"tabulate>=0.9\"]"`
	File         string   `json:"requirements_file,omitempty" maxLength:"4194304" doc:"Text of a requirements file, such as a lock file."`
}

type installInput struct {
	SessionPath
	Body InstallPackages
}

type installOutput struct {
	Body cellhold.Installation
}

type removePackageInput struct {
	SessionPath
	Name string `path:"name" maxLength:"128" doc:"Name of the package." example:"tabulate"`
}

// PackageList is the body that lists packages.
type PackageList struct {
	Packages []cellhold.Package `json:"packages" doc:"Packages that differ from the image, by name."`
}

type packagesOutput struct {
	Body PackageList
}

func (s *Server) packageRoutes(api huma.API) {
	register(api, huma.Operation{
		OperationID: "install-packages", Method: http.MethodPost, Path: "/v1/sessions/{id}/packages", Tags: []string{tagPackages},
		Summary:     "Install packages",
		Description: "Installs packages in this session, for all its kernels. The answer comes when the installation is done, or after the operator's time limit (5 minutes by default). Closing the connection does not stop it. The operator's policy sets the allowed packages and the index. If it forbids a package, the kind of the error is \"denied\".",
	}, s.installPackages)
	register(api, huma.Operation{
		OperationID: "list-packages", Method: http.MethodGet, Path: "/v1/sessions/{id}/packages", Tags: []string{tagPackages},
		Summary: "List the installed packages",
	}, s.listPackages)
	register(api, huma.Operation{
		OperationID: "lock-packages", Method: http.MethodGet, Path: "/v1/sessions/{id}/packages/lock", Tags: []string{tagPackages},
		Summary:     "Download a lock file of the installed packages",
		Description: "Returns a requirements file with versions and hashes. Send it as requirements_file to install the same files in another session with the same image.",
		Responses:   downloadAnswer("The lock file", "text/plain"),
	}, s.lockPackages)
	register(api, huma.Operation{
		OperationID: "remove-package", Method: http.MethodDelete, Path: "/v1/sessions/{id}/packages/{name}", Tags: []string{tagPackages},
		Summary:     "Remove a package",
		Description: "Its dependencies stay installed.",
	}, s.removePackage)
}

func (s *Server) installPackages(ctx context.Context, in *installInput) (*installOutput, error) {
	a, leave, err := s.enter(ctx, in.ID)
	if err != nil {
		return nil, s.problem(ctx, withoutSandbox(err))
	}
	defer leave()
	report, err := a.Install(ctx, packages.Request{Requirements: in.Body.Requirements, File: in.Body.File})
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	return &installOutput{Body: report}, nil
}

func (s *Server) removePackage(ctx context.Context, in *removePackageInput) (*installOutput, error) {
	a, leave, err := s.enter(ctx, in.ID)
	if err != nil {
		return nil, s.problem(ctx, withoutSandbox(err))
	}
	defer leave()
	report, err := a.RemovePackages(ctx, []string{in.Name})
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	return &installOutput{Body: report}, nil
}

func (s *Server) listPackages(ctx context.Context, in *SessionPath) (*packagesOutput, error) {
	sess, err := s.session(ctx, in.ID)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	list := PackageList{Packages: []cellhold.Package{}}
	list.Packages = append(list.Packages, sess.Info().Packages...)
	return &packagesOutput{Body: list}, nil
}

func (s *Server) lockPackages(ctx context.Context, in *SessionPath) (*streamOutput, error) {
	sess, err := s.session(ctx, in.ID)
	if err != nil {
		return nil, s.problem(ctx, err)
	}
	return &streamOutput{Body: func(hc huma.Context) {
		_, w := humago.Unwrap(hc)
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.Header().Set("Content-Disposition", download.Disposition("requirements.lock"))
		_, _ = io.WriteString(w, packages.Lock(sess.Info().Packages)) // fails only if the caller left
	}}, nil
}

// withoutSandbox turns session.ErrNoSandbox into an Unavailable error.
func withoutSandbox(err error) error {
	if errors.Is(err, session.ErrNoSandbox) {
		return cellhold.Wrap(cellhold.Unavailable, err, "The packages cannot be changed: the session's sandbox has ended. Restart its kernel to get a new one.")
	}
	return err
}
