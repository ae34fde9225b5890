package db

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// lockName is the file in the data folder whose lock says that a process owns the folder. Its content, the owner's
// process id, is for people; only the lock counts, and the system drops that with the process, however it ends.
const lockName = "gochat.lock"

// errLocked: another open file holds the lock.
var errLocked = errors.New("locked")

// DirLock is the ownership of a data folder.
type DirLock struct {
	f *os.File
}

// Who only looks for the owner holds a free lock for a moment; see [DirOwner].
const (
	lockTries = 36
	lockPause = 25 * time.Millisecond
)

// LockDir takes the data folder for this process, and makes it (mode 0700) where it is missing. It fails within a second,
// with one line, where another process has it or where it cannot be written.
func LockDir(dir string) (*DirLock, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("data folder %s: %s; choose another with --data", dir, reason(err))
	}
	f, err := os.OpenFile(filepath.Join(dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("data folder %s is not writable: %s; choose another with --data", dir, reason(err))
	}
	err = lockFile(f)
	for try := 1; try < lockTries && errors.Is(err, errLocked); try++ {
		time.Sleep(lockPause)
		err = lockFile(f)
	}
	if err != nil {
		defer func() { _ = f.Close() }()
		if errors.Is(err, errLocked) {
			by := ""
			if pid := owner(f); pid != "" {
				by = " (pid " + pid + ")"
			}
			return nil, fmt.Errorf("%s is in use by another gochat%s; stop it first, or name another folder", dir, by)
		}
		return nil, fmt.Errorf("lock data folder %s: %w", dir, err)
	}
	if err := writeOwner(f); err != nil {
		_ = f.Close()
		return nil, fmt.Errorf("data folder %s is not writable: %s; choose another with --data", dir, reason(err))
	}
	return &DirLock{f: f}, nil
}

// Close gives the folder up. The file stays: removing it would let two processes lock two files of one name.
func (l *DirLock) Close() error { return l.f.Close() }

// DirOwner tells whether a process has the data folder, and its process id where it is known. It changes nothing and
// makes nothing; a folder without a lock file has no owner. A free lock is held, shared, for the moment of the look.
func DirOwner(dir string) (pid string, owned bool, err error) {
	f, err := os.Open(filepath.Join(dir, lockName))
	if errors.Is(err, fs.ErrNotExist) {
		return "", false, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("look for the owner of %s: %w", dir, err)
	}
	defer func() { _ = f.Close() }()
	err = shareFile(f)
	if errors.Is(err, errLocked) {
		return owner(f), true, nil
	}
	if err != nil {
		return "", false, fmt.Errorf("look for the owner of %s: %w", dir, err)
	}
	return "", false, nil
}

func writeOwner(f *os.File) error {
	if err := f.Truncate(0); err != nil {
		return err
	}
	_, err := f.WriteAt([]byte(fmt.Sprintf("%d\n", os.Getpid())), 0)
	return err
}

// owner is the process id in the lock file, "" where there is none.
func owner(f *os.File) string {
	b, err := io.ReadAll(io.NewSectionReader(f, 0, 32))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// reason is the system's word for it, without the path that the line names already.
func reason(err error) string {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err.Error()
	}
	return err.Error()
}
