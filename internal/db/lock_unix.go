//go:build !windows

package db

import (
	"errors"
	"os"
	"syscall"
)

// lockFile takes the whole-file lock of the open file description, without waiting.
func lockFile(f *os.File) error {
	err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return errLocked
	}
	return err
}
