package client

import (
	"context"
	"net/http"

	"cellhold"
)

// AddKernel starts another kernel of a session from a kernelspec and returns when it is idle. If k is empty,
// the server makes the kernel's id from the kernelspec's name.
func (c *Client) AddKernel(ctx context.Context, id cellhold.SessionID, spec string, k cellhold.KernelID) (cellhold.Kernel, error) {
	return c.AddKernelIn(ctx, id, spec, k, "")
}

// AddKernelIn is like AddKernel. dir is the working directory of the kernel: the absolute path of an existing directory,
// or empty for that of the session.
func (c *Client) AddKernelIn(ctx context.Context, id cellhold.SessionID, spec string, k cellhold.KernelID, dir string) (cellhold.Kernel, error) {
	body := struct {
		Spec string            `json:"spec"`
		ID   cellhold.KernelID `json:"id,omitempty"`
		Dir  string            `json:"cwd,omitempty"`
	}{spec, k, dir}
	var out cellhold.Kernel
	err := c.call(ctx, http.MethodPost, sessionPath(id, "kernels"), body, &out)
	return out, err
}

// Kernels returns a session's kernels in the order of their creation.
func (c *Client) Kernels(ctx context.Context, id cellhold.SessionID) ([]cellhold.Kernel, error) {
	var list struct {
		Kernels []cellhold.Kernel `json:"kernels"`
	}
	err := c.call(ctx, http.MethodGet, sessionPath(id, "kernels"), nil, &list)
	return list.Kernels, err
}

// DeleteKernel ends a kernel, even a busy one. The first kernel of a session cannot be deleted.
func (c *Client) DeleteKernel(ctx context.Context, id cellhold.SessionID, k cellhold.KernelID) error {
	return c.call(ctx, http.MethodDelete, sessionPath(id, "kernels", string(k)), nil, nil)
}

// KernelSpecs returns the kernelspecs that a session can start.
func (c *Client) KernelSpecs(ctx context.Context, id cellhold.SessionID) ([]cellhold.KernelSpec, error) {
	var list struct {
		KernelSpecs []cellhold.KernelSpec `json:"kernelspecs"`
	}
	err := c.call(ctx, http.MethodGet, sessionPath(id, "kernelspecs"), nil, &list)
	return list.KernelSpecs, err
}
