//go:build unix

package services

import (
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// owner is the user that a server runs as. Nil means the user that we are.
type owner struct {
	name     string
	uid, gid uint32
}

// unprivileged finds the user for a server: nil unless we are root, else the first of names that exists, else nobody.
func unprivileged(names ...string) (*owner, error) {
	if os.Geteuid() != 0 {
		return nil, nil // the ordinary case; every method takes a nil owner
	}
	for _, name := range append(names, "nobody") {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err1 == nil && err2 == nil && uid != 0 {
			return &owner{name: name, uid: uint32(uid), gid: uint32(gid)}, nil
		}
	}
	return nil, fmt.Errorf("find a user without rights for the server: none of %v or nobody exists", names)
}

func (o *owner) credential() *syscall.Credential {
	if o == nil {
		return nil
	}
	return &syscall.Credential{Uid: o.uid, Gid: o.gid, NoSetGroups: false}
}

func (o *owner) chown(path string) error {
	if o == nil {
		return nil
	}
	return os.Chown(path, int(o.uid), int(o.gid))
}

// admit makes dir reachable for the owner. The temporary folders of tests are closed to other users: those below the
// system's one are opened for passing through. Any other closed folder is an error, it is not ours to open.
func (o *owner) admit(dir string) error {
	if o == nil {
		return nil
	}
	tmp := filepath.Clean(os.TempDir()) + string(filepath.Separator)
	for at := dir; at != filepath.Dir(at); at = filepath.Dir(at) {
		info, err := os.Stat(at)
		if err != nil {
			return err
		}
		if info.Mode().Perm()&0o001 != 0 {
			continue
		}
		if stat, ok := info.Sys().(*syscall.Stat_t); ok && stat.Uid == o.uid {
			continue
		}
		if !strings.HasPrefix(at, tmp) {
			return fmt.Errorf("folder %s is closed to user %s, who runs the server: choose one below %s", at, o.name, os.TempDir())
		}
		if err := os.Chmod(at, info.Mode().Perm()|0o011); err != nil {
			return err
		}
	}
	return nil
}
