package client

import (
	"context"
	"io"
	"net/http"

	"cellhold"
)

// InstallPackages lists the packages to install. You can set one field or both.
type InstallPackages struct {
	Requirements []string `json:"requirements,omitempty"`      // such as "tabulate>=0.9"
	File         string   `json:"requirements_file,omitempty"` // text of a requirements file
}

// Install installs packages in a session and returns when the installation is done.
func (c *Client) Install(ctx context.Context, id cellhold.SessionID, r InstallPackages) (cellhold.Installation, error) {
	var report cellhold.Installation
	err := c.call(ctx, http.MethodPost, sessionPath(id, "packages"), r, &report)
	return report, err
}

// RemovePackage removes a package from a session. The result lists the removed package as a change.
func (c *Client) RemovePackage(ctx context.Context, id cellhold.SessionID, name string) (cellhold.Installation, error) {
	var report cellhold.Installation
	err := c.call(ctx, http.MethodDelete, sessionPath(id, "packages", name), nil, &report)
	return report, err
}

// Packages returns the packages of a session that its image lacks, or has in another version.
func (c *Client) Packages(ctx context.Context, id cellhold.SessionID) ([]cellhold.Package, error) {
	var list struct {
		Packages []cellhold.Package `json:"packages"`
	}
	err := c.call(ctx, http.MethodGet, sessionPath(id, "packages"), nil, &list)
	return list.Packages, err
}

// Lock returns the installed packages of a session as a requirements file with hashes.
func (c *Client) Lock(ctx context.Context, id cellhold.SessionID) (string, error) {
	res, err := c.send(ctx, http.MethodGet, sessionPath(id, "packages", "lock"), nil, nil)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return "", cellhold.Wrap(cellhold.Unavailable, err, "The lock file is incomplete: the connection broke. Retry.")
	}
	return string(text), nil
}
