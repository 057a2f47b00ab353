// Package container gives up the rights with which a container starts.
//
// The first process of a container is root, with the capabilities that the engine gives it. The package uses them to give
// the container's control groups and folders to a plain user. Then it starts the program again as this user, without any
// capability. If a right is missing, the error names the flags of the engine that give it.
//
// It changes no folder that has files or belongs to another user, and no control group outside the container.
package container

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// User is a user id and a group id.
type User struct{ UID, GID int }

// ParseUser reads a text such as 1000 or 1000:1000. Without a group, the group has the number of the user. Root is refused:
// the purpose of the setting is a server that is not root.
func ParseUser(text string) (User, error) {
	uid, gid, both := strings.Cut(text, ":")
	if !both {
		gid = uid
	}
	var u User
	var err error
	if u.UID, err = parseID(uid); err == nil {
		u.GID, err = parseID(gid)
	}
	if err != nil {
		return User{}, fmt.Errorf("%q is not a user: %w; use the form 1000:1000", text, err)
	}
	return u, nil
}

// UnmarshalText reads a user like ParseUser. An empty text is refused too: a start with an empty setting would keep all
// rights of root.
func (u *User) UnmarshalText(text []byte) (err error) {
	*u, err = ParseUser(string(text))
	return err
}

// String returns the user in the form that ParseUser reads.
func (u User) String() string { return fmt.Sprintf("%d:%d", u.UID, u.GID) }

func parseID(text string) (int, error) {
	id, err := strconv.ParseUint(text, 10, 31)
	if err == nil && id == 0 {
		err = fmt.Errorf("0 is root")
	}
	return int(id), err
}

// Mark is the variable by which root tells the program that it executes as a plain user: limits were prepared. It has no
// prefix of a setting, because it is none. A caller that sets it only makes the program stricter.
const Mark = "DROPPED_BY_CELLHOLD"

// Inside reports whether this process runs in a container of Docker or Podman. Both put a file into each container.
func Inside() bool {
	for _, mark := range []string{"/.dockerenv", "/run/.containerenv"} {
		if _, err := os.Stat(mark); err == nil {
			return true
		}
	}
	return false
}
