package article

import (
	"cmp"
	"context"
	"errors"
	"mime"
	"net/http"
	"slices"
	"strings"

	"cellhold"
	"cellhold/internal/packages"
	"cellhold/internal/server/exchange"
	"cellhold/internal/server/fastapi"
	"cellhold/internal/session"
)

// packageField is the package to install, as one requirement.
var packageField = fastapi.Field{Name: "package_name", Min: 1, Max: 1024}

// ArticlePackage is the body of /install_package.
type ArticlePackage struct {
	User    string `json:"user_id" minLength:"1" maxLength:"256" doc:"Label of the user, as sent to /start_session." example:"user_test"`
	Package string `json:"package_name" minLength:"1" maxLength:"1024" doc:"Name of the package, optionally with extras and versions." example:"tabulate"`
}

// ArticleInstalled is the answer after an installation.
type ArticleInstalled struct {
	Message string `json:"message" example:"Successfully installed and imported tabulate"`
	Output  string `json:"output" doc:"Warnings, one per line, and the output of the installer."`
}

// install installs one package and imports it in the user's kernel.
func (s *routes) install(w http.ResponseWriter, r *http.Request) {
	user, name, refused := installFields(r)
	if refused != nil {
		writeRefusal(w, refused)
		return
	}
	sess, err := s.sessions.Article(r.Context(), exchange.Caller(r.Context()), user)
	if err != nil {
		s.fail(w, r, err)
		return
	}
	report, err := installIn(r.Context(), sess, name)
	if err == nil && len(report.Imports) > 0 {
		err = s.importModule(r.Context(), sess, report.Imports[0])
	}
	if err != nil {
		s.failInstall(w, r, name, err)
		return
	}
	message := "Successfully installed and imported " + name
	if len(report.Imports) == 0 { // the package has only data or commands
		message = "Successfully installed " + name
	}
	exchange.WriteJSON(w, http.StatusOK, "application/json", ArticleInstalled{Message: message, Output: strings.Join(append(slices.Clone(report.Warnings), report.Log), "\n")})
}

// installFields reads the two fields from JSON or from a form, URL-encoded or multipart.
func installFields(r *http.Request) (user, name string, refused *fastapi.Refusal) {
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if kind == "application/x-www-form-urlencoded" || kind == "multipart/form-data" {
		fields, refused := fastapi.FormFields(r, userField, packageField)
		if refused != nil {
			return "", "", refused
		}
		return fields[0], fields[1], nil
	}
	fields, refused := fastapi.JSONFields(r, userField, packageField)
	if refused != nil {
		return "", "", refused
	}
	return fields[0], fields[1], nil
}

// installIn installs one package in a session.
func installIn(ctx context.Context, sess *session.Session, name string) (cellhold.Installation, error) {
	a, leave, err := sess.Enter(ctx)
	if err != nil {
		return cellhold.Installation{}, err
	}
	defer leave()
	return a.Install(ctx, packages.Request{Requirements: []string{name}})
}

// importModule runs the import as a cell, so that the notebook has it too. The name of the module comes from the
// guest. Package guest has checked that it is an identifier.
func (s *routes) importModule(ctx context.Context, sess *session.Session, module string) error {
	cell, err := sess.Execute(ctx, session.ExecuteRequest{Code: "import " + module})
	if err != nil {
		return err
	}
	waiting, leave := s.waiters.Enter(ctx)
	defer leave()
	if cell, err = sess.History().WaitCell(waiting, cell.ID); err != nil {
		return err
	}
	if cell.Status == cellhold.StatusOK {
		return nil
	}
	lines := traceback(cell)
	return cellhold.Errorf(cellhold.Conflict, "the package is installed, but the import of %s failed: %s", module, lines[len(lines)-1])
}

// failInstall answers with status 500 for every error, as the article's server did.
func (s *routes) failInstall(w http.ResponseWriter, r *http.Request, name string, err error) {
	why := exchange.ProblemOf(r.Context(), s.log, err).Detail
	if e, ok := errors.AsType[*cellhold.Error](err); ok && e.Kind != cellhold.Internal {
		why = cmp.Or(e.Message, why)
	}
	writeDetail(w, http.StatusInternalServerError, "Failed to install "+name+": "+why)
}
