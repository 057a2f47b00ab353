package client

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"cellhold"
)

// pollTime is how long one request waits for a result. It is shorter than the timeouts of common proxies.
const pollTime = "50s"

// CreateSession describes a session to create. The zero value means the server's defaults.
type CreateSession struct {
	User     string            `json:"user,omitempty"`
	Template string            `json:"template,omitempty"` // empty means the server's default
	Image    string            `json:"image,omitempty"`
	Startup  string            `json:"startup,omitempty"`
	Figures  *cellhold.Figures `json:"figures,omitempty"`
	Limits   cellhold.Limits   `json:"limits,omitzero"`
	Egress   *cellhold.Egress  `json:"egress,omitempty"` // nil means the server's default
	Secrets  []cellhold.Secret `json:"secrets,omitempty"`
	Metadata map[string]string `json:"metadata,omitempty"`

	Env        map[string]string       `json:"env,omitempty"`         // added to the environment of kernels and commands
	Dir        string                  `json:"cwd,omitempty"`         // empty means /workspace
	Lifetime   float64                 `json:"lifetime,omitempty"`    // seconds to the deadline; 0 means no deadline
	AtDeadline cellhold.DeadlineAction `json:"at_deadline,omitempty"` // empty means that the session ends
	Resume     cellhold.ResumePolicy   `json:"resume,omitempty"`      // empty means that the next use resumes the session

	PublicPorts bool `json:"public_ports,omitempty"` // anyone can reach the ports, by host names of the server

	Key string `json:"-"` // a request with the same key returns the same session; empty means a new session
}

// Code describes a cell to run.
type Code struct {
	Code    string
	Kernel  cellhold.KernelID // empty means the session's first kernel
	Timeout time.Duration     // 0 means the server's default
	Env     map[string]string // variables of the environment of this cell only, at most 64 KiB

	OnError    cellhold.OnError  // what to do with the queued cells if this cell fails; empty means to run them
	AllowStdin bool              // allow the code to ask for input
	Figures    *cellhold.Figures // nil means the session's default
	Key        string            // a request with the same key returns the same cell; empty means a new cell
}

// File is one file that a session's code wrote to /mnt/data/output.
type File struct {
	Path     string    `json:"path"`
	Size     int64     `json:"size"`
	Modified time.Time `json:"modified"`
}

func sessionPath(id cellhold.SessionID, parts ...string) string {
	path := "/v1/sessions/" + url.PathEscape(string(id))
	for _, p := range parts {
		path += "/" + url.PathEscape(p)
	}
	return path
}

// CreateSession creates a session and returns when its kernel is idle.
func (c *Client) CreateSession(ctx context.Context, r CreateSession) (cellhold.Session, error) {
	var s cellhold.Session
	err := c.callWith(ctx, http.MethodPost, "/v1/sessions", r, &s, keyHeader(r.Key))
	return s, err
}

// keyHeader returns the header with the caller's name for a request, or nil.
func keyHeader(key string) http.Header {
	if key == "" {
		return nil
	}
	return http.Header{"Idempotency-Key": {key}}
}

// Sessions returns the caller's sessions, newest first.
func (c *Client) Sessions(ctx context.Context) ([]cellhold.Session, error) {
	var list struct {
		Sessions []cellhold.Session `json:"sessions"`
	}
	err := c.call(ctx, http.MethodGet, "/v1/sessions", nil, &list)
	return list.Sessions, err
}

// Templates returns the templates of the server, the default one first.
func (c *Client) Templates(ctx context.Context) ([]cellhold.Template, error) {
	var list struct {
		Templates []cellhold.Template `json:"templates"`
	}
	err := c.call(ctx, http.MethodGet, "/v1/templates", nil, &list)
	return list.Templates, err
}

// Session returns one session as it is now.
func (c *Client) Session(ctx context.Context, id cellhold.SessionID) (cellhold.Session, error) {
	var s cellhold.Session
	err := c.call(ctx, http.MethodGet, sessionPath(id), nil, &s)
	return s, err
}

// DeleteSession ends a session.
func (c *Client) DeleteSession(ctx context.Context, id cellhold.SessionID) error {
	return c.call(ctx, http.MethodDelete, sessionPath(id), nil, nil)
}

// Submit queues a cell and returns at once.
func (c *Client) Submit(ctx context.Context, id cellhold.SessionID, r Code) (cellhold.Cell, error) {
	return c.submit(ctx, id, r, "")
}

func (c *Client) submit(ctx context.Context, id cellhold.SessionID, r Code, wait string) (cellhold.Cell, error) {
	body := struct {
		Code    string            `json:"code"`
		Kernel  cellhold.KernelID `json:"kernel,omitempty"`
		Timeout float64           `json:"timeout,omitempty"`
		Env     map[string]string `json:"env,omitempty"`

		OnError    cellhold.OnError  `json:"on_error,omitempty"`
		AllowStdin bool              `json:"allow_stdin,omitempty"`
		Figures    *cellhold.Figures `json:"figures,omitempty"`
	}{r.Code, r.Kernel, r.Timeout.Seconds(), r.Env, r.OnError, r.AllowStdin, r.Figures}
	var cell cellhold.Cell
	err := c.callWith(ctx, http.MethodPost, sessionPath(id, "cells")+wait, body, &cell, keyHeader(r.Key))
	return cell, err
}

// Execute submits a cell, waits until the cell is done, and returns it. If ctx ends first, the cell continues. If the
// connection breaks before the first answer, Execute returns an error, but the server can still run the cell. After the
// first answer, Execute retries as Wait does.
func (c *Client) Execute(ctx context.Context, id cellhold.SessionID, r Code) (cellhold.Cell, error) {
	cell, err := c.submit(ctx, id, r, "?wait="+pollTime)
	if err != nil || cell.State == cellhold.CellDone {
		return cell, err
	}
	return c.Wait(ctx, id, cell.ID)
}

// Cell returns a cell as it is now, with its outputs so far.
func (c *Client) Cell(ctx context.Context, id cellhold.SessionID, cell cellhold.CellID) (cellhold.Cell, error) {
	var out cellhold.Cell
	err := c.call(ctx, http.MethodGet, sessionPath(id, "cells", string(cell)), nil, &out)
	return out, err
}

// Wait waits until a cell is done, and returns the cell. It retries broken connections for Options.Patience.
func (c *Client) Wait(ctx context.Context, id cellhold.SessionID, cell cellhold.CellID) (cellhold.Cell, error) {
	path := sessionPath(id, "cells", string(cell)) + "?wait=" + pollTime
	var out cellhold.Cell
	for out.State != cellhold.CellDone {
		err := c.retry(ctx, func(func()) error {
			out = cellhold.Cell{}
			return c.call(ctx, http.MethodGet, path, nil, &out)
		})
		if err != nil {
			return out, err
		}
	}
	return out, nil
}

// Cells returns the session's cells, oldest first.
func (c *Client) Cells(ctx context.Context, id cellhold.SessionID) ([]cellhold.Cell, error) {
	var list struct {
		Cells []cellhold.Cell `json:"cells"`
	}
	err := c.call(ctx, http.MethodGet, sessionPath(id, "cells"), nil, &list)
	return list.Cells, err
}

// Interrupt interrupts the running cell of a kernel. An empty k means the session's first kernel.
func (c *Client) Interrupt(ctx context.Context, id cellhold.SessionID, k cellhold.KernelID) error {
	return c.call(ctx, http.MethodPost, sessionPath(id, "interrupt")+kernelQuery(k), nil, nil)
}

// Restart replaces the process of a kernel, and returns when the kernel is idle. An empty k means the session's first
// kernel.
func (c *Client) Restart(ctx context.Context, id cellhold.SessionID, k cellhold.KernelID) (cellhold.Session, error) {
	var s cellhold.Session
	err := c.call(ctx, http.MethodPost, sessionPath(id, "restart")+kernelQuery(k), nil, &s)
	return s, err
}

func kernelQuery(k cellhold.KernelID) string {
	if k == "" {
		return ""
	}
	return "?kernel=" + url.QueryEscape(string(k))
}

// Notebook writes the session's notebook to w.
func (c *Client) Notebook(ctx context.Context, id cellhold.SessionID, w io.Writer) error {
	return c.Export(ctx, id, "", "ipynb", w)
}

// Export writes the notebook of a kernel to w as ipynb, py or html. An empty k means the first kernel.
func (c *Client) Export(ctx context.Context, id cellhold.SessionID, k cellhold.KernelID, format string, w io.Writer) error {
	q := url.Values{"format": {format}}
	if k != "" {
		q.Set("kernel", string(k))
	}
	res, err := c.send(ctx, http.MethodGet, sessionPath(id, "notebook")+"?"+q.Encode(), nil, nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if _, err := io.Copy(w, res.Body); err != nil {
		return cellhold.Wrap(cellhold.Unavailable, err, "The notebook is incomplete: the connection broke. Retry.")
	}
	return nil
}

// Import adds the cells of a notebook file to a session, and returns the ids of the new cells. The session must have no
// cells. If run is true, Import also queues the code cells.
func (c *Client) Import(ctx context.Context, id cellhold.SessionID, notebook []byte, run bool) ([]cellhold.CellID, error) {
	var out struct {
		Cells []cellhold.CellID `json:"cells"`
	}
	path := sessionPath(id, "notebook") + "?run=" + strconv.FormatBool(run)
	err := c.call(ctx, http.MethodPost, path, json.RawMessage(notebook), &out)
	return out.Cells, err
}

// Files returns the files that the session's code wrote to /mnt/data/output.
func (c *Client) Files(ctx context.Context, id cellhold.SessionID) ([]File, error) {
	var list struct {
		Files []File `json:"files"`
	}
	err := c.call(ctx, http.MethodGet, sessionPath(id, "output"), nil, &list)
	return list.Files, err
}

// OpenFile opens an output file by its path in Files. The caller must close the reader.
func (c *Client) OpenFile(ctx context.Context, id cellhold.SessionID, path string) (io.ReadCloser, error) {
	parts := append([]string{"output"}, strings.Split(path, "/")...)
	res, err := c.send(ctx, http.MethodGet, sessionPath(id, parts...), nil, nil)
	if err != nil {
		return nil, err
	}
	return res.Body, nil
}

// Text writes a part of a cell's output stream to w: the bytes from offset to the present end. stream is stdout or
// stderr.
func (c *Client) Text(ctx context.Context, id cellhold.SessionID, cell cellhold.CellID, stream string, offset int64, w io.Writer) error {
	query := url.Values{"stream": {stream}, "offset": {strconv.FormatInt(offset, 10)}}
	res, err := c.send(ctx, http.MethodGet, sessionPath(id, "cells", string(cell), "text")+"?"+query.Encode(), nil, nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if _, err := io.Copy(w, res.Body); err != nil {
		return cellhold.Wrap(cellhold.Unavailable, err, "The text is incomplete: the connection broke. Retry.")
	}
	return nil
}
