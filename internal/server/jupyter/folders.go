package jupyter

import (
	"context"

	"cellhold/internal/server/jupyter/contents"
)

// folders returns the folders of the sessions that a caller can see. The name of a folder never changes: it has the first
// kernelspec and the id of its session.
func (s *Server) folders(ctx context.Context, caller string) []contents.Folder {
	var list []contents.Folder
	for _, k := range s.kernels(ctx, caller) { // the kernels of a session follow each other
		if n := len(list); n == 0 || list[n-1].ID != k.info.ID {
			list = append(list, contents.Folder{Name: k.state.Spec + "-" + string(k.info.ID), ID: k.info.ID, Created: k.info.Created, Used: k.info.Used})
		}
		last := &list[len(list)-1]
		last.Aliases = append(last.Aliases, k.id)
	}
	return list
}
